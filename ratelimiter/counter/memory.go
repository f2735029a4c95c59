// Package counter keeps the counts of the rate limits. It must not import gRPC, Envoy's types, the adapter or the
// enforcer: what a request means for a counter is package limit's business.
package counter

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// ErrFull means that the memory given to counters is used up until some of their windows end.
var ErrFull = errors.New("too many counters: none can be added before a window ends")

// DefaultMaxCounters bounds a Memory that is not told another number: roughly half a gigabyte.
const DefaultMaxCounters = 4 << 20

const (
	shards     = 64
	sweepEvery = time.Second
	// maxGrace bounds how long a window is kept after its end.
	maxGrace = 60
)

// Memory counts in this process, exactly: hits of one request are checked and added as one step. It is ready for use
// by several goroutines.
//
// Counters of one window live and die together, in a map of their own: dropping a million of them is dropping one map
// a shard, and gives their memory back.
type Memory struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	windows map[limit.Window]map[string]uint64
	size    int // counters in all windows
	max     int
	_       [64]byte // the next shard's lock is on a cache line of its own
}

// NewMemory returns an empty store of at most about maxCounters counters; 0 is DefaultMaxCounters.
func NewMemory(maxCounters int) *Memory {
	if maxCounters <= 0 {
		maxCounters = DefaultMaxCounters
	}
	m := &Memory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].windows = map[limit.Window]map[string]uint64{}
		m.shards[i].max = (maxCounters + shards - 1) / shards
	}
	return m
}

// Add finds what was counted before each hit and counts all of them, or none if one of them refuses the request
// (limit.Hit.Refuses). Cost: constant for each hit.
func (m *Memory) Add(_ context.Context, hits []limit.Hit) ([]limit.Total, error) {
	totals := make([]limit.Total, len(hits))
	if len(hits) == 1 { // by far the most: no list of shards to make
		s := m.shardOf(hits[0].Key)
		s.mu.Lock()
		defer s.mu.Unlock()
		return totals, addAll(hits, totals, func(int) *shard { return s })
	}
	places := make([]int, len(hits))
	for i, h := range hits {
		places[i] = m.placeOf(h.Key)
	}
	order := slices.Clone(places)
	slices.Sort(order) // why: two requests that lock the same shards in one order never wait for each other in a circle
	order = slices.Compact(order)
	for _, i := range order {
		m.shards[i].mu.Lock()
		defer m.shards[i].mu.Unlock()
	}
	return totals, addAll(hits, totals, func(i int) *shard { return &m.shards[places[i]] })
}

// addAll adds hit after hit, so that two hits of one counter see each other, and takes all back if the request is
// refused or finds no room. The shards are locked.
func addAll(hits []limit.Hit, totals []limit.Total, at func(int) *shard) error {
	for i, h := range hits {
		before, ok := at(i).add(h)
		if !ok {
			takeBack(hits[:i], totals, at)
			return ErrFull
		}
		totals[i] = limit.Total{Before: before}
	}
	if limit.Refused(hits, totals) {
		takeBack(hits, totals, at)
	}
	return nil
}

func takeBack(hits []limit.Hit, totals []limit.Total, at func(int) *shard) {
	for i, h := range slices.Backward(hits) {
		switch before := totals[i].Before; {
		case h.Cost == 0:
		case before == 0: // refused requests leave no counters behind
			delete(at(i).windows[h.Window], h.Key)
			at(i).size--
		default:
			at(i).windows[h.Window][h.Key] = before
		}
	}
}

// add counts the hit and returns what was counted before; it says false if there is no room for one more counter.
func (s *shard) add(h limit.Hit) (before uint64, ok bool) {
	counts := s.windows[h.Window]
	before, known := counts[h.Key]
	if h.Cost == 0 {
		return before, true
	}
	if !known {
		if s.size >= s.max {
			return 0, false
		}
		s.size++
	}
	if counts == nil {
		counts = map[string]uint64{}
		s.windows[h.Window] = counts
	}
	counts[h.Key] = h.After(before)
	return before, true
}

// Sweep drops the counters whose windows have ended. A window is kept for its own length more, a minute at most: a
// clock that is set back by less finds the counts as they were.
func (m *Memory) Sweep(now time.Time) {
	for i := range m.shards {
		m.shards[i].sweep(now.Unix())
	}
}

func (s *shard) sweep(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w, counts := range s.windows { // as many as there are lengths of windows in use, not as there are counters
		if w.End+min(w.Seconds(), maxGrace) <= now {
			s.size -= len(counts)
			delete(s.windows, w)
		}
	}
}

// Len returns the number of counters kept.
func (m *Memory) Len() int {
	n := 0
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += m.shards[i].size
		m.shards[i].mu.Unlock()
	}
	return n
}

// Run sweeps every second until ctx is done.
func (m *Memory) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			m.Sweep(now)
		}
	}
}

func (m *Memory) placeOf(key string) int { return int(maphash.String(m.seed, key) % shards) }

func (m *Memory) shardOf(key string) *shard { return &m.shards[m.placeOf(key)] }
