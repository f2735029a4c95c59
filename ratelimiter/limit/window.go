package limit

import "time"

// Window is a span of time in whole seconds since the Unix epoch: Start is in it, End no more.
type Window struct {
	Start, End int64
}

// WindowAt returns the fixed window of so many seconds that holds now. Windows are aligned to the Unix epoch in UTC, so
// that every process, and a process started anew, means the same one.
func WindowAt(now time.Time, seconds int64) Window {
	into := now.Unix() % seconds
	if into < 0 { // before 1970: windows do not turn around at the epoch
		into += seconds
	}
	start := now.Unix() - into
	return Window{Start: start, End: start + seconds}
}

// Seconds is the window's length.
func (w Window) Seconds() int64 { return w.End - w.Start }

// Reset returns the whole seconds from now to the window's end, rounded up, and never less than one: a caller who
// waits so long meets the next window.
func (w Window) Reset(now time.Time) int64 {
	return max(w.End-now.Unix(), 1)
}
