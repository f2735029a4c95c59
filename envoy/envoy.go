// Package envoy is the process beside each Envoy: it finds the binary, renders the bootstrap, starts and supervises
// the child, serves it the relay (package relay), relays its log, drains it and stops it. It must not import adapter, enforcer or ratelimiter: what Envoy
// serves comes to it over xDS.
package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/socket"
)

// Options of a supervised Envoy.
type Options struct {
	Binary      string    // the executable; see Find
	Bootstrap   Bootstrap // what it starts with
	Dir         string    // its bootstrap file is written here
	Sockets     string    // its working directory: sockets that an adapter elsewhere names without a folder are there; "" is ours
	Concurrency int       // worker threads; 0 is one for each core
	// Relay, if there is one, is served on Bootstrap.XDS for as long as Envoy runs.
	Relay *relay.Relay
	// Drain is how long requests in flight, and load balancers that have not noticed yet, are waited for at the end.
	Drain time.Duration
	// Hurry, once closed, ends a drain at once. nil never does.
	Hurry <-chan struct{}
	// Live is told when an Envoy has begun to serve (true), and when that one has ended or does not answer (false).
	Live func(bool)
	// Pulse is how often a live Envoy is asked whether it still answers, and how long it is given to; 0 is a second.
	Pulse time.Duration
	// Hung is how many times in a row an Envoy may not answer before it is killed and started again; 0 is 10.
	Hung int
	Log  *slog.Logger
}

// How often and how soon a child that ended is started again.
const (
	hopeless    = 3                      // ends in a row without ever having served: it never will
	firstPause  = 100 * time.Millisecond // doubles with each end soon after a start
	lastPause   = 5 * time.Second
	soon        = 5 * time.Second // an Envoy that served this long did not end because of its start
	killAfter   = 5 * time.Second // from SIGTERM
	askEvery    = 10 * time.Millisecond
	livePatient = 30 * time.Second
)

// Run starts Envoy and keeps it running until ctx is done; then it drains and stops it. It returns an error only if
// Envoy cannot be started, or ends again and again without ever having served.
func Run(ctx context.Context, o Options) error {
	if o.Live == nil {
		o.Live = func(bool) {}
	}
	if o.Pulse == 0 {
		o.Pulse = defaultPulse
	}
	if o.Hung == 0 {
		o.Hung = defaultHung
	}
	if o.Sockets != "" && strings.ContainsRune(o.Binary, filepath.Separator) {
		var err error
		if o.Binary, err = filepath.Abs(o.Binary); err != nil { // why: else it would be looked for in the working directory
			return fmt.Errorf("envoy: %w", err)
		}
	}
	if o.Relay != nil {
		stop, err := o.serveRelay()
		if err != nil {
			return err
		}
		defer stop()
	}
	config, err := o.Bootstrap.Render()
	if err != nil {
		return fmt.Errorf("envoy: bootstrap: %w", err)
	}
	file := filepath.Join(o.Dir, "envoy-bootstrap.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return fmt.Errorf("envoy: bootstrap: %w", err)
	}
	defer os.Remove(file)
	defer o.Bootstrap.removeAdminSocket()
	s := &supervisor{Options: o, file: file, admin: newAdmin(o.Bootstrap.Admin)}
	return s.run(ctx)
}

// serveRelay has the relay answer until stop.
func (o Options) serveRelay() (stop func(), err error) {
	l, err := socket.Listen(o.Bootstrap.XDS)
	if err != nil {
		return nil, fmt.Errorf("envoy: relay: %w", err)
	}
	server := grpc.NewServer(o.Relay.ServerOptions()...)
	o.Relay.Register(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); err != nil {
			o.Log.Error("relay failed", "err", err)
		}
	}()
	return func() { server.Stop(); <-done }, nil
}

// arguments of the command line.
func (s *supervisor) arguments() []string {
	level := "warning"
	if s.Log.Enabled(context.Background(), slog.LevelDebug) {
		level = "info"
	}
	args := []string{
		"-c", s.file,
		"--disable-hot-restart", // why: no second Envoy takes over from this one, and its shared memory would outlive it
		"--log-level", level,
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(max(1, int((s.Drain+time.Second-1)/time.Second))),
	}
	if s.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(s.Concurrency))
	}
	return args
}
