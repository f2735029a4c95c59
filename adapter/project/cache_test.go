package project_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// cached is a project that is compiled again and again, with a cache and without.
type cached struct {
	files   fstest.MapFS
	options project.Options
	vars    map[string]string
	cache   project.Cache
}

// compile compares what comes of the project with the cache and without it, and names what was kept.
func (c *cached) compile(t *testing.T, step string) (kept []string, p model.Project) {
	t.Helper()
	fresh, freshProblems := project.Compile(c.files, c.options)
	with := c.options
	with.Cache = &c.cache
	p, problems := project.Compile(c.files, with)
	if diff := cmp.Diff(fresh, p, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: not what comes of it without a cache (-want +got):\n%s", step, diff)
	}
	if diff := cmp.Diff(freshProblems, problems, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: other problems than without a cache (-want +got):\n%s", step, diff)
	}
	for file := range c.files {
		if name, ok := strings.CutPrefix(file, "api_definitions/"); ok && c.cache.Kept(file) {
			kept = append(kept, strings.TrimSuffix(name, ".yaml"))
		}
	}
	slices.Sort(kept)
	return kept, p
}

func (c *cached) write(file, text string) {
	if text == "" {
		delete(c.files, file)
		return
	}
	c.files[file] = &fstest.MapFile{Data: []byte(text)}
}

func named(name, more string) string {
	return fmt.Sprintf("openapi: 3.0.3\ninfo: {title: %s, version: '1'}\nx-wso2-basePath: /%s\n%s", name, name, more)
}

const (
	server = "servers: [{url: 'https://b'}]\n"
	path   = "paths: {/a: {get: {responses: {default: {description: ok}}}}}\n"
)

// TestCache changes, step by step, everything that what comes of a definition depends on.
func TestCache(t *testing.T) {
	t.Parallel()
	c := &cached{files: fstest.MapFS{}, vars: map[string]string{}}
	c.options = project.Options{Name: "shop", Lookup: func(name string) (string, bool) { v, ok := c.vars[name]; return v, ok }}
	c.write("api_definitions/plain.yaml", named("plain", server+path))
	c.write("api_definitions/tier.yaml", named("tier", server+"x-wso2-throttling-tier: Gold\n"+path))
	c.write("api_definitions/variable.yaml", named("variable", "servers: [{url: 'http://${POSTERN_VAR_HOST:-b}'}]\n"+path))
	c.write("api_definitions/referring.yaml", named("referring", server+"paths: {/a: {$ref: '../shared/path.yaml#/a'}, /b: {$ref: 'part.yaml#/b'}}\n"))
	c.write("api_definitions/part.yaml", "b: {get: {}}\n")
	c.write("policies.yaml", "resourcePolicies: [{Gold: {count: 5, unitTime: 1, timeUnit: min}}]\n")
	c.write("shared/path.yaml", "a: {get: {}}\n")
	all := []string{"part", "plain", "referring", "tier", "variable"}
	for _, step := range []struct {
		name string
		do   func()
		kept []string
	}{
		{"the first time", func() {}, nil},
		{"nothing", func() {}, all},
		{"one definition", func() { c.write("api_definitions/plain.yaml", named("plain", server+path+"# edited\n")) }, []string{"part", "referring", "tier", "variable"}},
		{"one is broken", func() { c.write("api_definitions/plain.yaml", "openapi: [") }, []string{"part", "referring", "tier", "variable"}},
		{"it stays broken", func() {}, all},
		{"one is mended", func() { c.write("api_definitions/plain.yaml", named("plain", server+path)) }, []string{"part", "referring", "tier", "variable"}},
		{"a file referred to", func() { c.write("shared/path.yaml", "a: {get: {}, put: {}}\n") }, []string{"part", "plain", "tier", "variable"}},
		{"it is gone", func() { c.write("shared/path.yaml", "") }, []string{"part", "plain", "tier", "variable"}},
		{"it is back", func() { c.write("shared/path.yaml", "a: {get: {}}\n") }, []string{"part", "plain", "tier", "variable"}},
		{"a part beside", func() { c.write("api_definitions/part.yaml", "b: {put: {}}\n") }, []string{"plain", "tier", "variable"}},
		{"a variable", func() { c.vars["POSTERN_VAR_HOST"] = "elsewhere" }, []string{"part", "plain", "referring", "tier"}},
		{"a variable nobody reads", func() { c.vars["POSTERN_VAR_OTHER"] = "x" }, all},
		{"the policies", func() {
			c.write("policies.yaml", "resourcePolicies: [{Gold: {count: 6, unitTime: 1, timeUnit: min}}]\n")
		}, nil},
		{"a variable of the policies", func() {
			c.write("policies.yaml", "resourcePolicies: [{Gold: {count: '${POSTERN_VAR_GOLD:-7}', unitTime: 1, timeUnit: min}}]\n")
		}, nil},
		{"its value", func() { c.vars["POSTERN_VAR_GOLD"] = "8" }, nil},
		{"a policy that is unserved and not asked for", func() {
			c.write("policies.yaml", "resourcePolicies: [{Gold: {count: 6, unitTime: 1, timeUnit: min}}]\npolicies: [{name: x, per: [user], limit: 1, window: 1m}]\n")
		}, nil},
		{"nothing again", func() {}, all},
		{"it is asked for", func() { c.write("api_definitions/tier.yaml", named("tier", server+"x-wso2-throttling-tier: x\n"+path)) }, []string{"part", "plain", "referring", "variable"}},
		{"it still is", func() {}, all},
		{"it no longer is", func() {
			c.write("api_definitions/tier.yaml", named("tier", server+"x-wso2-throttling-tier: Gold\n"+path))
		}, []string{"part", "plain", "referring", "variable"}},
		{"project.yaml", func() { c.write("project.yaml", "definitions: {plain.yaml: {basePath: /moved, hosts: [a.example]}}\n") }, nil},
		{"an environment", func() {
			c.write("environments/prod.yaml", "values: {POSTERN_VAR_HOST: unheard}\ndefinitions: {tier.yaml: {production: [http://c]}}\n")
			c.options.Environment = "prod"
		}, nil},
		{"a value of it", func() {
			delete(c.vars, "POSTERN_VAR_HOST")
		}, []string{"part", "plain", "referring", "tier"}},
		{"a CA", func() { c.write("certificates/backends/ca.pem", certificate(t)) }, nil},
		{"own addresses", func() { c.options.OwnAddresses = []string{"b:443"} }, nil},
		{"allowed backends", func() { c.options.AllowBackends = []string{"b"} }, nil},
		{"the longest timeout", func() { c.options.Settings.Timeouts.MaxRequest = time.Second }, nil},
		{"how it is routed", func() { c.options.Settings.Routing.Flat = true }, all},
		{"another definition", func() { c.write("api_definitions/new.yaml", named("new", server+path)) }, all},
		{"it is removed", func() { c.write("api_definitions/new.yaml", "") }, all},
		{"nobody refers to the part", func() { c.write("api_definitions/referring.yaml", "") }, []string{"part", "plain", "tier", "variable"}},
	} {
		step.do()
		if kept, _ := c.compile(t, step.name); !slices.Equal(kept, step.kept) {
			t.Errorf("%s: kept %v, want %v", step.name, kept, step.kept)
		}
	}
}

// What is kept is the very API of before: a change of one definition takes no memory for the others.
func TestCacheSharesMemory(t *testing.T) {
	t.Parallel()
	c := &cached{files: fstest.MapFS{}}
	c.write("api_definitions/a.yaml", named("a", server+path))
	c.write("api_definitions/b.yaml", named("b", server+path))
	_, before := c.compile(t, "before")
	c.write("api_definitions/b.yaml", named("b", server+path+"\n"))
	_, after := c.compile(t, "after")
	if &before.APIs[0].Operations[0] != &after.APIs[0].Operations[0] {
		t.Error("a was compiled again")
	}
	if &before.APIs[1].Operations[0] == &after.APIs[1].Operations[0] {
		t.Error("b was not compiled again")
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// BenchmarkEdited compiles a project again after one of its definitions was edited.
func BenchmarkEdited(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			write := func(i, revision int) {
				text := fmt.Sprintf("openapi: 3.0.3\ninfo: {title: a%d, version: '1'}\nx-wso2-basePath: /a%d\nservers: [{url: 'http://b'}]\npaths:\n", i, i)
				for _, path := range []string{"/a", "/b", "/c", "/d", fmt.Sprint("/v", revision)} {
					text += "  " + path + ": {get: {responses: {default: {description: ok}}}}\n"
				}
				if err := os.WriteFile(filepath.Join(dir, "api_definitions", fmt.Sprintf("a%05d.yaml", i)), []byte(text), 0o600); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "api_definitions"), 0o700); err != nil {
				b.Fatal(err)
			}
			for i := range n {
				write(i, 0)
			}
			var cache project.Cache
			compile := func() {
				p, problems := project.Compile(os.DirFS(dir), project.Options{Cache: &cache})
				if len(p.APIs) != n || len(problems) > 0 {
					b.Fatal(len(p.APIs), problems)
				}
			}
			compile()
			i := 0
			for b.Loop() {
				i++
				write(i%n, i)
				compile()
			}
		})
	}
}
