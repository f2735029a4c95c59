package accesslog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
)

// pipe is an output that takes nothing until it is opened, and all afterwards, or that is broken.
type pipe struct {
	open   chan struct{}
	broken error

	mu   sync.Mutex
	text bytes.Buffer
}

func (p *pipe) Write(text []byte) (int, error) {
	<-p.open
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return 0, p.broken
	}
	return p.text.Write(text)
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func opened() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// running returns a server that writes to p, its metrics, what it logs, and how to end it.
func running(t *testing.T, p *pipe) (s *Server, metrics *prometheus.Registry, log *pipe, end func()) {
	t.Helper()
	log, metrics = &pipe{open: opened()}, prometheus.NewRegistry()
	s = New(Options{Output: p, Log: slog.New(slog.NewTextHandler(log, nil)), Registerer: metrics})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = s.Run(ctx); close(done) }()
	return s, metrics, log, func() { cancel(); <-done }
}

// counted is the sum of a counter's series.
func counted(t *testing.T, metrics *prometheus.Registry, name string) (sum int) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += int(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}

const droppedTotal = "postern_access_log_dropped_total"

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestLinesAreWritten(t *testing.T) {
	t.Parallel()
	p := &pipe{open: opened()}
	s, _, _, end := running(t, p)
	tally := newTally(s)
	message := messageOf(t, full(), full(), full())
	for range 100 {
		if err := tally.read(message); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if got := strings.Count(p.String(), "\n"); got != 300 {
		t.Errorf("%d lines of 300 are there at the end", got)
	}
}

// TestAnOutputThatTakesNothing blocks nobody, holds a bounded number of lines, and the end comes all the same; what did
// not fit is counted and told once.
func TestAnOutputThatTakesNothing(t *testing.T) {
	t.Parallel()
	p := &pipe{open: make(chan struct{})}
	s, metrics, log, end := running(t, p)
	tally := newTally(s)
	message := messageOf(t, slices.Repeat([]*datav3.HTTPAccessLogEntry{full()}, 100)...)
	const messages = 400
	for range messages {
		if err := tally.read(message); err != nil {
			t.Fatal(err)
		}
	}
	dropped := counted(t, metrics, droppedTotal)
	if dropped == 0 || dropped >= 100*messages {
		t.Errorf("%d of %d lines were dropped", dropped, 100*messages)
	}
	if got := counted(t, metrics, "postern_requests_total"); got != 100*messages {
		t.Errorf("%d of %d requests were counted", got, 100*messages)
	}
	if held := cap(s.output.pending); held > 2*maxPending {
		t.Errorf("%d bytes are held", held)
	}
	eventually(t, "the log to tell", func() bool { return strings.Contains(log.String(), "dropped") })
	end()
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("it was told %d times:\n%s", got, log)
	}
	close(p.open)
	eventually(t, "what was held", func() bool { return strings.Count(p.String(), "\n") == 100*messages-dropped })
}

func TestABrokenOutput(t *testing.T) {
	t.Parallel()
	p := &pipe{open: opened(), broken: errors.New("nobody reads")}
	s, metrics, log, end := running(t, p)
	defer end()
	tally := newTally(s)
	if err := tally.read(messageOf(t, full(), full())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lines to be counted", func() bool { return counted(t, metrics, droppedTotal) == 2 })
	eventually(t, "the log to tell", func() bool { return strings.Contains(log.String(), "nobody reads") })
	p.mu.Lock()
	p.broken = nil
	p.mu.Unlock()
	if err := tally.read(messageOf(t, full())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next line", func() bool { return strings.Count(p.String(), "\n") == 1 })
}
