package envoy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// supervisor keeps one Envoy running. It is one goroutine's.
type supervisor struct {
	Options
	file   string // the bootstrap
	admin  *admin
	served bool // an Envoy of this supervisor has once been live
}

// run starts children until ctx is done.
func (s *supervisor) run(ctx context.Context) error {
	pause, ends := time.Duration(0), 0
	for {
		c, err := s.start()
		if err != nil {
			return fmt.Errorf("envoy: %w", err)
		}
		lived := s.attend(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		ends++
		if lived >= soon {
			pause, ends = 0, 0
		}
		if !s.served && ends >= hopeless {
			return fmt.Errorf("envoy ended %d times without ever serving: %w", ends, c.why())
		}
		s.Log.Error("envoy ended, starting it again", "after", pause, "err", c.why())
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(max(2*pause, firstPause), lastPause)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// attend stays with a child until it has ended, and returns how long it served.
func (s *supervisor) attend(ctx context.Context, c *child) time.Duration {
	var since time.Time
	live, missed, silent := make(chan struct{}), make(chan int), false
	asking, stop := context.WithCancel(ctx)
	defer stop()
	go s.awaitLive(asking, live)
	for {
		select {
		case <-live:
			live, since, s.served = nil, time.Now(), true
			s.Log.Info("envoy is live", "pid", c.cmd.Process.Pid)
			s.Live(true)
			go s.pulse(asking, missed)
		case n := <-missed:
			silent = s.judge(c, n, silent)
		case <-ctx.Done():
			s.stop(c)
			s.Live(false)
			return 0
		case <-c.ended:
			if since.IsZero() {
				return 0
			}
			s.Live(false)
			return time.Since(since)
		}
	}
}

// awaitLive closes live when the admin interface says so.
func (s *supervisor) awaitLive(ctx context.Context, live chan<- struct{}) {
	warn := time.Now().Add(livePatient)
	for !s.admin.live(ctx) {
		if !sleep(ctx, askEvery) {
			return
		}
		if time.Now().After(warn) {
			s.Log.Warn("envoy is still waiting for its first configuration", "since", livePatient)
			warn = warn.Add(livePatient)
		}
	}
	close(live)
}

// stop drains and ends a child: SIGTERM alone would cut requests in flight.
func (s *supervisor) stop(c *child) {
	if s.served && s.Drain > 0 {
		s.Log.Info("draining envoy", "for", s.Drain)
		s.drain(c)
	}
	c.log.hush()
	c.end(syscall.SIGTERM)
	select {
	case <-c.ended:
		return
	case <-s.Hurry:
	case <-time.After(killAfter):
		s.Log.Warn("envoy did not end in time and is killed", "after", killAfter)
	}
	c.kill()
	<-c.ended
}

// quiet is how long nothing must have been asked before a drain ends early: long enough for a caller that had just connected.
const quiet = 500 * time.Millisecond

// drain fails health checks and asks clients to close, until the time is up or nobody asks for anything any more.
func (s *supervisor) drain(c *child) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	if err := s.admin.drain(ctx); err != nil {
		s.Log.Warn("envoy cannot be drained", "err", err)
		return
	}
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Hurry:
			return
		case <-c.ended:
			return
		case <-time.After(5 * askEvery):
		}
		active, total, err := s.admin.requests(ctx)
		if err != nil || active > 0 || total != last {
			last, since = total, time.Now()
		}
		if time.Since(since) > quiet {
			return
		}
	}
}

// child is one Envoy process.
type child struct {
	cmd   *exec.Cmd
	log   *logRelay
	ended chan struct{} // closed after err is set
	err   error
}

// start starts a child that cannot outlive this process.
func (s *supervisor) start() (*child, error) {
	s.Bootstrap.removeAdminSocket() // why: one left by an Envoy that was killed would answer nobody
	c := &child{cmd: exec.Command(s.Binary, s.arguments()...), log: &logRelay{log: s.Log}, ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.Dir, c.cmd.Env = s.Sockets, environment(os.Environ())
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		// why: on Linux the child is killed when the thread that forked it ends; this one ends with the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		release := guard(c.cmd.Process.Pid)
		c.err = c.cmd.Wait()
		release()
		c.log.flush()
		close(c.ended)
	}()
	return c, <-started
}

// handed are the variables that Envoy and the libraries in it look at, or how these begin.
var handed = []string{"PATH=", "HOME=", "TZ=", "TMPDIR=", "LANG=", "LC_", "LD_LIBRARY_PATH=", "SSL_CERT_", "RES_OPTIONS=", "LOCALDOMAIN=", "GLIBC_TUNABLES=", "MALLOC_", "TCMALLOC_"}

// environment is what Envoy is given of ours: there are secrets in it, which Envoy has no use for.
func environment(ours []string) []string {
	theirs := []string{} // why not nil: that is all of ours
	for _, variable := range ours {
		if slices.ContainsFunc(handed, func(start string) bool { return strings.HasPrefix(variable, start) }) {
			theirs = append(theirs, variable)
		}
	}
	return theirs
}

func (c *child) end(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

func (c *child) kill() { c.end(syscall.SIGKILL) }

// why is how the child ended, and its last words.
func (c *child) why() error {
	how := "it stopped by itself"
	var exit *exec.ExitError
	switch {
	case errors.As(c.err, &exit):
		how = exit.String()
	case c.err != nil:
		how = c.err.Error()
	}
	if words := c.log.lastWords(); words != "" {
		return fmt.Errorf("%s: %s", how, words)
	}
	return errors.New(how)
}
