package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// A component is something of others in what is released.
type component struct {
	name, version string
	licence       string // SPDX identifier
	purl          string // its package URL
	texts         []file // its licence and its notices, whole
}

// licencePage is the list that says which licence each module has; `make licenses` writes it and refuses what may not be in.
const licencePage = "docs/reference/licenses.md"

var licenceRow = regexp.MustCompile(`(?m)^\| ([^ |]+) \| ([^ |]+) \| ([^ |]+) \|$`)

// components returns what a binary is made of, from what the linker wrote into it: the modules and Go's own library.
func (s source) components(ctx context.Context, binary string) ([]component, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	folders, err := s.folders(ctx)
	if err != nil {
		return nil, err
	}
	licences, err := s.licences()
	if err != nil {
		return nil, err
	}
	goroot, err := s.ask(ctx, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	version := strings.TrimPrefix(runtime.Version(), "go")
	library := component{name: "std", version: version, licence: "BSD-3-Clause", purl: "pkg:golang/std@" + version}
	if library.texts, err = licenceTexts(goroot); err != nil {
		return nil, err
	}
	found := []component{library}
	for _, module := range info.Deps {
		if module.Replace != nil {
			return nil, fmt.Errorf("module %s is replaced: what is released is made of published modules", module.Path)
		}
		c := component{
			name: module.Path, version: module.Version, licence: licences[module.Path+"@"+module.Version],
			purl: "pkg:golang/" + module.Path + "@" + module.Version,
		}
		if c.licence == "" {
			return nil, fmt.Errorf("%s does not list %s %s: run `make licenses` and commit", licencePage, c.name, c.version)
		}
		if c.texts, err = licenceTexts(folders[module.Path]); err != nil {
			return nil, fmt.Errorf("module %s %s: %w", c.name, c.version, err)
		}
		found = append(found, c)
	}
	return found, nil
}

// folders says where the source of each module lies.
func (s source) folders(ctx context.Context) (map[string]string, error) {
	out, err := s.ask(ctx, "go", "list", "-m", "-json=Path,Dir", "all")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(out)); decoder.More(); {
		var module struct{ Path, Dir string }
		if err := decoder.Decode(&module); err != nil {
			return nil, err
		}
		found[module.Path] = module.Dir
	}
	return found, nil
}

// licences reads the page of licences: path@version → licence.
func (s source) licences() (map[string]string, error) {
	page, err := s.page(licencePage)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, row := range licenceRow.FindAllStringSubmatch(string(page.content), -1) {
		found[row[1]+"@"+row[2]] = row[3]
	}
	return found, nil
}

// licenceFile matches what a module's licence, its notices and its grants of patents are called.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents|third.?party)([-._].*)?$`)

// licenceTexts returns the files at the top of a module that its licence asks to be passed on.
func licenceTexts(folder string) ([]file, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var texts []file
	licensed := false
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !licenceFile.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text(entry.Name(), content))
		licensed = licensed || strings.HasPrefix(strings.ToLower(entry.Name()), "licen") || strings.HasPrefix(strings.ToLower(entry.Name()), "copy")
	}
	if !licensed {
		return nil, fmt.Errorf("no text of a licence in it")
	}
	return texts, nil
}

// licenceFolder holds the texts of all components.
func licenceFolder(all []component) []file {
	var files []file
	for _, c := range all {
		files = append(files, under("licenses/"+c.name+"@"+c.version, c.texts)...)
	}
	return files
}

// union is what several binaries are made of together.
func union(lists ...[]component) []component {
	var all []component
	for _, list := range lists {
		for _, c := range list {
			if !slices.ContainsFunc(all, func(known component) bool { return known.purl == c.purl }) {
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b component) int { return strings.Compare(a.purl, b.purl) })
	return all
}
