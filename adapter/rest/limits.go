package rest

import (
	"math"
	"sync"
	"time"

	"github.com/postern-gateway/postern/adapter/access"
)

// shares are what callers hold of something of which there is so much for all.
type shares struct {
	most int64 // that one caller may have

	mu   sync.Mutex
	held map[string]int64
}

func newShares(most int64) *shares { return &shares{most: most, held: map[string]int64{}} }

// take takes n for a caller, or says that he would have too much.
func (s *shares) take(key string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key]+n > s.most {
		return false
	}
	s.held[key] += n
	return true
}

// give gives n back.
func (s *shares) give(key string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key] -= n; s.held[key] <= 0 {
		delete(s.held, key)
	}
}

// share is whose share the call takes from; false: an admin may have all there is.
func (c *call) share() (key string, shared bool) {
	return c.key(), c.caller.Grants.At("") < access.Admin
}

// Rate is so many in a second, and so many at once.
type Rate struct{ PerSecond, Burst float64 }

// seconds is after how many of them there is room for one more.
func (r Rate) seconds() int { return int(math.Ceil(1 / r.PerSecond)) }

// limiter counts by key. It has a bounded number of keys; when there are more, those share one.
type limiter struct {
	rate Rate

	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

// bucket is what one key has left.
type bucket struct {
	left    float64
	at      time.Time
	refused int // since the last that was not
}

// mostKeys is how many of them are counted apart.
const mostKeys = 10_000

func newLimiter(r Rate) *limiter { return &limiter{rate: r, buckets: map[string]*bucket{}} }

// take takes one; it is not ok if none is left. first: the one before was ok.
func (l *limiter) take(key string, now time.Time) (first, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(key, now)
	if b.left < 1 {
		b.refused++
		return b.refused == 1, false
	}
	b.left--
	return false, true
}

// any says whether one is left.
func (l *limiter) any(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bucket(key, now).left >= 1
}

// forgotten is how many were refused since this was asked last, but for the first of them.
func (l *limiter) forgotten(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		return 0
	}
	n := max(b.refused-1, 0)
	b.refused = 0
	return n
}

// refused is how many were refused since this was asked last.
func (l *limiter) refused(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		b = l.buckets[""]
	}
	if b == nil {
		return 0
	}
	n := b.refused
	b.refused = 0
	return n
}

func (l *limiter) bucket(key string, now time.Time) *bucket {
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= mostKeys {
			l.sweep(now)
		}
		if len(l.buckets) >= mostKeys {
			key = ""
		}
		if b = l.buckets[key]; b == nil {
			b = &bucket{left: l.rate.Burst, at: now}
			l.buckets[key] = b
		}
	}
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.left, b.at = min(b.left+passed*l.rate.PerSecond, l.rate.Burst), now
	}
	return b
}

// sweep forgets who has used nothing for a while. It looks at all of them, and so not at every occasion.
func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for key, b := range l.buckets {
		if b.left+now.Sub(b.at).Seconds()*l.rate.PerSecond >= l.rate.Burst {
			delete(l.buckets, key)
		}
	}
}
