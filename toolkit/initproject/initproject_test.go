package initproject_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/toolkit/initproject"
)

const paths = "paths: {/x: {get: {responses: {default: {description: ok}}}}}\n"

// write makes a file of a definition, or of what one refers to, and returns its name.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func create(t *testing.T, dir string, sources ...string) []initproject.Definition {
	t.Helper()
	definitions, err := initproject.Create(context.Background(), initproject.Options{Dir: dir, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return definitions
}

// compiled are the base paths the project's APIs have, by their ids.
func compiled(t *testing.T, dir string) map[string]string {
	t.Helper()
	p, problems := project.Compile(os.DirFS(dir), project.Options{})
	if model.Refusing(problems) {
		t.Fatal(problems)
	}
	out := map[string]string{}
	for _, a := range p.APIs {
		out[a.ID()] = a.BasePath
	}
	return out
}

func TestDefinitionsGetBasePathsOfTheirOwn(t *testing.T) {
	t.Parallel()
	in, dir := t.TempDir(), filepath.Join(t.TempDir(), "shop")
	yaml := "# kept\nopenapi: 3.0.3\ninfo: {title: Pet Store, version: 1.0}\nservers: [{url: 'http://a/v1'}]\n" + paths
	json := `{"openapi": "3.1.0", "info": {"title": "Orders", "version": "2"}, "servers": [{"url": "http://b/v1"}], "paths": {"/x": {"get": {}}}}`
	a := write(t, in, "a/openapi.yaml", yaml)
	b := write(t, in, "b/OpenAPI.yaml", "openapi: 3.0.3\ninfo: {title: Pet Store, version: '1.0'}\nservers: [{url: 'http://c/own'}]\n"+paths)
	c := write(t, in, "orders.json", json)
	d := write(t, in, "root.txt", "openapi: 3.0.3\ninfo: {title: Root, version: '1 beta'}\nservers: [{url: 'http://d'}]\n"+paths)
	e := write(t, in, "pinned.yaml", "openapi: 3.0.3\ninfo: {title: Pinned, version: '1'}\nx-wso2-basePath: /v1\nservers: [{url: 'http://d'}]\n"+paths)

	got := create(t, dir, a, b, c, d, e)
	want := []initproject.Definition{
		{Source: a, File: "openapi.yaml", Name: "pet-store", Version: "1.0", BasePath: "/pet-store/1.0", Backend: true},
		{Source: b, File: "OpenAPI-2.yaml", Name: "pet-store-2", Version: "1.0", BasePath: "/own", Backend: true},
		{Source: c, File: "orders.json", Name: "orders", Version: "2", BasePath: "/orders/2", Backend: true},
		{Source: d, File: "root.txt.yaml", Name: "root", Version: "1-beta", BasePath: "/root/1-beta", Backend: true},
		{Source: e, File: "pinned.yaml", Name: "pinned", Version: "1", BasePath: "/v1", Backend: true},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(initproject.Definition{})); diff != "" {
		t.Error(diff)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, "api_definitions", "openapi.yaml")); err != nil || string(kept) != yaml {
		t.Errorf("not kept byte for byte: %v\n%s", err, kept)
	}
	if diff := cmp.Diff(map[string]string{
		"pet-store/1.0": "/pet-store/1.0", "pet-store-2/1.0": "/own", "orders/2": "/orders/2", "root/1-beta": "/root/1-beta", "pinned/1": "/v1",
	}, compiled(t, dir)); diff != "" {
		t.Error(diff)
	}
	if readme, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || !bytes.Contains(readme, []byte("postern run . --dev")) {
		t.Errorf("%v\n%s", err, readme)
	}
}

func TestWithoutABackend(t *testing.T) {
	t.Parallel()
	in, dir := t.TempDir(), filepath.Join(t.TempDir(), "shop")
	source := write(t, in, "a.yaml", "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: /v1}]\n"+paths)
	if got := create(t, dir, source); got[0].Backend || got[0].BasePath != "/v1" {
		t.Errorf("got %+v", got)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "project.yaml"))
	if err != nil || !strings.Contains(string(manifest), "production: []   # add where requests go") {
		t.Fatalf("%v\n%s", err, manifest)
	}
	mended := strings.Replace(string(manifest), "[] ", "['http://backend:8080'] ", 1)
	write(t, dir, "project.yaml", mended)
	compiled(t, dir)
}

func TestReferencedFilesComeAlong(t *testing.T) {
	t.Parallel()
	in, dir := t.TempDir(), filepath.Join(t.TempDir(), "shop")
	source := write(t, in, "api/a.yaml", "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: 'http://a'}]\npaths: {/x: {$ref: pets.yaml}}\n")
	write(t, in, "api/pets.yaml", "get: {responses: {default: {$ref: '../shared/r.yaml#/R'}}}\n")
	write(t, in, "shared/r.yaml", "R: {description: ok}\n")
	create(t, dir, source)
	compiled(t, dir)

	far := write(t, in, "far/a.yaml", "openapi: 3.0.3\ninfo: {title: A, version: '1'}\npaths: {/x: {$ref: ../../../pets.yaml}}\n")
	other := filepath.Join(t.TempDir(), "other")
	if _, err := initproject.Create(context.Background(), initproject.Options{Dir: other, Sources: []string{far}}); err == nil {
		t.Error("what lies outside was taken in")
	}
	absent(t, other)
}

// absent says that nothing was left behind: the folder is not there, and no half of it beside.
func absent(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	in := t.TempDir()
	good := write(t, in, "a.yaml", "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nx-wso2-basePath: /same\n"+paths)
	bad := write(t, in, "bad.yaml", "openapi: [")
	fragment := write(t, in, "fragment.yaml", "a: 1")
	future := write(t, in, "future.yaml", "openapi: 9.0.0")
	large := write(t, in, "large.yaml", strings.Repeat("#", 17<<20))
	cases := map[string]struct {
		sources []string
		want    string
	}{
		"none":     {nil, "no definition was named"},
		"missing":  {[]string{filepath.Join(in, "nothing.yaml")}, "no such file"},
		"bad":      {[]string{good, bad}, "bad.yaml:1:1: this is not YAML"},
		"fragment": {[]string{fragment}, "neither openapi: nor swagger:"},
		"version":  {[]string{future}, "OpenAPI 9.0.0 is not known"},
		"large":    {[]string{large}, "larger than 16 MiB"},
		"pinned":   {[]string{good, good}, "both say x-wso2-basePath: /same"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "shop")
			_, err := initproject.Create(context.Background(), initproject.Options{Dir: dir, Sources: c.sources})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			absent(t, dir)
		})
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	in, dir := t.TempDir(), t.TempDir()
	source := write(t, in, "a.yaml", "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: 'http://a'}]\n"+paths)
	create(t, dir, source) // an empty folder is fine
	compiled(t, dir)
	if _, err := initproject.Create(context.Background(), initproject.Options{Dir: dir, Sources: []string{source}}); err == nil {
		t.Error("a project was overwritten")
	}
	file := write(t, in, "file", "")
	if _, err := initproject.Create(context.Background(), initproject.Options{Dir: file, Sources: []string{source}}); err == nil {
		t.Error("a file was overwritten")
	}
}

// What cannot be read is named as whoever called named it, by the file or URL, and told once.
func TestRefusalsNameTheSource(t *testing.T) {
	t.Parallel()
	in := t.TempDir()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("<html>no definition</html>")) //nolint:errcheck
	}))
	t.Cleanup(server.Close)
	text := write(t, in, "README.md", "\nhello\n")
	broken := write(t, in, "a b.yml", "openapi: 3.0.3\ninfo: {title: A\npaths:\n")
	write(t, in, "sub/part.yaml", "a:\n- [\n")
	whole := write(t, in, "whole.yaml", "openapi: 3.0.3\npaths: {/a: {$ref: sub/part.yaml}}\n")
	stands := "a string stands where a definition should"
	for source, want := range map[string]string{
		text:                       text + ":2:1: " + stands,
		broken:                     broken + ":2:1: this is not YAML",
		whole:                      whole + " refers to a file that cannot be read: " + filepath.Join(in, "sub/part.yaml") + ":2:1: this is not YAML",
		server.URL + "/docs/":      server.URL + "/docs/:1:1: " + stands,
		server.URL + "/latest?v=1": server.URL + "/latest?v=1:1:1: " + stands,
	} {
		dir := filepath.Join(t.TempDir(), "shop")
		_, err := initproject.Create(context.Background(), initproject.Options{Dir: dir, Sources: []string{source}})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), ".md.yaml") {
			t.Errorf("got  %v\nwant %s…", err, want)
		}
		absent(t, dir)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v3/":
			w.Write([]byte(`{"openapi": "3.0.3", "info": {"title": "A", "version": "1"}, "servers": [{"url": "http://a/v1"}], "paths": {"/x": {"get": {}}}}`)) //nolint:errcheck
		case "/large":
			for range 17 {
				w.Write(bytes.Repeat([]byte("#"), 1<<20)) //nolint:errcheck // the reader stops before the end
			}
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	dir := filepath.Join(t.TempDir(), "shop")
	if got := create(t, dir, server.URL+"/v3/"); got[0].File != "v3.json" {
		t.Errorf("got %+v", got)
	}
	compiled(t, dir)
	for source, want := range map[string]string{
		server.URL + "/large":   "larger than 16 MiB",
		server.URL + "/missing": "404",
		"http://127.0.0.1:1/x":  "refused",
		strings.Replace(server.URL, "://", "://user:hunter2@", 1) + "/missing": "404",
	} {
		dir := filepath.Join(t.TempDir(), "shop")
		_, err := initproject.Create(context.Background(), initproject.Options{Dir: dir, Sources: []string{source}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
		absent(t, dir)
	}
}
