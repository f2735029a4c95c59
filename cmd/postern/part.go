package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
)

// part is a command that runs one service of a gateway by itself. It is wired of the same pieces as `postern run`.
type part struct {
	name config.Part
	// keys of the configuration that the command has flags for, beside those that all have.
	keys map[string]string
	// admin is the key of the listener for health and metrics, and its value.
	admin func(*config.Config) (key, address string)
	// start starts everything, and says in pairs what the log should tell of it.
	start func(*call) (about []any, err error)
	// serve is what the process lives for; nil: the services alone. It ends after ctx.
	serve func(context.Context, *call) error

	settings settings
	pprof    bool
}

// call is one call of such a command.
type call struct {
	*process
	command  *cobra.Command
	args     []string
	hurry    <-chan struct{} // closed when the end should not wait any longer
	watching func() error    // asked while the process gets ready; an error ends it
}

// partFlags are keys that every part has flags for.
var partFlags = map[string]string{
	"dataDir":   "the folder of sockets, and of what to go on from after a restart",
	"label":     "which projects to serve",
	"log.level": "debug, info, warn or error", "log.format": "text or json",
}

// command completes c, which has the words for people.
func (p *part) command(c *cobra.Command) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error { return p.run(c, args) }
	p.settings.part = p.name
	c.Flags().BoolVar(&p.settings.insecure, "insecure", false, "let listeners other than the data plane's be reached from elsewhere without TLS")
	c.Flags().BoolVar(&p.pprof, "pprof", false, "serve /debug/pprof/ beside /metrics")
	p.settings.flags(c)
	keys := map[string]string{}
	for _, some := range []map[string]string{partFlags, p.keys} {
		for key, usage := range some {
			keys[key] = usage
		}
	}
	config.Flags(c.Flags(), keys)
	return c
}

func (p *part) run(c *cobra.Command, args []string) error {
	ctx, hurry, release := untilInterrupted(c.Context())
	defer release()
	cfg, warnings, err := p.settings.load(c)
	if err != nil {
		return err
	}
	log := newLog(c.ErrOrStderr(), cfg.Log)
	for _, w := range warnings {
		log.Warn(w)
	}
	host, err := newProcess(ctx, cfg, log, p.name)
	if err != nil {
		return err
	}
	defer host.close()
	k := &call{process: host, command: c, args: args, hurry: hurry}
	key, address := p.admin(cfg)
	if err := host.serveManagement(key, address, p.pprof); err != nil {
		return err
	}
	about, err := p.start(k)
	if err != nil {
		return err
	}
	host.readiness.start()
	about = append([]any{"version", versionName()}, append(about, "admin", host.management, "tls", host.identity())...)
	log.Info("postern "+string(p.name)+" has started", about...)
	return p.live(ctx, k)
}

// live stays until the process is told to end, or something it cannot do without has failed.
func (p *part) live(ctx context.Context, k *call) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	attended := make(chan struct{})
	go func() { defer close(attended); k.attend(ctx, cancel) }()
	go func() {
		if err := awaitReady(ctx, k.process, k.watching); err != nil {
			cancel(err)
		} else if ctx.Err() == nil {
			k.log.Info("ready")
		}
	}()
	if p.serve != nil {
		if err := p.serve(ctx, k); err != nil {
			return err
		}
	}
	<-ctx.Done()
	<-attended
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// awaitReady returns when the process is ready, or when ctx is done, and says meanwhile what it is waiting for. watching
// is asked now and then.
func awaitReady(ctx context.Context, p *process, watching func() error) error {
	const patience, every = 10 * time.Second, 10 * time.Millisecond
	next := time.Now().Add(patience)
	for {
		reasons := p.readiness.reasons()
		if watching != nil {
			if err := watching(); err != nil {
				return err
			}
		}
		if len(reasons) == 0 {
			return nil
		}
		if time.Now().After(next) {
			p.log.Warn("not ready yet", "reasons", strings.Join(reasons, "; "))
			next = next.Add(patience)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}
