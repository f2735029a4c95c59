package source

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const (
	patience = 10 * time.Second
	still    = 150 * time.Millisecond // nothing is told for this long
)

// place is a directory with project folders in it, and a watch on them.
type place struct {
	t       *testing.T
	dir     string
	changes <-chan []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	return &place{t: t, dir: t.TempDir()}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name, content string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) watch(o Options, names ...string) {
	for _, name := range names {
		o.Paths = append(o.Paths, p.path(name))
	}
	o.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	p.changes = Watch(ctx, o)
	p.t.Cleanup(func() {
		cancel()
		for range p.changes { // until it is closed
		}
	})
}

// told waits until these have been named, and nothing else.
func (p *place) told(names ...string) {
	p.t.Helper()
	want := map[string]bool{}
	for _, name := range names {
		want[p.path(name)] = true
	}
	timeout := time.After(patience)
	for seen := map[string]bool{}; len(seen) < len(want); {
		select {
		case paths := <-p.changes:
			if !slices.IsSorted(paths) {
				p.t.Errorf("not sorted: %v", paths)
			}
			for _, path := range paths {
				if !want[path] {
					p.t.Fatalf("told of %s, want %v", path, names)
				}
				seen[path] = true
			}
		case <-timeout:
			p.t.Fatalf("not told of %v", names)
		}
	}
}

// quiet drains what still comes of one edit, then sees that nothing does.
func (p *place) quiet() {
	p.t.Helper()
	for {
		select {
		case <-p.changes:
		case <-time.After(still):
			return
		}
	}
}

func TestEdits(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/api_definitions/a.yaml", "1")
	p.write("other/api_definitions/b.yaml", "1")
	p.watch(Options{}, "shop", "other")

	p.write("shop/api_definitions/a.yaml", "2")
	p.told("shop")
	p.write("shop/project.yaml", "new")
	p.told("shop")
	p.do(os.Remove(p.path("shop/project.yaml")))
	p.told("shop")
	p.write("shop/environments/prod.yaml", "in a new directory")
	p.told("shop")
	p.quiet()
	p.write("shop/environments/prod.yaml", "again")
	p.told("shop")
	p.write("other/api_definitions/b.yaml", "2")
	p.told("other")
	p.write("neighbour/file", "none of ours")
	p.write("shop/.git/index.lock", "neither")
	p.quiet()
}

func TestEditorsSwapFiles(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/a.yaml", "1")
	p.watch(Options{}, "shop")
	for i := range 3 {
		p.write("shop/a.yaml.tmp", fmt.Sprint(i))
		p.do(os.Rename(p.path("shop/a.yaml.tmp"), p.path("shop/a.yaml")))
		p.told("shop")
		p.quiet()
	}
}

func TestFoldersAreSwapped(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/a/f.yaml", "1")
	p.watch(Options{}, "shop")
	for i := range 3 {
		p.write("new/a/f.yaml", "2")
		p.do(os.Rename(p.path("shop"), p.path(fmt.Sprint("old", i))))
		p.do(os.Rename(p.path("new"), p.path("shop")))
		p.told("shop")
		p.quiet()
		p.write("shop/a/f.yaml", "3") // the new one is watched
		p.told("shop")
		p.quiet()
		p.write(fmt.Sprintf("old%d/a/f.yaml", i), "the old one is not")
		p.quiet()
	}
}

func TestConfigMapSwap(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/..1/project.yaml", "1")
	p.write("shop/..1/api_definitions/a.yaml", "1")
	p.do(os.Symlink("..1", p.path("shop/..data")))
	p.do(os.Symlink("..data/project.yaml", p.path("shop/project.yaml")))
	p.do(os.Symlink("..data/api_definitions", p.path("shop/api_definitions")))
	p.watch(Options{}, "shop")
	for i := 2; i < 5; i++ {
		p.write(fmt.Sprintf("shop/..%d/project.yaml", i), "2")
		p.write(fmt.Sprintf("shop/..%d/api_definitions/a.yaml", i), "2")
		p.do(os.Symlink(fmt.Sprintf("..%d", i), p.path("shop/..tmp")))
		p.do(os.Rename(p.path("shop/..tmp"), p.path("shop/..data")))
		p.do(os.RemoveAll(p.path(fmt.Sprintf("shop/..%d", i-1))))
		p.told("shop")
		p.quiet()
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("releases/1/shop/a.yaml", "1")
	p.write("releases/2/shop/a.yaml", "2")
	p.write("elsewhere/policies.yaml", "1")
	p.do(os.Symlink(p.path("elsewhere/policies.yaml"), p.path("releases/2/shop/policies.yaml")))
	p.do(os.Symlink("releases/1", p.path("current")))
	p.watch(Options{}, "current/shop")

	p.write("releases/1/shop/a.yaml", "edited behind the link")
	p.told("current/shop")
	p.quiet()
	p.do(os.Symlink("releases/2", p.path("next")))
	p.do(os.Rename(p.path("next"), p.path("current")))
	p.told("current/shop")
	p.quiet()
	p.write("elsewhere/policies.yaml", "edited where a link inside points")
	p.told("current/shop")
}

func TestArchive(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop.zip", "1")
	p.watch(Options{}, "shop.zip")
	p.write("other.zip", "1")
	p.quiet()
	p.write("shop.zip", "2")
	p.told("shop.zip")
	p.quiet()
	p.do(os.Remove(p.path("shop.zip")))
	p.told("shop.zip")
	p.write("shop.zip", "3")
	p.told("shop.zip")
}

func TestNotThereYet(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.watch(Options{Poll: 20 * time.Millisecond}, "shop", "deep/down/shop")
	p.write("shop/a.yaml", "1")
	p.told("shop")
	p.quiet()
	p.write("deep/down/shop/a.yaml", "1")
	p.told("deep/down/shop")
	p.quiet()
	p.write("deep/down/shop/a.yaml", "2")
	p.told("deep/down/shop")
}

func TestManyEditsAreOneUpdate(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/a.yaml", "1")
	p.write("other/a.yaml", "1")
	p.watch(Options{Quiet: 100 * time.Millisecond, Cap: 10 * time.Second}, "shop", "other")
	for i := range 100 {
		p.write("shop/a.yaml", fmt.Sprint(i))
		p.write("other/a.yaml", fmt.Sprint(i))
	}
	if got := <-p.changes; len(got) != 2 {
		t.Errorf("told of %v at first", got)
	}
	select {
	case got := <-p.changes:
		t.Errorf("told again of %v", got)
	case <-time.After(2 * still):
	}
}

func TestChangesAddUpWhileNobodyReceives(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("a/f", "1")
	p.write("b/f", "1")
	p.watch(Options{}, "a", "b")
	p.write("a/f", "2")
	<-time.After(still) // the first change is ready, and nobody takes it
	p.write("b/f", "2")
	p.told("a", "b")
}

func TestConstantChangeIsToldAtTheCap(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/a.yaml", "1")
	p.watch(Options{Quiet: time.Hour, Cap: 50 * time.Millisecond}, "shop")
	p.write("shop/a.yaml", "2")
	p.told("shop")
	p.write("shop/a.yaml", "3")
	p.told("shop")
}

func TestLookingInsteadOfBeingTold(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("shop/a.yaml", "1")
	w := &watcher{watched: map[string]map[*root]bool{}, changed: map[*root]bool{}, roots: []*root{newRoot(p.path("shop"))}}
	w.watch(w.roots[0])
	if w.look() {
		t.Error("a change was seen where none was")
	}
	p.write("shop/a.yaml", "longer")
	if !w.look() {
		t.Error("a change was not seen")
	}
	w.settle()
	clear(w.changed)
	if w.look() {
		t.Error("a change was seen twice")
	}
}
