package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindowAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		now     time.Time
		seconds int64
		start   time.Time
	}{
		{"a minute", time.Date(2026, 3, 29, 1, 59, 59, 999, time.UTC), 60, time.Date(2026, 3, 29, 1, 59, 0, 0, time.UTC)},
		{"its first instant", time.Date(2026, 3, 29, 2, 0, 0, 0, time.UTC), 60, time.Date(2026, 3, 29, 2, 0, 0, 0, time.UTC)},
		{"a day is UTC's, wherever we are", time.Date(2026, 3, 29, 0, 30, 0, 0, time.FixedZone("", 2*3600)), 86400, time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)},
		{"before the epoch", time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), 3600, time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC)},
		{"the epoch", time.Unix(0, 0), 7, time.Unix(0, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := Window{Start: c.start.Unix(), End: c.start.Unix() + c.seconds}
			if got := WindowAt(c.now, c.seconds); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// Windows hold their instant, follow one another without gap or overlap, and start at multiples of their length.
func TestWindowProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(-1e10, 1e11).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		seconds := rapid.Int64Range(1, maxWindow).Draw(t, "seconds")
		w := WindowAt(now, seconds)
		if now.Unix() < w.Start || now.Unix() >= w.End || w.Seconds() != seconds || w.Start%seconds != 0 {
			t.Fatalf("%v is in the window %+v of %d seconds", now.Unix(), w, seconds)
		}
		if next := WindowAt(time.Unix(w.End, 0), seconds); next.Start != w.End {
			t.Fatalf("after %+v comes %+v", w, next)
		}
		if last := WindowAt(time.Unix(w.End-1, 999_999_999), seconds); last != w {
			t.Fatalf("the last instant of %+v is in %+v", w, last)
		}
		reset := w.Reset(now)
		if reset < 1 || reset > seconds {
			t.Fatalf("reset in %d of %d seconds", reset, seconds)
		}
		if waited := now.Add(time.Duration(reset) * time.Second); WindowAt(waited, seconds) == w {
			t.Fatalf("who waits %d seconds is still in %+v", reset, w)
		}
	})
}
