package accesslog

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How much waits for an output that is slow, and how long the end of the process waits for it.
const (
	maxPending  = 4 << 20 // some ten thousand lines
	keptPending = 1 << 20 // what a buffer may hold on to once it is written
	lastPatient = time.Second
	complaints  = time.Minute // at most one in so long
)

// output writes lines from a goroutine of its own, so that whoever has them never waits: what finds too many waiting is
// dropped and counted.
type output struct {
	to      io.Writer
	log     *slog.Logger
	dropped prometheus.Counter

	unsaid atomic.Uint64 // dropped lines the log has not told of
	words  atomic.Pointer[error]
	more   chan struct{} // there are lines
	lost   chan struct{} // there are unsaid ones

	mu      sync.Mutex
	pending []byte
	lines   int // of pending
}

func newOutput(to io.Writer, log *slog.Logger, dropped prometheus.Counter) *output {
	return &output{to: to, log: log, dropped: dropped, more: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
}

// add takes so many lines, which the caller may overwrite afterwards.
func (o *output) add(text []byte, lines int) {
	o.mu.Lock()
	full := len(o.pending)+len(text) > maxPending
	if !full {
		o.pending = append(o.pending, text...)
		o.lines += lines
	}
	o.mu.Unlock()
	if full {
		o.drop(lines)
		return
	}
	signal(o.more)
}

func (o *output) drop(lines int) {
	o.dropped.Add(float64(lines))
	o.unsaid.Add(uint64(lines))
	signal(o.lost)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write writes until ctx is done, and then what is left once settle returns.
func (o *output) write(ctx context.Context, settle func()) {
	var spare []byte
	for {
		select {
		case <-o.more:
			spare = o.flush(spare)
		case <-ctx.Done():
			settle()
			o.flush(spare)
			return
		}
	}
}

// flush writes what is pending in one go. It takes a buffer for what comes meanwhile, and returns one for the next time.
func (o *output) flush(spare []byte) []byte {
	o.mu.Lock()
	text, lines := o.pending, o.lines
	o.pending, o.lines = spare[:0], 0
	o.mu.Unlock()
	if len(text) == 0 {
		return text
	}
	if _, err := o.to.Write(text); err != nil {
		o.words.Store(&err)
		o.drop(lines)
	}
	if cap(text) > keptPending {
		return nil
	}
	return text
}

// run writes until ctx is done, and tells of what had to be dropped.
func (o *output) run(ctx context.Context, settle func()) {
	done := make(chan struct{})
	go func() { // why a goroutine: nothing ends a Write that nobody reads
		o.write(ctx, settle)
		close(done)
	}()
	lost, quiet := o.lost, (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			select {
			case <-done:
			case <-time.After(2 * lastPatient):
			}
			return
		case <-lost:
			o.complain()
			lost, quiet = nil, time.After(complaints)
		case <-quiet:
			lost, quiet = o.lost, nil
		}
	}
}

func (o *output) complain() {
	words := "the output does not take them fast enough"
	if err := o.words.Swap(nil); err != nil {
		words = (*err).Error()
	}
	o.log.Warn("lines of the access log were dropped", "lines", o.unsaid.Swap(0), "err", words)
}
