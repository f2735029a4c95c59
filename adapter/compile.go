package adapter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// compileAll compiles projects side by side and returns them in the order of their paths.
func (a *Adapter) compileAll(paths []string) []compiled {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	all := make([]compiled, len(paths))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		group.Go(func() error {
			all[i] = a.compile(path)
			return nil
		})
	}
	_ = group.Wait() // nothing above returns an error
	return all
}

func (a *Adapter) compile(path string) compiled {
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
		OwnAddresses: a.options.OwnAddresses, AllowBackends: a.options.AllowBackends,
	})
	for _, api := range c.project.APIs {
		c.revisions = append(c.revisions, digest(api))
	}
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
