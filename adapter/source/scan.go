package source

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// root is one of the watched paths.
type root struct {
	given string // as in Options
	path  string // absolute
	scanned
	unwatched bool // the system does not tell of its changes
}

func newRoot(given string) *root {
	path, err := filepath.Abs(given)
	if err != nil {
		path = given
	}
	return &root{given: given, path: path}
}

// scanned is what a path consists of, as far as changes go.
type scanned struct {
	tree    map[string]bool // directories inside: everything in them matters
	outside map[string]bool // directories of which only names matter
	names   map[string]bool // full names in outside
	print   uint64          // differs when anything differs
}

func (s scanned) dirs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, set := range []map[string]bool{s.tree, s.outside} {
			for dir := range maps.Keys(set) {
				if !yield(dir) {
					return
				}
			}
		}
	}
}

func (s scanned) has(dir string) bool { return s.tree[dir] || s.outside[dir] }

// scan looks at a path, which may be missing, a file, a directory, or a link to one.
func scan(path string) scanned {
	s := scanner{
		scanned: scanned{tree: map[string]bool{}, outside: map[string]bool{}, names: map[string]bool{}},
		sum:     fnv.New64a(),
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			s.entry(dir, false) // "current" in /srv/current/shop
		}
	}
	s.entry(path, true)
	s.print = s.sum.Sum64()
	return s.scanned
}

type scanner struct {
	scanned
	sum hash.Hash64
}

// most bounds the directories of a root, for who watches "/" by mistake.
const most = 4096

// entry takes in a file, directory or link that is not in a directory of the tree, or is a link: its
// name is what matters, for another may take its place. Into a directory it descends only if asked to.
func (s *scanner) entry(path string, descend bool) {
	for range 40 { // as many links in a row as Linux follows
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return
		}
		path = filepath.Join(dir, filepath.Base(path))
		if !s.tree[dir] {
			s.outside[dir], s.names[path] = true, true
		}
		info, err := os.Lstat(path)
		if err != nil {
			return
		}
		s.add(path, info)
		switch {
		case info.IsDir():
			if descend {
				s.directory(path)
			}
			return
		case info.Mode()&fs.ModeSymlink == 0:
			return
		}
		to, err := os.Readlink(path)
		if err != nil {
			return
		}
		fmt.Fprintln(s.sum, to)
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path = to
	}
}

// directory takes in a directory and everything below it. Hidden ones are none of ours, except those
// that a mounted ConfigMap keeps its data in ("..data").
func (s *scanner) directory(path string) {
	if s.tree[path] || len(s.tree) >= most {
		return
	}
	s.tree[path] = true
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return
	}
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			s.entry(name, true)
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		s.add(name, info)
		if e.IsDir() {
			s.directory(name)
		}
	}
}

func (s *scanner) add(path string, info fs.FileInfo) {
	fmt.Fprintln(s.sum, path, info.Mode())
	if !info.IsDir() { // why not: a directory's own time says nothing that its entries do not
		fmt.Fprintln(s.sum, info.Size(), info.ModTime().UnixNano())
	}
}
