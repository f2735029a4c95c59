package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/storetest"
)

// TestTogether: what comes while the disk is busy is written at once, and one that refuses or fails takes nobody with it.
func TestTogether(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	ready := make(chan struct{})
	f.Hold(ready)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := f.Begin(t.Context(), storetest.Of(fmt.Sprint(i), "x", store.Claim(fmt.Sprint("default /", i)))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		if _, err := f.Commit(t.Context(), "none", nil); !errors.Is(err, store.ErrUnknown) {
			t.Error(err)
		}
	})
	late, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		if err := f.Discard(late, "none", nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	fixture.WaitFor(t, "all to wait", func() bool { return f.Waiting() == 22 })
	cancel()
	close(ready)
	all.Wait()
	if n := transactions(t, f, "ok"); n != 1 {
		t.Errorf("20 rollouts took %d transactions", n)
	}
	check(t, f)

	ready = make(chan struct{})
	f.Hold(ready)
	all.Go(func() {
		if err := f.Fail(t.Context(), "this"); err == nil || !strings.Contains(err.Error(), "this fails") {
			t.Error(err)
		}
	})
	all.Go(func() {
		if _, err := f.Begin(t.Context(), storetest.Of("new", "x", "default /new")); err != nil {
			t.Error(err)
		}
	})
	fixture.WaitFor(t, "both to wait", func() bool { return f.Waiting() == 2 })
	close(ready)
	all.Wait()
	check(t, f)
}

func check(t *testing.T, f *store.File) {
	t.Helper()
	if err := f.Check(); err != nil {
		t.Error(err)
	}
}

// transactions is how many were written, with this outcome.
func transactions(t *testing.T, f *store.File, outcome string) uint64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(f)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "postern_store_commit_duration_seconds" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetHistogram().GetSampleCount()
			}
		}
	}
	return 0
}

// TestMetrics: what there is, is counted, and again after a restart.
func TestMetrics(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	f := openAt(t, path)
	for _, name := range []string{"a", "b", "b", "c"} {
		push(t, f, storetest.Of(name, "x", store.Claim(name)))
	}
	push(t, f, storetest.Undeploy("c"))
	for range 2 {
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(f)
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range families {
			got[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
		}
		if got["postern_store_projects"] != 2 || got["postern_store_revisions"] != 5 || got["postern_store_bytes"] < 16<<10 {
			t.Errorf("got %v", got)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = openAt(t, path)
	}
}

func push(t *testing.T, f *store.File, c store.Candidate) store.Revision {
	t.Helper()
	r, err := f.Begin(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	made, err := f.Commit(t.Context(), r.ID, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestFull: a disk that is full refuses pushes, and takes them again once there is room.
func TestFull(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	push(t, f, storetest.Of("shop", "one", "default /shop"))
	f.SetMaxSize(f.Size())
	big := storetest.Of("shop", strings.Repeat("x", 1<<20), "default /shop")
	if r, err := f.Begin(t.Context(), big); err == nil {
		t.Fatalf("begun: %+v", r)
	}
	check(t, f)
	f.SetMaxSize(0)
	push(t, f, big)
	check(t, f)
	if n := transactions(t, f, "error"); n == 0 {
		t.Error("the metric has no error")
	}
}

// TestAtOnce: many push, list, read and back up at the same time. It is for the race detector.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	var all sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprint("project-", i)
		all.Go(func() {
			for n := range 10 {
				r, err := f.Begin(t.Context(), storetest.Of(name, fmt.Sprint(name, n), store.Claim("default /"+name)))
				if err == nil {
					err = errors.Join(f.Acknowledge(t.Context(), r.ID, store.Ack{Gateway: "a"}), f.Renew(t.Context(), r.ID, r.Lease))
				}
				if err == nil {
					_, err = f.Commit(t.Context(), r.ID, []byte(`{}`))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 10 {
				if err := everything(t.Context(), f).err; err != nil && !errors.Is(err, store.ErrUnknown) { // what was listed may go
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		if err := f.Backup(t.Context(), io.Discard); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	check(t, f)
}
