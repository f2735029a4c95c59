// Package initproject makes a project's folder of OpenAPI definitions, kept byte for byte. It must not import the
// services.
package initproject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// Options say what to make.
type Options struct {
	Dir     string       // the folder to make; it must not exist, or be empty
	Name    string       // the project's; "" is the folder's
	Sources []string     // definitions: files, or http:// and https:// URLs
	Client  *http.Client // fetches URLs; nil is one of its own
}

// Definition is one that was taken in.
type Definition struct {
	Source   string `json:"source"`
	File     string `json:"file"` // in api_definitions/
	Name     string `json:"name"`
	Version  string `json:"version"`
	BasePath string `json:"basePath"`
	Backend  bool   `json:"backend"` // it says where requests go; else project.yaml has a place for it

	pinned bool // the definition itself fixes its base path (x-wso2-basePath)
}

// folder is where definitions stand in a project.
const folder = "api_definitions"

// Create makes the project, or nothing at all. It never writes into a folder that has something in it.
func Create(ctx context.Context, o Options) ([]Definition, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("no definition was named; name an OpenAPI file or URL")
	}
	name := o.Name
	if name == "" {
		absolute, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, err
		}
		name = filepath.Base(absolute)
	}
	if !plainName.MatchString(name) {
		return nil, fmt.Errorf("%q cannot be a project's name; use letters, digits and . _ ~ -, a letter or digit first", name)
	}
	if err := vacant(o.Dir); err != nil {
		return nil, err
	}
	t := tree{files: map[string][]byte{}}
	definitions, err := t.collect(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := separate(definitions); err != nil {
		return nil, err
	}
	t.files["project.yaml"] = manifest(name, definitions)
	t.files["README.md"] = readme(name, definitions)
	return definitions, t.write(o.Dir)
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,254}$`)

// vacant refuses a folder that has something in it.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s cannot be made: %w", dir, err)
	case len(entries) > 0:
		return fmt.Errorf("%s is there already and not empty; choose another name, or remove it first", dir)
	}
	return nil
}

// tree is the project's files in the making.
type tree struct {
	files map[string][]byte
}

func (t *tree) collect(ctx context.Context, o Options) ([]Definition, error) {
	var out []Definition
	for _, source := range o.Sources {
		data, err := read(ctx, o.Client, source)
		if err != nil {
			return nil, err
		}
		summary, err := project.Describe(baseName(source, data), data)
		if err != nil {
			return nil, from(shown(source), err)
		}
		d := Definition{
			Source: source, File: t.freeName(baseName(source, data)), Name: summary.Name, Version: version(summary.Version),
			BasePath: summary.BasePath, pinned: summary.Pinned, Backend: summary.Backend,
		}
		if d.Name == "" {
			d.Name = project.Slug(strings.TrimSuffix(d.File, path.Ext(d.File)))
		}
		t.files[path.Join(folder, d.File)] = data
		if err := t.references(source, path.Join(folder, d.File), data); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// freeName is base, or base with a number, so that no two files differ by case alone.
func (t *tree) freeName(base string) string {
	extension := path.Ext(base)
	for i := 1; ; i++ {
		name := base
		if i > 1 {
			name = strings.TrimSuffix(base, extension) + "-" + strconv.Itoa(i) + extension
		}
		if !t.has(path.Join(folder, name)) {
			return name
		}
	}
}

func (t *tree) has(name string) bool {
	for k := range t.files {
		if strings.EqualFold(k, name) {
			return true
		}
	}
	return false
}

// maxReferences bounds what one definition can pull in.
const maxReferences = 1000

// references copies the files that a definition refers to, and those they refer to, to the same places beside it. What
// is not there, or is behind a URL, is reported when the project is checked.
func (t *tree) references(source, file string, data []byte) error {
	if isURL(source) {
		return nil
	}
	todo, err := project.References(file, data)
	if err != nil {
		return from(source, err)
	}
	seen := map[string]bool{file: true}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if seen[next] {
			continue
		}
		seen[next] = true
		if !fs.ValidPath(next) || len(seen) > maxReferences {
			return fmt.Errorf("%s refers to files outside the project, such as %s; bring its files together in one folder first", source, next)
		}
		more, err := t.copy(source, next)
		if err != nil {
			return err
		}
		todo = append(todo, more...)
	}
	return nil
}

// copy takes in one file that the definition at source refers to, and tells what that file refers to.
func (t *tree) copy(source, file string) ([]string, error) {
	relative, err := filepath.Rel(folder, filepath.FromSlash(file))
	if err != nil {
		return nil, err
	}
	original := filepath.Join(filepath.Dir(source), relative)
	data, err := readFile(original)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if other, taken := t.files[file]; taken && !bytes.Equal(other, data) {
		return nil, fmt.Errorf("%s refers to %s, but another definition brings a different file of that name; make a project of each", source, file)
	}
	t.files[file] = data
	more, err := project.References(file, data)
	if err != nil {
		return nil, fmt.Errorf("%s refers to a file that cannot be read: %w", source, from(original, err))
	}
	return more, nil
}

// from is an error about a definition, with the name it has for whoever named it and not the one it was to get.
func from(source string, err error) error {
	var p model.Problem
	if !errors.As(err, &p) {
		return fmt.Errorf("%s: %w", source, err)
	}
	p.File = source
	return p
}

// write makes the folder beside its place first, so that there is all of it or nothing.
func (t *tree) write(dir string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		file := filepath.Join(temporary, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, t.files[name], 0o644); err != nil {
			return err
		}
	}
	return place(temporary, dir)
}

// place moves what was made to where it belongs: as a whole, or into the empty folder there.
func place(temporary, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(temporary, dir)
	}
	entries, err := os.ReadDir(temporary)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(temporary, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
