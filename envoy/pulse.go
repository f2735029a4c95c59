package envoy

import (
	"context"
	"time"
)

// A live Envoy is asked once a second whether it still is: a process that hangs does not end by itself.
const (
	defaultPulse = time.Second
	notAnswering = 2  // answers missed in a row: it is not live
	defaultHung  = 10 // it never will be again
)

// pulse tells, once a period, how many answers in a row an Envoy has missed.
func (s *supervisor) pulse(ctx context.Context, missed chan<- int) {
	ticks := time.NewTicker(s.Pulse)
	defer ticks.Stop()
	for n := 0; ; {
		select {
		case <-ticks.C: // why not a pause: an answer that was waited for in vain has taken a period already
		case <-ctx.Done():
			return
		}
		asked := time.Now()
		asking, cancel := context.WithTimeout(ctx, s.Pulse)
		answered := s.admin.answers(asking)
		cancel()
		switch {
		case answered:
			n = 0
		case time.Since(asked) > 2*s.Pulse:
			continue // why: this process was stopped itself, or had no time; that says nothing about Envoy
		default:
			n++
		}
		select {
		case missed <- n:
		case <-ctx.Done():
			return
		}
	}
}

// judge acts on the number of answers missed in a row; silent is whether Envoy was not live before.
func (s *supervisor) judge(c *child, missed int, silent bool) (stillSilent bool) {
	switch {
	case missed == 0 && silent:
		s.Log.Info("envoy answers again", "pid", c.cmd.Process.Pid)
		s.Live(true)
		return false
	case missed >= notAnswering && !silent:
		s.Log.Warn("envoy does not answer", "pid", c.cmd.Process.Pid)
		s.Live(false)
		silent = true
	}
	if missed == s.Hung {
		s.Log.Error("envoy hangs and is killed, to be started again", "pid", c.cmd.Process.Pid, "answers_missed", missed)
		c.kill()
	}
	return silent
}
