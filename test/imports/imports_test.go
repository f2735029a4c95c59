// Package imports holds the rules of who may import whom (design §7), as a test. It imports the
// standard library alone.
package imports

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postern-gateway/postern"

// A rule holds for the packages whose folder matches in, which must reach nothing that matches never,
// directly or through other packages of ours, unless it matches but.
type rule struct {
	why   string
	in    []string
	never []string
	but   []string
}

// Patterns are import paths; those of ours start with "./". A trailing "/..." means everything below as well.
// other is everything from other modules.
var rules = []rule{
	{
		why:   "the model is plain values, readable by whoever knows Go",
		in:    []string{"./adapter/model"},
		never: []string{"./...", other},
	},
	{
		why: "the model has no effects",
		in:  []string{"./adapter/model"},
		never: []string{
			"os", "os/...", "net", "net/http", "io/fs", "log", "log/slog", "context", "sync", "sync/atomic", "math/rand", "math/rand/v2",
		},
	},
	{
		why: "reading projects knows nothing of Envoy, gRPC or how the gateway is driven",
		in:  []string{"./adapter/project"},
		never: []string{
			"./adapter/translate/...", "./adapter/publish/...", "./adapter/source/...", "./adapter", "./proto/...", "./internal/xds/...",
			"./envoy/...", "google.golang.org/grpc/...", "google.golang.org/protobuf/...", "github.com/envoyproxy/...", "net/http", "log", "log/slog",
		},
	},
	{
		why: "translation is a pure function of the model",
		in:  []string{"./adapter/translate"},
		never: []string{
			"./adapter/project/...", "./adapter/publish/...", "./adapter/source/...", "./adapter", "./internal/xds/...", "./envoy/...",
			"google.golang.org/grpc", "google.golang.org/grpc/...", "github.com/getkin/...",
			"os", "os/...", "net/http", "log", "log/slog", "math/rand", "math/rand/v2",
		},
	},
	{
		why: "the store compares and keeps, and knows nothing of what that means",
		in:  []string{"./adapter/store"},
		never: []string{
			"./adapter", "./adapter/model/...", "./adapter/project/...", "./adapter/translate/...", "./adapter/publish/...", "./adapter/source/...",
			"./adapter/rest/...", "./proto/...", "./internal/...", "google.golang.org/...", "github.com/envoyproxy/...", "net", "net/http",
		},
		but: []string{"./internal/whole"},
	},
	{
		why: "what a change means to consumers is a function of files and models",
		in:  []string{"./adapter/diff"},
		never: []string{
			"./adapter", "./adapter/translate/...", "./adapter/publish/...", "./adapter/rest/...", "./adapter/source/...", "./adapter/store/...",
			"./proto/...", "./internal/xds/...", "./envoy/...", "google.golang.org/grpc/...", "google.golang.org/protobuf/...",
			"github.com/envoyproxy/...", "log", "log/slog",
		},
	},
	{
		why: "where projects come from knows nothing of what is in them",
		in:  []string{"./adapter/source/..."},
		never: []string{
			"./adapter", "./adapter/model/...", "./adapter/project/...", "./adapter/translate/...", "./adapter/publish/...", "./adapter/store/...",
			"./proto/...", "./internal/...", "google.golang.org/grpc/...", "google.golang.org/protobuf/...",
		},
		but: []string{"./internal/whole"},
	},
	{
		why: "git is spoken with go-git's messages and packs alone (decision 0027)",
		in:  []string{"./..."},
		never: []string{
			"github.com/go-git/go-git/v5", "github.com/go-git/go-git/v5/plumbing/transport/...", "github.com/go-git/go-git/v5/plumbing/object/...",
			"github.com/go-git/go-git/v5/storage/...",
		},
	},
	{
		why:   "the arithmetic of limits is pure: the clock is passed in",
		in:    []string{"./ratelimiter/limit"},
		never: []string{"os", "os/...", "net", "net/http", "log", "log/slog", "google.golang.org/grpc/...", "./ratelimiter", "./ratelimiter/counter/..."},
	},
	{
		why:   "the services meet in proto/",
		in:    []string{"./adapter/..."},
		never: []string{"./enforcer/...", "./ratelimiter/...", "./cmd/...", "./toolkit/...", "./envoy/..."},
	},
	{
		why:   "the services meet in proto/",
		in:    []string{"./enforcer/..."},
		never: []string{"./adapter/...", "./ratelimiter/...", "./cmd/...", "./toolkit/...", "./envoy/..."},
	},
	{
		why:   "the services meet in proto/",
		in:    []string{"./ratelimiter/..."},
		never: []string{"./adapter/...", "./enforcer/...", "./cmd/...", "./toolkit/...", "./envoy/..."},
	},
	{
		why:   "what Postern says on the wire depends on none who says it",
		in:    []string{"./proto/..."},
		never: []string{"./adapter/...", "./enforcer/...", "./ratelimiter/...", "./internal/...", "./envoy/...", "./cmd/...", "./toolkit/..."},
	},
	{
		why:   "the process beside each Envoy needs no control plane code",
		in:    []string{"./envoy/..."},
		never: []string{"./adapter/project/...", "./adapter/publish/...", "./adapter/source/...", "./enforcer/...", "./ratelimiter/...", "./cmd/...", "./toolkit/..."},
	},
	{
		why: "who may manage a gateway, and who did, has nothing to do with what is managed",
		in:  []string{"./adapter/access", "./adapter/audit"},
		never: []string{
			"./adapter", "./adapter/rest/...", "./adapter/project/...", "./adapter/translate/...", "./adapter/publish/...", "./adapter/store/...",
		},
	},
	{
		why:   "the management API speaks HTTP, and tells no gateway anything by itself",
		in:    []string{"./adapter/rest/..."},
		never: []string{"./internal/config", "./internal/observe"},
	},
	{
		why:   "the adapter does not know who asks it",
		in:    []string{"./adapter"},
		never: []string{"./adapter/rest/...", "./adapter/access", "./adapter/audit"},
	},
	{
		why:   "who may connect is the same for all services",
		in:    []string{"./internal/mtls", "./internal/jwt", "./internal/nearest"},
		never: []string{"./adapter/...", "./enforcer/...", "./ratelimiter/...", "./envoy/...", "./cmd/...", "./toolkit/..."},
	},
	{
		why:   "what everybody may use knows nobody",
		in:    []string{"./internal/nearest", "./internal/whole"},
		never: []string{"./...", other},
	},
	{
		why: "what tests share stays out of the product",
		in: []string{
			"./adapter/...", "./enforcer/...", "./ratelimiter/...", "./proto/...", "./envoy/...", "./cmd/...", "./toolkit/...", "./internal/...",
		},
		never: []string{"./test/...", "./examples/...", "testing", "pgregory.net/rapid", "github.com/google/go-cmp/..."},
	},
}

const other = "(other modules)"

func TestImports(t *testing.T) {
	t.Parallel()
	packages := load(t)
	for _, r := range rules {
		for _, from := range slices.Sorted(maps.Keys(packages)) {
			if !matchesAny(r.in, from) {
				continue
			}
			for _, chain := range reach(packages, from) {
				to := chain[len(chain)-1]
				if to != from && matchesAny(r.never, to) && !matchesAny(r.but, to) {
					t.Errorf("%s\n\twhich must not be: %s", strings.Join(chain, "\n\timports "), r.why)
				}
			}
		}
	}
}

// TestPatterns keeps the rules from going blind: each speaks of folders that exist.
func TestPatterns(t *testing.T) {
	t.Parallel()
	packages := slices.Collect(maps.Keys(load(t)))
	for _, r := range rules {
		for _, pattern := range slices.Concat(r.in, r.but) {
			if !slices.ContainsFunc(packages, func(p string) bool { return matches(pattern, p) }) {
				t.Errorf("the rule %q speaks of %s, where no package is", r.why, pattern)
			}
		}
	}
}

// load returns the imports of every package of the module, tests left out, by folder ("./adapter/model").
func load(t *testing.T) map[string][]string {
	t.Helper()
	root := rootOf(t)
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(root, file, entry.Name())
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		key := "./" + filepath.ToSlash(folder)
		if _, known := imports[key]; !known {
			imports[key] = nil // why: a package that imports nothing is one too
		}
		for _, spec := range syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[key] = append(imports[key], ours(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, list := range imports {
		slices.Sort(list)
		imports[folder] = slices.Compact(list)
	}
	return imports
}

// enter keeps out of folders that hold no package of this module.
func enter(root, folder, name string) error {
	if folder == root {
		return nil
	}
	if strings.HasPrefix(name, ".") || name == "testdata" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func rootOf(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the module's root is not where this test expects it: %v", err)
	}
	return root
}

// ours shortens an import path of this module to "./folder".
func ours(name string) string {
	if rest, ok := strings.CutPrefix(name, module+"/"); ok {
		return "./" + rest
	}
	return name
}

// reach returns, for everything that a package imports directly or through packages of ours, the shortest chain to it.
func reach(packages map[string][]string, from string) [][]string {
	var chains [][]string
	seen := map[string]bool{from: true}
	queue := [][]string{{from}}
	for len(queue) > 0 {
		chain := queue[0]
		queue = queue[1:]
		for _, next := range packages[chain[len(chain)-1]] {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(chain), next)
			chains = append(chains, longer)
			queue = append(queue, longer)
		}
	}
	return chains
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	if pattern == other {
		first, _, _ := strings.Cut(name, "/")
		return !strings.HasPrefix(name, "./") && strings.Contains(first, ".")
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return below == "." && strings.HasPrefix(name, "./") || name == below || strings.HasPrefix(name, below+"/")
	}
	return path.Clean(pattern) == path.Clean(name) && strings.HasPrefix(pattern, "./") == strings.HasPrefix(name, "./")
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"./adapter", "./adapter", true},
		{"./adapter", "./adapter/model", false},
		{"./adapter/...", "./adapter", true},
		{"./adapter/...", "./adapter/model", true},
		{"./adapter/...", "./adapters", false},
		{"./...", "./enforcer", true},
		{"./...", "os", false},
		{"os", "os", true},
		{"os/...", "os/exec", true},
		{other, "google.golang.org/grpc", true},
		{other, "net/http", false},
		{other, "./adapter", false},
		{"google.golang.org/grpc/...", "google.golang.org/grpc/codes", true},
	} {
		t.Run(fmt.Sprintf("%s %s", c.pattern, c.name), func(t *testing.T) {
			t.Parallel()
			if got := matches(c.pattern, c.name); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
