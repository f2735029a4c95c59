package source

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestFoldersAreASource(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("a/f", "1")
	p.write("b/f", "1")
	one := Folders(Options{Paths: []string{p.path("b")}})
	other := Folders(Options{Paths: []string{p.path("a")}})
	both := All(one, other)
	if got := both.Paths(); !slices.Equal(got, []string{p.path("b"), p.path("a")}) {
		t.Errorf("paths are %v", got)
	}
	for _, name := range []string{"a", "b"} {
		got, there := both.Find(p.path(name))
		if want := (Project{Path: p.path(name), Source: "folder " + p.path(name)}); !there || got != want {
			t.Errorf("%s is %+v, %v", name, got, there)
		}
	}
	if got, there := both.Find(p.path("c")); there {
		t.Errorf("found %+v", got)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := both.Watch(ctx)
	seen := map[string]bool{}
	p.write("a/f", "2")
	p.write("b/f", "2")
	for deadline := time.After(patience); len(seen) < 2; {
		select {
		case paths := <-changes:
			for _, path := range paths {
				seen[path] = true
			}
		case <-deadline:
			t.Fatalf("told of %v", seen)
		}
	}
	cancel()
	for range changes { // ends, whoever receives
	}
}
