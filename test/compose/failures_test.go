//go:build compose

package compose

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	before = time.Second     // of load, before something is broken
	away   = 3 * time.Second // how long what was killed or paused stays away
	calm   = time.Second     // without a failure: it is over
)

// A part is a container, and what may fail while it is away (design §6). Nothing else may.
type part struct {
	service string
	fails   []string      // kinds of request
	answers []string      // how the answers that are allowed begin; none: whatever a missing gateway does
	back    time.Duration // after it is there again, how soon everything is well
}

var parts = []part{
	{service: "adapter", back: 5 * time.Second},
	{service: "ratelimiter", back: 5 * time.Second},
	{service: "redis", back: 5 * time.Second},
	{service: "enforcer", fails: []string{"token"}, answers: []string{"503 102500", "503 900900"}, back: 5 * time.Second},
	{service: "backend", fails: kinds, answers: []string{"503", "504"}, back: 10 * time.Second},
	{service: "envoy", fails: kinds, back: 2 * time.Second},
}

// blows are the ways to break a container; each returns when it is there again.
var blows = []struct {
	name   string
	strike func(s *stack, container string)
}{
	{"killed", func(s *stack, container string) {
		s.docker("kill", container)
		time.Sleep(away)
		s.docker("start", container)
	}},
	{"paused", func(s *stack, container string) {
		s.docker("pause", container)
		time.Sleep(away)
		s.docker("unpause", container)
	}},
	{"restarted", func(s *stack, container string) { s.docker("restart", container) }},
}

// failures breaks each part in each way under load, and counts.
func (s *stack) failures() {
	t := s.t
	var report strings.Builder
	for _, p := range parts {
		container := s.container(p.service)
		for _, blow := range blows {
			t.Run(p.service+" "+blow.name, func(t *testing.T) {
				s := s.in(t)
				l := s.start()
				time.Sleep(before)
				blow.strike(s, container)
				begun := time.Now()
				// why not at once: a failure may show only when the connections that were open are used
				well := eventually(t, "all is well again", 30*time.Second, func() bool { return time.Since(begun) > calm && l.healthy(calm) })
				shots := l.stop()
				p.judge(t, shots, well-calm)
				fmt.Fprintf(&report, "%-12s %-10s well again %5s after it was there\n", p.service, blow.name, (well - calm).Round(100*time.Millisecond))
				counted := count(shots)
				for _, kind := range kinds {
					fmt.Fprintf(&report, "%-23s %-6s %s\n", "", kind, counted[kind])
				}
			})
		}
	}
	t.Logf("what failed, and what became of it:\n%s", report.String())
}

// judge compares what happened with what may.
func (p part) judge(t *testing.T, shots []shot, well time.Duration) {
	t.Helper()
	for kind, counted := range count(shots) {
		if counted.failed > 0 && !slices.Contains(p.fails, kind) {
			t.Errorf("%s: %s", kind, counted)
		}
		for answer := range counted.answers {
			if len(p.answers) > 0 && !slices.ContainsFunc(p.answers, func(a string) bool { return strings.HasPrefix(answer, a) }) {
				t.Errorf("%s: answered %s, want one of %q", kind, answer, p.answers)
			}
		}
	}
	if well > p.back {
		t.Errorf("well again after %s, want %s", well, p.back)
	}
}

// restartsWithoutAdapter: while no adapter answers, everything else is restarted, and serves from disk.
func (s *stack) restartsWithoutAdapter() {
	t := s.t
	client := s.client(nil)
	defer client.CloseIdleConnections()
	serves := func() bool {
		for _, kind := range []string{"open", "token", "limit"} {
			if a, err := call(client, http.MethodGet, plain+"/load/"+kind, s.token); err != nil || a.status != http.StatusOK {
				return false
			}
		}
		return true
	}
	s.compose("stop", "--timeout", "5", "adapter")
	for _, service := range []string{"enforcer", "ratelimiter", "envoy"} {
		s.docker("stop", s.container(service))
		s.docker("start", s.container(service))
		took := eventually(t, service+" serves from disk", 30*time.Second, serves)
		t.Logf("%s, restarted without an adapter: serving %s after its start", service, took.Round(10*time.Millisecond))
		if took > 2*time.Second {
			t.Errorf("%s: serving again after %s, want 2 s", service, took)
		}
	}
	l := s.start()
	s.compose("start", "adapter")
	s.compose("up", "--no-build", "--no-recreate", "--detach", "--wait", "adapter")
	time.Sleep(before)
	for kind, counted := range count(l.stop()) {
		if counted.failed > 0 {
			t.Errorf("the adapter is back: %s: %s", kind, counted)
		}
	}
}
