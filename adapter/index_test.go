package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/model"
)

func TestIndex(t *testing.T) {
	t.Parallel()
	var x index
	want := map[string]map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		key, path := fmt.Sprint("k", random.IntN(40)), fmt.Sprint("p", random.IntN(3))
		if random.IntN(2) == 0 {
			x.add(key, path)
			if want[key] == nil {
				want[key] = map[string]bool{}
			}
			want[key][path] = true
		} else {
			x.remove(key, path)
			delete(want[key], path)
		}
		var keys []string
		for key, paths := range want {
			if len(paths) > 0 {
				keys = append(keys, key)
			}
			if len(x.paths[key]) != len(paths) {
				t.Fatalf("%s: %v, want %v", key, x.paths[key], paths)
			}
		}
		slices.Sort(keys)
		if !slices.Equal(x.keys, keys) {
			t.Fatalf("%v, want %v", x.keys, keys)
		}
	}
	if got := x.after("k1", 1); len(got) > 1 || len(got) == 1 && got[0] <= "k1" {
		t.Errorf("%v", got)
	}
}

// crowd is an adapter that shows n projects of one API each.
func crowd(t testing.TB, n int) *Adapter {
	p := newSite(t)
	p.start(nil)
	p.until("starting", p.Started)
	p.Adapter.labels.mu.Lock()
	defer p.Adapter.labels.mu.Unlock()
	l, err := p.Adapter.label("default")
	if err != nil {
		t.Fatal(err)
	}
	l.projects++
	for i := range n {
		name := fmt.Sprintf("p%05d", i)
		labels := []string{"default"}
		if i%1000 == 7 {
			labels = []string{"partner"}
		}
		p.board.put(ProjectStatus{Path: "/src/" + name, Name: name, Labels: labels, State: Live})
		id := fmt.Sprintf("api%05d/1", i)
		l.board.api(ref{"/src/" + name, id}, APIStatus{ID: id, Label: "default", Project: name, Path: "/src/" + name, State: Live, API: &model.API{Name: "api", Version: "1"}})
	}
	return p.Adapter
}

// TestListsOfMany: what is listed is what is visible, page by page, however far apart it is.
func TestListsOfMany(t *testing.T) {
	t.Parallel()
	a := crowd(t, 5000)
	var names []string
	partner := func(labels []string) bool { return slices.Contains(labels, "partner") }
	for after, more := "", true; more; {
		page, further, err := a.Projects(t.Context(), after, 2, partner)
		if err != nil || len(page) > 2 {
			t.Fatal(page, err)
		}
		for _, p := range page {
			names = append(names, p.Name)
			after = p.Name
		}
		more = further
	}
	if !slices.Equal(names, []string{"p00007", "p01007", "p02007", "p03007", "p04007"}) {
		t.Errorf("%v", names)
	}
	n := 0
	for after, more := "", true; more; {
		page, further, err := a.APIs(t.Context(), after, 999, func(APIStatus) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		n, more, after = n+len(page), further, page[len(page)-1].ID
	}
	if n != 5000 || len(a.API("api00042/1")) != 1 || a.API("api00042/2") != nil {
		t.Errorf("%d APIs", n)
	}
	if of := a.APIsOf("p00042"); len(of) != 1 || of[0].ID != "api00042/1" || a.APIsOf("none") != nil {
		t.Errorf("%+v", of)
	}
	if all := a.Labels(); len(all) != 1 || all[0].APIs[Live] != 5000 {
		t.Errorf("%+v", all)
	}
	ctx, cancel := context.WithCancel(t.Context())
	nobody := func([]string) bool { cancel(); return false }
	if _, _, err := a.Projects(ctx, "", 1, nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any longer: %v", err)
	}
}

// TestRenamed: a project that changes its name is found by the new one alone.
func TestRenamed(t *testing.T) {
	t.Parallel()
	var b projectBoard
	b.put(ProjectStatus{Path: "/a", Name: "old", State: Stale})
	b.put(ProjectStatus{Path: "/a", Name: "new", State: Stale})
	b.put(ProjectStatus{Path: "/b", Name: "new", State: Live})
	if b.named("old") != nil || len(b.named("new")) != 2 || b.named("new")[0].Path != "/b" {
		t.Errorf("%+v, %+v", b.named("old"), b.named("new"))
	}
	b.without("/b")
	b.without("/a")
	if b.named("new") != nil || len(b.after("", 9)) != 0 {
		t.Error("they stay")
	}
}

// BenchmarkStatus is what the calls of the management API that read cost with 10,000 projects.
func BenchmarkStatus(b *testing.B) {
	a := crowd(b, 10_000)
	ctx := b.Context()
	for name, call := range map[string]func() error{
		"project":  func() error { _, err := a.Project(ctx, "p05000"); return err },
		"projects": func() error { _, _, err := a.Projects(ctx, "p05000", 100, nil); return err },
		"unseen":   func() error { _, _, err := a.Projects(ctx, "", 1, func([]string) bool { return false }); return err },
		"api":      func() error { a.API("api05000/1"); return nil },
		"apis": func() error {
			_, _, err := a.APIs(ctx, "api05000/1", 100, func(APIStatus) bool { return true })
			return err
		},
		"apis of one project": func() error { a.APIsOf("p05000"); return nil },
		"gateways":            func() error { a.Labels(); a.Gateways(); return nil },
		"status":              func() error { a.Status(); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestWordsOfUnknown: who asks for what was never pushed learns where it comes from; a rollout has its labels when all is gone.
func TestWordsOfUnknown(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("pets", "pets", "/pets", "/a")
	p.start(p.withStore, "pets")
	p.until("starting", p.Started)
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"pets was never pushed, and so has no revisions; it comes from folder ": func() error { _, err := p.Revisions(ctx, "pets"); return err },
		"pets was never pushed, and so":                                         func() error { _, err := p.Push(ctx, Push{Project: "pets", Revision: 1}); return err },
		"none was never pushed, and so has no revisions":                        func() error { _, err := p.Revisions(ctx, "none"); return err },
		"no rollout nope is known; the last 1000 are kept":                      func() error { _, err := p.Rollout(ctx, "nope"); return err },
	} {
		failed := new(PushError)
		if err := call(); !errors.As(err, &failed) || failed.Reason != Unknown || !strings.HasPrefix(failed.Words, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	shop := archive(t, map[string]string{"api_definitions/a.yaml": definition("a", "/a", "/x")})
	if _, err := p.Push(ctx, Push{Project: "shop", Archive: shop}); err != nil {
		t.Fatal(err)
	}
	gone, err := p.Push(ctx, Push{Project: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	p.until("the rollout to end", func() bool {
		r, err := p.Rollout(ctx, gone.Rollout)
		return err == nil && !r.Ended.IsZero() && slices.Equal(r.Labels, []string{"default"})
	})
}
