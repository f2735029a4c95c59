package adapter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// compiled is what became of one path's files.
type compiled struct {
	path      string
	project   model.Project
	revisions []string // of project.APIs: digests of their content
	problems  []model.Problem
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
// definitions stays as far as they have not changed.
func (m *memory) revise(apis []model.API) []string {
	maps.DeleteFunc(m.revisions, func(file, _ string) bool { return !m.cache.Kept(file) })
	if m.revisions == nil {
		m.revisions = make(map[string]string, len(apis))
	}
	var all []string
	for _, api := range apis {
		revision := m.revisions[api.Origin.File]
		if revision == "" {
			revision = digest(api)
			m.revisions[api.Origin.File] = revision
		}
		all = append(all, revision)
	}
	return all
}

// compileAll compiles projects side by side and returns them in the order of their paths.
func (a *Adapter) compileAll(paths []string, known memories) []compiled {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	all := make([]compiled, len(paths))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		m := known.of(path)
		group.Go(func() error {
			all[i] = a.compile(path, m)
			return nil
		})
	}
	_ = group.Wait() // nothing above returns an error
	return all
}

func (a *Adapter) compile(path string, m *memory) compiled {
	c := compiled{path: path}
	files, closer, err := project.Open(path)
	if err != nil {
		c.problems = []model.Problem{{Code: "unreadable-project", Message: err.Error()}}
		return c
	}
	defer closer.Close() //nolint:errcheck // it was only read
	name := strings.TrimSuffix(filepath.Base(filepath.Clean(path)), ".zip")
	if abs, err := filepath.Abs(path); err == nil && (name == "." || name == "..") {
		name = filepath.Base(abs)
	}
	c.project, c.problems = project.Compile(files, project.Options{
		Name: name, Environment: a.options.Environment, Lookup: a.options.Lookup, Settings: a.options.Settings,
		OwnAddresses: a.options.OwnAddresses, AllowBackends: a.options.AllowBackends, Cache: &m.cache,
	})
	c.revisions = m.revise(c.project.APIs)
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
