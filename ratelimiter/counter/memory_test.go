package counter

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-gateway/postern/ratelimiter/limit"
)

var minute = limit.Window{Start: 60, End: 120}

// add returns what was counted before each hit.
func add(t testing.TB, m *Memory, hits ...limit.Hit) []uint64 {
	t.Helper()
	totals, err := m.Add(t.Context(), hits)
	if err != nil {
		t.Fatal(err)
	}
	before := make([]uint64, len(totals))
	for i, total := range totals {
		before[i] = total.Before
	}
	return before
}

func look(t testing.TB, m *Memory, key string, w limit.Window) uint64 {
	t.Helper()
	return add(t, m, limit.Hit{Key: key, Window: w, Limit: math.MaxUint64})[0]
}

func TestARefusedRequestCountsNowhere(t *testing.T) {
	t.Parallel()
	m := NewMemory(0)
	wide := limit.Hit{Key: "wide", Window: minute, Limit: 100, Cost: 1}
	tight := limit.Hit{Key: "tight", Window: minute, Limit: 2, Cost: 1}
	watch := limit.Hit{Key: "watch", Window: minute, Limit: 1, Cost: 1, Shadow: true}
	for range 10 {
		add(t, m, wide, tight, watch)
	}
	for key, want := range map[string]uint64{"wide": 2, "tight": 2, "watch": 2} {
		if got := look(t, m, key, minute); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
	add(t, m, limit.Hit{Key: "dear", Window: minute, Limit: 3, Cost: 4})
	if m.Len() != 3 {
		t.Errorf("%d counters; a request that was refused left one", m.Len())
	}
}

func TestTwoHitsOfOneCounter(t *testing.T) {
	t.Parallel()
	m := NewMemory(0)
	h := limit.Hit{Key: "k", Window: minute, Limit: 3, Cost: 1}
	if got := add(t, m, h, h); got[0] != 0 || got[1] != 1 {
		t.Errorf("the first request met %v", got)
	}
	if got := add(t, m, h, h); got[0] != 2 || got[1] != 3 { // the second hit of these does not fit
		t.Errorf("the second request met %v", got)
	}
	if got := look(t, m, "k", minute); got != 2 {
		t.Errorf("counted %d", got)
	}
}

func TestLooksCountNothing(t *testing.T) {
	t.Parallel()
	m := NewMemory(0)
	if got := look(t, m, "k", minute); got != 0 || m.Len() != 0 {
		t.Errorf("a look found %d and left %d counters", got, m.Len())
	}
}

// A clock set back finds the window as it was; set forward again it finds the later one as it was.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	m := NewMemory(0)
	h := limit.Hit{Key: "k", Window: minute, Limit: 10, Cost: 1}
	next := h
	next.Window = limit.Window{Start: 120, End: 180}
	for i, c := range []struct {
		hit  limit.Hit
		want uint64
	}{{h, 0}, {h, 1}, {next, 0}, {h, 2}, {next, 1}} {
		if got := add(t, m, c.hit)[0]; got != c.want {
			t.Errorf("hit %d met %d, want %d", i, got, c.want)
		}
	}
	m.Sweep(time.Unix(120+59, 0))
	if got := look(t, m, "k", minute); got != 3 {
		t.Errorf("within a minute of its end the window holds %d", got)
	}
	m.Sweep(time.Unix(120+60, 0))
	if got := look(t, m, "k", minute); got != 0 {
		t.Errorf("a minute after its end the window holds %d", got)
	}
	if got := look(t, m, "k", next.Window); got != 2 {
		t.Errorf("the later window holds %d", got)
	}
}

// However many ask at once, exactly as many pass as fit.
func TestExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	const goroutines, each, most = 16, 500, 3000
	m := NewMemory(0)
	var passed, other atomic.Uint64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			own := limit.Hit{Key: fmt.Sprint("own", g), Window: minute, Limit: math.MaxUint64, Cost: 1}
			shared := limit.Hit{Key: "shared", Window: minute, Limit: most, Cost: 1}
			hits := []limit.Hit{shared, own}
			if g%2 == 0 { // the order of hits must not matter to the locks
				hits = []limit.Hit{own, shared}
			}
			for i := range each {
				if i%50 == 0 {
					m.Sweep(time.Unix(100, 0))
				}
				totals, err := m.Add(t.Context(), hits)
				if err != nil {
					t.Error(err)
					return
				}
				if !limit.Refused(hits, totals) {
					passed.Add(1)
				}
			}
			other.Add(look(t, m, own.Key, minute))
		})
	}
	wg.Wait()
	if passed.Load() != most || other.Load() != most || look(t, m, "shared", minute) != most {
		t.Errorf("passed %d, counted on the other limits %d, want %d", passed.Load(), other.Load(), most)
	}
}

// The store does what the plainest possible one does.
func TestAgainstAPlainMap(t *testing.T) {
	t.Parallel()
	type id struct {
		key string
		w   limit.Window
	}
	rapid.Check(t, func(rt *rapid.T) {
		m, plain := NewMemory(0), map[id]uint64{}
		for range rapid.IntRange(1, 30).Draw(rt, "requests") {
			hits := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) limit.Hit {
				start := rapid.SampledFrom([]int64{0, 60}).Draw(rt, "start")
				return limit.Hit{
					Key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key"), Window: limit.Window{Start: start, End: start + 60},
					Limit: rapid.Uint64Range(0, 6).Draw(rt, "limit"), Cost: rapid.Uint64Range(0, 4).Draw(rt, "cost"), Shadow: rapid.Bool().Draw(rt, "shadow"),
				}
			}), 1, 4).Draw(rt, "hits")
			got, next, refused := add(t, m, hits...), map[id]uint64{}, false
			for i, h := range hits {
				at := id{h.Key, h.Window}
				before, ok := next[at]
				if !ok {
					before = plain[at]
				}
				if got[i] != before {
					rt.Fatalf("hit %d of %+v met %d, want %d", i, hits, got[i], before)
				}
				refused = refused || !h.Shadow && !h.Fits(before)
				next[at] = before + h.Cost
			}
			if refused {
				continue
			}
			for at, n := range next {
				plain[at] = n
			}
		}
		for at, n := range plain {
			if got := look(t, m, at.key, at.w); got != n {
				rt.Fatalf("%v holds %d, want %d", at, got, n)
			}
		}
	})
}

func TestFull(t *testing.T) {
	t.Parallel()
	m := NewMemory(shards) // one counter a shard
	var full bool
	for i := range 1000 {
		_, err := m.Add(t.Context(), []limit.Hit{
			{Key: "k", Window: minute, Limit: 5000, Cost: 1},
			{Key: fmt.Sprint(i), Window: minute, Limit: 5, Cost: 1},
		})
		full = full || errors.Is(err, ErrFull)
	}
	if !full || m.Len() > shards {
		t.Errorf("full: %v, with %d counters", full, m.Len())
	}
	if got, made := look(t, m, "k", minute), m.Len(); got != uint64(made-1) { // each request that passed made one
		t.Errorf("requests that found no room counted: %d, with %d counters", got, made)
	}
	m.Sweep(time.Unix(1000, 0))
	if m.Len() != 0 {
		t.Errorf("%d counters after the end of their window", m.Len())
	}
	add(t, m, limit.Hit{Key: "k", Window: minute, Limit: 1, Cost: 1})
}

// A million callers of one window take memory, give it back when it has ended, and never hold up a request for long.
func TestAMillionCounters(t *testing.T) {
	before := heap()
	m := NewMemory(0)
	for i := range 1_000_000 {
		add(t, m, limit.Hit{Key: fmt.Sprintf("petstore/1.0.0 gold user %d", i), Window: minute, Limit: 5, Cost: 1})
	}
	full := heap() - before
	if m.Len() != 1_000_000 || full < 50<<20 {
		t.Fatalf("%d counters in %d MB", m.Len(), full>>20)
	}
	start := time.Now()
	m.Sweep(time.Unix(1000, 0))
	took := time.Since(start)
	if m.Len() != 0 {
		t.Fatalf("%d counters after the end of their window", m.Len())
	}
	left := int64(heap()) - int64(before)
	t.Logf("1,000,000 counters: %d MB, swept in %v, %d kB left", full>>20, took, left>>10)
	if left > 4<<20 {
		t.Errorf("%d kB are not given back", left>>10)
	}
	if took > 100*time.Millisecond {
		t.Errorf("the sweep took %v: it looks at counters one by one", took)
	}
	runtime.KeepAlive(m)
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

func BenchmarkAdd(b *testing.B) {
	m := NewMemory(0)
	hits := []limit.Hit{{Key: "petstore/1.0.0 gold", Window: minute, Limit: math.MaxUint64, Cost: 1}}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := m.Add(b.Context(), hits); err != nil {
				b.Error(err)
			}
		}
	})
}
