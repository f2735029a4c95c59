package git

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
)

// What a commit's projects may hold at most; of each the same as of an archive (package project).
const (
	maxFiles        = 20_000
	maxFileBytes    = 16 << 20
	maxProjectBytes = 256 << 20
	maxCommitBytes  = 1 << 30
	maxCommitFiles  = 200_000
	maxLooks        = 100_000 // entries that are looked at to find the projects
	maxDepth        = 100     // folders in folders
)

// ownNames are by what the root of a repository, or a folder in it, is seen to be a project.
var ownNames = []string{"api_definitions", "project.yaml"}

// unpacked is a commit with its projects, in a folder of its own.
type unpacked struct {
	commit   plumbing.Hash
	projects []kept
}

// place is a folder of the repository: "" is its root.
type place struct {
	path string
	id   plumbing.Hash
}

// unpack writes the projects of a commit into a folder named after it.
func (s *Source) unpack(p *pack, id plumbing.Hash) (*unpacked, error) {
	c, err := p.commit(id)
	if err != nil {
		return nil, err
	}
	places, err := (&finder{pack: p}).find(c.tree, strings.Trim(path.Clean("/"+s.options.Path), "/"))
	if err != nil {
		return nil, err
	}
	if len(places) == 0 {
		return nil, refuse("commit %s has no project%s: a project is a folder with a project.yaml or api_definitions/ in it", id, where(s.options.Path))
	}
	draft, err := os.MkdirTemp(s.dir, "tree-*.tmp")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(draft) //nolint:errcheck // it has another name by then, or is removed at the next commit
	u := &unpacked{commit: id}
	w := &writer{pack: p}
	for _, at := range places {
		k := kept{Path: at.path, Tree: at.id.String()}
		err := w.project(filepath.Join(draft, filepath.FromSlash(at.path)), at)
		switch {
		case errors.Is(err, errUnfit):
			k.Refused = err.Error()
			if err := os.RemoveAll(filepath.Join(draft, filepath.FromSlash(at.path))); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		}
		u.projects = append(u.projects, k)
	}
	folder := filepath.Join(s.dir, id.String())
	if err := os.RemoveAll(folder); err != nil { // what was left of an earlier attempt, or of another time with this commit
		return nil, err
	}
	if err := os.MkdirAll(draft, 0o700); err != nil { // the only project was at the root, and is refused
		return nil, err
	}
	return u, os.Rename(draft, folder)
}

func where(pattern string) string {
	if pattern == "" {
		return ""
	}
	return " at " + pattern
}

// finder finds the projects of a commit.
type finder struct {
	*pack
	looks int
}

// find returns the folders that a pattern is for, sorted. What matches a pattern is a project if it looks like one. A folder that
// is named is one too, or holds some; one that does neither is a project all the same, so that somebody is told what it lacks.
func (f *finder) find(root plumbing.Hash, pattern string) ([]place, error) {
	places := []place{{"", root}}
	if pattern != "" {
		for part := range strings.SplitSeq(pattern, "/") {
			var err error
			if places, err = f.below(places, part); err != nil {
				return nil, err
			}
		}
	}
	projects, err := f.projects(places)
	if err != nil || len(projects) > 0 || strings.ContainsAny(pattern, `*?[\`) {
		return projects, err
	}
	inside, err := f.below(places, "*")
	if err != nil {
		return nil, err
	}
	if projects, err = f.projects(inside); err != nil || len(projects) > 0 || pattern == "" {
		return projects, err
	}
	return places, nil
}

// below are the folders in these that match a part of a pattern.
func (f *finder) below(places []place, part string) ([]place, error) {
	var found []place
	for _, at := range places {
		entries, err := f.list(at.id)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			fits, _ := path.Match(part, e.name) // a bad pattern was refused with the configuration
			if e.mode == modeFolder && fits && (part[0] == '.' || e.name[0] != '.') {
				found = append(found, place{path.Join(at.path, e.name), e.id})
			}
		}
	}
	return found, nil
}

// projects are those of the places that look like one, sorted.
func (f *finder) projects(places []place) ([]place, error) {
	var projects []place
	for _, at := range places {
		entries, err := f.list(at.id)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(entries, func(e entry) bool { return slices.Contains(ownNames, e.name) }) {
			projects = append(projects, at)
		}
	}
	slices.SortFunc(projects, func(a, b place) int { return strings.Compare(a.path, b.path) })
	return projects, nil
}

// list are the entries of a folder that have fit names.
func (f *finder) list(id plumbing.Hash) ([]entry, error) {
	entries, err := f.tree(id)
	if err != nil {
		return nil, err
	}
	if f.looks += len(entries) + 1; f.looks > maxLooks {
		return nil, refuse("there are more than %d folders and files to look at for projects; name a folder under path", maxLooks)
	}
	return slices.DeleteFunc(entries, func(e entry) bool { return fitName(e.name) != nil }), nil
}

// errUnfit marks what is wrong with one project, which concerns no other.
var errUnfit = errors.New("unfit")

type unfitError struct{ words string }

func (e *unfitError) Error() string { return e.words }

func (e *unfitError) Is(target error) bool { return target == errUnfit }

func unfit(file, format string, args ...any) error {
	return &unfitError{fmt.Sprintf("%q ", file) + fmt.Sprintf(format, args...)}
}

// fitName refuses a name that would lead elsewhere, here or on another system.
func fitName(name string) error {
	if name == "" || name == "." || name == ".." || !utf8.ValidString(name) || strings.ContainsAny(name, "/\\:\x00") || len(name) > 255 {
		return unfit(strings.ToValidUTF8(name, "�"), "is no plain name of a file or folder; rename it")
	}
	return nil
}

// writer writes projects to disk.
type writer struct {
	*pack
	files, bytes           int // of this project
	totalFiles, totalBytes int
	writes                 bool // else it only looks
}

// project writes a project, after a look at all names in it: nothing is made of one that has too many.
func (w *writer) project(dir string, at place) error {
	w.files, w.bytes = 0, 0
	total := w.totalFiles
	for _, w.writes = range []bool{false, true} {
		w.files, w.totalFiles = 0, total
		if err := w.folder(dir, "", at.id, 0); err != nil {
			return err
		}
	}
	return nil
}

// folder writes a folder, which is called name inside its project.
func (w *writer) folder(dir, name string, id plumbing.Hash, depth int) error {
	entries, err := w.tree(id)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return unfit(name, "is deeper than %d folders", maxDepth)
	}
	if w.writes {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, e := range entries {
		inside := path.Join(name, e.name)
		if err := fitName(e.name); err != nil {
			return err
		}
		if seen[e.name] {
			return unfit(inside, "is there twice; leave one of them")
		}
		seen[e.name] = true
		if err := w.count(inside); err != nil {
			return err
		}
		to := filepath.Join(dir, e.name)
		switch e.mode {
		case modeFolder:
			err = w.folder(to, inside, e.id, depth+1)
		case modeFile, modeProgram:
			err = w.write(to, inside, e)
		case modeLink:
			err = unfit(inside, "is a link; put the file itself into the repository")
		case modeRepository:
			err = unfit(inside, "is a submodule; put its files into the repository, or name its repository as a source of its own")
		default:
			err = unfit(inside, "is neither a file nor a folder")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) count(name string) error {
	w.files++
	w.totalFiles++
	switch {
	case w.files > maxFiles:
		return unfit(name, "is one too many: a project has at most %d files and folders", maxFiles)
	case w.totalFiles > maxCommitFiles:
		return refuse("the projects of the commit have more than %d files and folders", maxCommitFiles)
	}
	return nil
}

// lfs is how a file begins that is elsewhere (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
var lfs = []byte("version https://git-lfs.github.com/spec/")

func (w *writer) write(to, name string, e entry) error {
	if !w.writes {
		return nil
	}
	content, err := w.object(e.id, plumbing.BlobObject)
	if err != nil {
		return err
	}
	w.bytes += len(content)
	w.totalBytes += len(content)
	switch {
	case bytes.HasPrefix(content, lfs):
		return unfit(name, "is kept in Git LFS, which this build does not fetch from; put the file itself into the repository")
	case len(content) > maxFileBytes:
		return unfit(name, "is larger than %d MiB", maxFileBytes>>20)
	case w.bytes > maxProjectBytes:
		return unfit(name, "is too much: a project has at most %d MiB", maxProjectBytes>>20)
	case w.totalBytes > maxCommitBytes:
		return refuse("the projects of the commit have more than %d MiB", maxCommitBytes>>20)
	}
	mode := fs.FileMode(0o600)
	if e.mode == modeProgram {
		mode = 0o700 // why: the name of a folder's content counts it in
	}
	return os.WriteFile(to, content, mode)
}
