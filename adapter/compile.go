package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// compiled is what became of one path's files.
type compiled struct {
	path      string
	project   model.Project
	gone      bool     // its source no longer has it
	revisions []string // of project.APIs: digests of their content
	problems  []model.Problem
	due       time.Time // when it comes out otherwise by itself; zero: never
	kept      time.Time // when it was kept; zero: it is what its source has
}

// memories are, by path, what is known from the last time: what has not changed is not compiled again. Nil remembers
// nothing. They are for one goroutine.
type memories map[string]*memory

type memory struct {
	cache     project.Cache
	revisions map[string]string // by definition
}

func (m memories) of(path string) *memory {
	if m[path] == nil {
		known := &memory{}
		if m == nil {
			return known
		}
		m[path] = known
	}
	return m[path]
}

// revise gives each API of a project its revision. Of a project that is refused there are none, and what is known of its
// definitions stays as far as they have not changed. An API of which operations have retired by now is another one.
func (m *memory) revise(apis []model.API, now time.Time) (all []string, due time.Time) {
	maps.DeleteFunc(m.revisions, func(file, _ string) bool { return !m.cache.Kept(file) })
	if m.revisions == nil {
		m.revisions = make(map[string]string, len(apis))
	}
	for i, api := range apis {
		revision := m.revisions[api.Origin.File]
		if revision == "" {
			revision = digest(api)
			m.revisions[api.Origin.File] = revision
		}
		at, next := api.At(now)
		if !next.IsZero() && (due.IsZero() || next.Before(due)) {
			due = next
		}
		if api.RetiredBy(now) {
			apis[i], revision = at, digest(at)
		}
		all = append(all, revision)
	}
	return all, due
}

// compileAll compiles projects side by side, with what is known of each, and returns them in the order of their paths.
func (a *Adapter) compileAll(paths []string, known func(path string) *memory) []compiled {
	paths = unique(paths)
	all := make([]compiled, len(paths))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		m := known(path)
		group.Go(func() error {
			all[i] = a.compile(path, m)
			return nil
		})
	}
	_ = group.Wait() // nothing above returns an error
	return all
}

// unique are the paths without those that are there already.
func unique(paths []string) []string {
	seen := make(map[string]bool, len(paths))
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		was := seen[path]
		seen[path] = true
		return was
	})
}

// compile compiles what is at a path. What its source no longer has is a project without APIs.
func (a *Adapter) compile(path string, m *memory) compiled {
	if name, pushed := pushedName(path); pushed {
		return a.compilePushed(name, m)
	}
	found, there := a.sources.Find(path)
	if !there {
		return compiled{path: path, gone: true}
	}
	files, closer, err := fs.FS(nil), io.Closer(nil), found.Err
	if err == nil {
		files, closer, err = project.Open(path)
	}
	if err != nil {
		return unreadable(path, err)
	}
	defer closer.Close() //nolint:errcheck // it was only read
	return a.compileFiles(path, nameAt(path), files, m)
}

// nameAt is the name of a project at a path that says none.
func nameAt(path string) string {
	name := strings.TrimSuffix(filepath.Base(filepath.Clean(path)), ".zip")
	if abs, err := filepath.Abs(path); err == nil && (name == "." || name == "..") {
		name = filepath.Base(abs)
	}
	return name
}

// compilePushed compiles what is committed of a pushed project.
func (a *Adapter) compilePushed(name string, m *memory) compiled {
	archive, _, err := a.Archive(context.Background(), name, 0)
	if err != nil {
		return unreadable(pushPath(name), err)
	}
	files, err := project.OpenBytes(archive)
	if err != nil {
		return unreadable(pushPath(name), err)
	}
	return a.compileFiles(pushPath(name), name, files, m)
}

func unreadable(path string, err error) compiled {
	return compiled{path: path, problems: []model.Problem{{Code: "unreadable-project", Message: err.Error()}}}
}

// compileFiles compiles a project's files; the name is for one that says none.
func (a *Adapter) compileFiles(path, name string, files fs.FS, m *memory) compiled {
	c := compiled{path: path}
	c.project, c.problems = project.Compile(files, project.Options{
		Name: name, Environment: a.options.Environment, Lookup: a.options.Lookup, Settings: a.options.Settings,
		OwnAddresses: a.options.OwnAddresses, AllowBackends: a.options.AllowBackends, Cache: &m.cache,
	})
	now := time.Now()
	c.problems = slices.Concat(c.problems, project.Ended(c.project.APIs, now))
	c.project.APIs = slices.Clone(c.project.APIs) // why: the cache has them, too
	c.revisions, c.due = m.revise(c.project.APIs, now)
	return c
}

func (c compiled) refused() bool { return model.Refusing(c.problems) }

// withdrawn is the project for those who are to serve it no longer.
func (c compiled) withdrawn() compiled {
	c.project.APIs, c.revisions = nil, nil
	return c
}

// digest names an API's content.
func digest(api model.API) string {
	b, err := json.Marshal(api)
	if err != nil { // the model is plain values: there is nothing that cannot be marshalled
		panic("adapter: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
