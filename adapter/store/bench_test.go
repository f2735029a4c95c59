package store_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// BenchmarkCommit is one push to the store, begun and committed: alone and twenty at once, beside few and many projects.
func BenchmarkCommit(b *testing.B) {
	for _, there := range []int{10, 10_000} {
		f, err := store.Open(store.Options{Path: filepath.Join(b.TempDir(), "postern.db")})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		together(b, there, func(i int) { deploy(b, f, fmt.Sprintf("there-%05d", i), i) })
		for _, at := range []int{1, 20} {
			b.Run(fmt.Sprintf("projects=%d/at-once=%d", there, at), func(b *testing.B) {
				for i := range b.N {
					together(b, at, func(k int) { deploy(b, f, fmt.Sprintf("pushed-%d", k), i) })
				}
			})
		}
	}
}

// together runs so many, 200 at a time at most.
func together(b *testing.B, n int, do func(int)) {
	b.Helper()
	var all sync.WaitGroup
	tickets := make(chan struct{}, 200)
	for i := range n {
		tickets <- struct{}{}
		all.Go(func() { do(i); <-tickets })
	}
	all.Wait()
}

func deploy(b *testing.B, f *store.File, name string, i int) {
	b.Helper()
	c := storetest.Of(name, fmt.Sprintf("%4096d %s", i, name), store.Claim("default /"+name), store.Claim("default "+name+"/1.0.0"))
	c.Lease = time.Now().Add(time.Hour)
	r, err := f.Begin(b.Context(), c)
	if err == nil {
		_, err = f.Commit(b.Context(), r.ID, nil)
	}
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkOpen is a start beside 10,000 projects with five revisions each: all pages and records are verified.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "postern.db")
	f, err := store.Open(store.Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	for n := range 5 {
		together(b, 10_000, func(i int) { deploy(b, f, fmt.Sprintf("there-%05d", i), n) })
	}
	size := f.Size()
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := store.Open(store.Options{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/1e6, "MB")
}
