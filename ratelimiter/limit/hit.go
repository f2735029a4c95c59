package limit

import (
	"math"
	"time"
)

// Hit is what one request does to one counter. It is all a store of counters needs to know of a limit.
type Hit struct {
	Key    string // what is counted together
	Window Window // when; a counter of another window is another counter
	Limit  uint64
	Cost   uint64 // 0 looks and does not count
	Shadow bool   // counts, and never stands in the way of the request
}

// Total is what a store found.
type Total struct {
	Before uint64 // counted in the window before this request
}

// Fits says whether the hit has room beside what was counted before. One that costs nothing fits as long as something
// is left: it asks whether the limit is used up.
func (h Hit) Fits(before uint64) bool {
	return before <= h.Limit && max(h.Cost, 1) <= h.Limit-before
}

// After returns what is counted once the hit was added; it stops at the largest number.
func (h Hit) After(before uint64) uint64 {
	if before > math.MaxUint64-h.Cost {
		return math.MaxUint64
	}
	return before + h.Cost
}

// Refuses says whether the hit, having met that total, stands in the way of its request.
func (h Hit) Refuses(t Total) bool { return !h.Shadow && !h.Fits(t.Before) }

// Refused says whether a request with these hits is refused: one that refuses is enough. A refused request counts
// nowhere, neither on the limit that refused it nor on the others, so that it eats nobody's budget.
func Refused(hits []Hit, totals []Total) bool {
	for i, h := range hits {
		if h.Refuses(totals[i]) {
			return true
		}
	}
	return false
}

// Verdict is what one limit has to say about a request. The zero value has nothing left.
type Verdict struct {
	Over      bool   // the hit did not fit
	Remaining uint64 // left in the window, this request counted if it passed
	Reset     int64  // seconds until the window ends, at least 1
}

// Judge returns the verdict of a hit's limit. refused is the fate of the request as a whole.
func Judge(h Hit, t Total, refused bool, now time.Time) Verdict {
	v := Verdict{Over: !h.Fits(t.Before), Reset: h.Window.Reset(now)}
	used := t.Before
	if !refused {
		used = h.After(used)
	}
	if used < h.Limit {
		v.Remaining = h.Limit - used
	}
	return v
}

// Nearest returns the index of the hit whose limit the caller should be told about, or -1 if there is none; shadow
// limits are never told. For a refused request it is, of the limits that refuse, the one that does so longest, because a
// caller has to wait for all of them. Else it is the one that is nearest to being used up; of equals the one that stays so longest.
func Nearest(hits []Hit, verdicts []Verdict, refused bool) int {
	best := -1
	for i, v := range verdicts {
		if hits[i].Shadow || refused && !v.Over {
			continue
		}
		if best < 0 || nearer(v, verdicts[best], refused) {
			best = i
		}
	}
	return best
}

func nearer(a, b Verdict, refused bool) bool {
	if !refused && a.Remaining != b.Remaining {
		return a.Remaining < b.Remaining
	}
	return a.Reset > b.Reset
}
