package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/test/fixture"
)

// mount is a folder that a ConfigMap or a Secret is mounted at, as the kubelet keeps it: the files lie in a folder of
// the moment, "..data" leads there, and what is seen of them leads through "..data". A change makes another folder
// and lets "..data" lead to it in one step. Source: Kubernetes, pkg/volume/util/atomic_writer.go.
type mount struct {
	t       *testing.T
	folder  string
	version int
}

func newMount(t *testing.T, folder string, files map[string]string) *mount {
	t.Helper()
	m := &mount{t: t, folder: folder}
	m.do(os.MkdirAll(m.folder, 0o755))
	m.put(files)
	return m
}

func (m *mount) do(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// put makes the mount hold these files and no others.
func (m *mount) put(files map[string]string) {
	m.t.Helper()
	old, _ := os.Readlink(filepath.Join(m.folder, "..data"))
	m.version++
	moment := fmt.Sprintf("..2026_11_21_07_00_%02d.%d", m.version%60, m.version)
	for name, text := range files {
		file := filepath.Join(m.folder, moment, filepath.FromSlash(name))
		m.do(os.MkdirAll(filepath.Dir(file), 0o755))
		m.do(os.WriteFile(file, []byte(text), 0o644))
	}
	m.do(os.Symlink(moment, filepath.Join(m.folder, "..data_tmp")))
	m.do(os.Rename(filepath.Join(m.folder, "..data_tmp"), filepath.Join(m.folder, "..data")))
	seen := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		seen[first] = true
	}
	for _, first := range slices.Sorted(maps.Keys(seen)) {
		if err := os.Symlink(filepath.Join("..data", first), filepath.Join(m.folder, first)); err != nil && !os.IsExist(err) {
			m.t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(m.folder)
	m.do(err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !seen[e.Name()] {
			m.do(os.Remove(filepath.Join(m.folder, e.Name())))
		}
	}
	if old != "" {
		m.do(os.RemoveAll(filepath.Join(m.folder, old)))
	}
}

// TestProjectInAConfigMap: what a ConfigMap holds is served, and another version of it is, without a restart and without
// a request that fails; a broken one leaves the last good.
func TestProjectInAConfigMap(t *testing.T) {
	t.Parallel()
	b := backend(t)
	project := func(operation string) map[string]string {
		return map[string]string{
			"project.yaml":                "name: shop\n",
			"api_definitions/shop.yaml":   strings.Replace(definition("Shop", "/shop", b.URL), "/hello", operation, 1),
			"api_definitions/always.yaml": definition("Always", "/always", b.URL),
		}
	}
	m := newMount(t, filepath.Join(fixture.TempDir(t), "shop"), project("/one"))
	g := start(t, nil, m.folder)
	if a := g.get("GET", "/shop/one", ""); a.status != 200 {
		t.Fatalf("what is mounted is not served: %d %s", a.status, a.body)
	}
	l := g.load("/always/hello")
	for _, operation := range []string{"/two", "/three", "/four"} {
		m.put(project(operation))
		fixture.WaitFor(t, operation+" to be served", func() bool { return g.get("GET", "/shop"+operation, "").status == 200 })
		if a := g.get("GET", "/shop/one", ""); a.status != 404 {
			t.Errorf("what is mounted no more answers %d", a.status)
		}
	}
	m.put(map[string]string{"project.yaml": "name: shop\n", "api_definitions/shop.yaml": "openapi: [\n"})
	fixture.WaitFor(t, "word of the mistake", func() bool { return strings.Contains(g.stderr.String(), "api_definitions/shop.yaml") })
	if a := g.get("GET", "/shop/four", ""); a.status != 200 {
		t.Errorf("a mistake ended what was served: %d %s", a.status, a.body)
	}
	l.stop(t)
}

// TestArchiveInAConfigMap: the same for an archive, which is one file there.
func TestArchiveInAConfigMap(t *testing.T) {
	t.Parallel()
	b := backend(t)
	archive := func(operation string) map[string]string {
		dir, _ := project(t, strings.Replace(definition("Shop", "/shop", b.URL), "/hello", operation, 1))
		out := filepath.Join(t.TempDir(), "shop.zip")
		if text, err := command(t, "", "build", dir, "--out", out).CombinedOutput(); err != nil {
			t.Fatalf("postern build: %v\n%s", err, text)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"shop.zip": string(content)}
	}
	m := newMount(t, filepath.Join(fixture.TempDir(t), "projects"), archive("/one"))
	g := start(t, nil, filepath.Join(m.folder, "shop.zip"))
	if a := g.get("GET", "/shop/one", ""); a.status != 200 {
		t.Fatalf("what is mounted is not served: %d %s", a.status, a.body)
	}
	m.put(archive("/two"))
	fixture.WaitFor(t, "the other archive to be served", func() bool { return g.get("GET", "/shop/two", "").status == 200 })
}
