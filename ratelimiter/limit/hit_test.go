package limit

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, before, cost uint64
		want                bool
	}{
		{5, 0, 1, true},
		{5, 4, 1, true},
		{5, 5, 1, false},
		{5, 9, 1, false}, // the limit was lowered in the middle of a window
		{5, 0, 5, true},
		{5, 0, 6, false},
		{5, 3, 3, false},
		{5, 4, 0, true}, // a look: something is left
		{5, 5, 0, false},
		{0, 0, 1, false},
		{0, 0, 0, false},
		{math.MaxUint64, math.MaxUint64 - 1, 1, true},
		{math.MaxUint64, math.MaxUint64 - 1, 2, false},
		{math.MaxUint64, 2, math.MaxUint64, false},
	} {
		if got := (Hit{Limit: c.limit, Cost: c.cost}).Fits(c.before); got != c.want {
			t.Errorf("cost %d after %d of %d: fits = %v", c.cost, c.before, c.limit, got)
		}
	}
}

func TestAfterStopsAtTheLargestNumber(t *testing.T) {
	t.Parallel()
	if got := (Hit{Cost: 10}).After(math.MaxUint64 - 3); got != math.MaxUint64 {
		t.Errorf("got %d", got)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Unix(100, 500)
	w := Window{Start: 60, End: 120}
	for _, c := range []struct {
		name    string
		hit     Hit
		before  uint64
		refused bool
		want    Verdict
	}{
		{"the first", Hit{Limit: 5, Cost: 1}, 0, false, Verdict{Remaining: 4, Reset: 20}},
		{"the last", Hit{Limit: 5, Cost: 1}, 4, false, Verdict{Remaining: 0, Reset: 20}},
		{"over", Hit{Limit: 5, Cost: 1}, 5, true, Verdict{Over: true, Remaining: 0, Reset: 20}},
		{"too dear: what is left stays", Hit{Limit: 5, Cost: 4}, 2, true, Verdict{Over: true, Remaining: 3, Reset: 20}},
		{"another limit refused: nothing is taken", Hit{Limit: 5, Cost: 1}, 2, true, Verdict{Remaining: 3, Reset: 20}},
		{"a shadow over its limit", Hit{Limit: 5, Cost: 1, Shadow: true}, 8, false, Verdict{Over: true, Reset: 20}},
		{"a look", Hit{Limit: 5}, 2, false, Verdict{Remaining: 3, Reset: 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.hit.Window = w
			if got := Judge(c.hit, Total{Before: c.before}, c.refused, now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	hard, shadow := Hit{}, Hit{Shadow: true}
	for _, c := range []struct {
		name     string
		hits     []Hit
		verdicts []Verdict
		refused  bool
		want     int
	}{
		{"none", nil, nil, false, -1},
		{"shadows are not told", []Hit{shadow}, []Verdict{{Over: true}}, false, -1},
		{"least left", []Hit{hard, hard, hard}, []Verdict{{Remaining: 5}, {Remaining: 2}, {Remaining: 9}}, false, 1},
		{"of equals the longer", []Hit{hard, hard}, []Verdict{{Remaining: 2, Reset: 1}, {Remaining: 2, Reset: 50}}, false, 1},
		{"the one that refuses, not the one with less left", []Hit{hard, hard}, []Verdict{{Remaining: 0}, {Over: true, Remaining: 3}}, true, 1},
		{"the one that refuses longest", []Hit{hard, hard}, []Verdict{{Over: true, Reset: 9}, {Over: true, Reset: 70}}, true, 1},
		{"a shadow does not refuse", []Hit{shadow, hard}, []Verdict{{Over: true, Reset: 90}, {Over: true, Reset: 7}}, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Nearest(c.hits, c.verdicts, c.refused); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// Whatever was counted: a request passes if and only if every limit that is no shadow has room, what is left never
// exceeds the limit, and a request that passes takes its cost from it.
func TestJudgeProperties(t *testing.T) {
	t.Parallel()
	number := rapid.OneOf(rapid.Uint64Range(0, 10), rapid.Uint64())
	rapid.Check(t, func(t *rapid.T) {
		h := Hit{Limit: number.Draw(t, "limit"), Cost: number.Draw(t, "cost"), Shadow: rapid.Bool().Draw(t, "shadow"), Window: Window{0, 60}}
		total := Total{Before: number.Draw(t, "before")}
		refused := Refused([]Hit{h}, []Total{total})
		v := Judge(h, total, refused, time.Unix(30, 0))
		if refused && (h.Shadow || !v.Over) {
			t.Fatalf("refused without a reason: %+v", v)
		}
		if v.Remaining > h.Limit {
			t.Fatalf("%d left of %d", v.Remaining, h.Limit)
		}
		if !refused && !v.Over && v.Remaining != h.Limit-total.Before-h.Cost {
			t.Fatalf("%d left of %d after %d and %d", v.Remaining, h.Limit, total.Before, h.Cost)
		}
	})
}
