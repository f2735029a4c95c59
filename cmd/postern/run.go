package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/observe"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/toolkit/devissuer"
)

// runFlags are the keys of the configuration that `postern run` has flags for.
var runFlags = map[string]string{
	"dataDir":           dataDirUsage,
	"label":             "which projects to serve",
	"listen.http":       "where to serve, an IP address and a port",
	"management.listen": "where to serve /metrics, /healthz and /readyz",
	"envoy.path":        "the Envoy to run",
	"log.level":         "debug, info, warn or error",
	"log.format":        "text or json",
}

const dataDirUsage = "the folder of keys and sockets"

func newRun() *cobra.Command {
	r := &runner{}
	c := &cobra.Command{
		Use:   "run [DIR|ZIP]…",
		Short: "Serve projects: all services and Envoy in one process",
		Long: `Serves the projects named, or the one in the working directory, and watches them: an edit is live at once, and a
broken edit is reported while the last good version stays.

With --dev the gateway listens on this machine alone and trusts tokens that ` + "`postern token`" + ` signs.
The first interrupt lets requests in flight finish; a second one ends at once.
A line of JSON for each request goes to standard output, everything else to standard error.`,
		Example: `  postern run shop --dev
  postern run shop.zip billing --env prod --config /etc/postern/postern.yaml
  POSTERN_LISTEN_HTTP=127.0.0.1:8080 postern run examples/petstore --dev`,
		RunE: func(c *cobra.Command, paths []string) error { return r.run(c, paths) },
	}
	c.Flags().BoolVar(&r.settings.dev, "dev", false, "listen on this machine only, and trust the tokens that postern token signs")
	c.Flags().BoolVar(&r.settings.insecure, "insecure", false, "let listeners other than the data plane's be reached from elsewhere without TLS")
	c.Flags().BoolVar(&r.pprof, "pprof", false, "serve /debug/pprof/ on the management listener")
	r.environment = environmentFlag(c)
	r.settings.flags(c)
	config.Flags(c.Flags(), runFlags)
	return c
}

// runner is one call of `postern run`.
type runner struct {
	settings    settings
	environment *string
	pprof       bool

	command  *cobra.Command
	cfg      *config.Config
	warnings []string
	paths    []string
}

func (r *runner) run(c *cobra.Command, paths []string) error {
	ctx, hurry, release := untilInterrupted(c.Context())
	defer release()
	r.command = c
	var err error
	if r.cfg, r.warnings, err = r.settings.load(c); err != nil {
		return err
	}
	if r.paths, err = projectPaths(paths); err != nil {
		return err
	}
	g, stop, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer g.close(stop)
	return r.serve(ctx, g, hurry)
}

// projectPaths are those named, or the working directory if it is a project.
func projectPaths(paths []string) ([]string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("there is no project: %w", err)
		}
	}
	if len(paths) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(paths))), nil
	}
	for _, sign := range []string{"api_definitions", "project.yaml"} {
		if _, err := os.Stat(sign); err == nil {
			return []string{"."}, nil
		}
	}
	return nil, usage(errors.New("no project is named, and the working directory is none; `postern init` makes one"))
}

// prepare takes what the gateway needs: the data folder, an Envoy, its listeners.
func (r *runner) prepare(ctx context.Context) (*gateway, context.CancelFunc, error) {
	log := newLog(r.command.ErrOrStderr(), r.cfg.Log)
	binary, err := envoy.Find(ctx, r.cfg.Envoy.Path)
	if err != nil {
		return nil, nil, err
	}
	if !binary.Tested() {
		r.warnings = append(r.warnings, fmt.Sprintf("%s is Envoy %s; this build is tested with %s", binary.Path, or(binary.Version, "of an unknown version"), envoy.Version))
	}
	for _, w := range r.warnings {
		log.Warn(w)
	}
	folder, err := socket.Claim(r.cfg.DataDir, fmt.Sprintf("postern (pid %d, %s)", os.Getpid(), r.cfg.Listen.HTTP))
	if err != nil {
		return nil, nil, err
	}
	// why: Envoy shares a taken port instead of failing, and half of the requests would be somebody else's
	if err := socket.Free(r.cfg.Listen.HTTP); err != nil {
		folder.Release()
		return nil, nil, fmt.Errorf("listen.http: %w; choose another with --listen-http", err)
	}
	services, stop := context.WithCancel(context.WithoutCancel(ctx))
	g := &gateway{
		cfg: r.cfg, log: log, binary: binary, folder: folder, registry: observe.NewRegistry(), readiness: &readiness{}, node: nodeName(r.cfg),
		out: r.command.OutOrStdout(),
	}
	g.services, g.ctx = errgroup.WithContext(services)
	if err := r.start(g); err != nil {
		g.close(stop)
		return nil, nil, err
	}
	return g, stop, nil
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// start starts everything but Envoy.
func (r *runner) start(g *gateway) error {
	address, err := g.serveManagement(r.pprof)
	if err != nil {
		return fmt.Errorf("%w; choose another with --management-listen", err)
	}
	g.management = address
	// why: first, so that whoever connects before the adapter is ready waits for it instead of trying again later
	l, err := socket.Listen(g.place(g.cfg.XDS.Listen))
	if err != nil {
		return fmt.Errorf("xds.listen: %w", err)
	}
	if err := g.startServices(); err != nil {
		l.Close()
		return err
	}
	if err := r.startAdapter(g, l); err != nil {
		l.Close()
		return err
	}
	return nil
}

func (r *runner) startAdapter(g *gateway, l net.Listener) error {
	issuers, err := g.cfg.Issuers()
	if err != nil {
		return err
	}
	if r.settings.dev {
		dev, err := devissuer.Open(g.folder.Path)
		if err != nil {
			return err
		}
		resource, err := dev.Resource()
		if err != nil {
			return err
		}
		issuers = append(issuers, resource)
	}
	if len(issuers) == 0 {
		text := "no issuer of tokens is configured: whatever asks for a token answers 401; configure issuers, or try with --dev"
		r.warnings = append(r.warnings, text)
		g.log.Warn(text)
	}
	a, err := adapter.New(adapter.Options{
		Settings: g.settings(), AutoRouting: g.cfg.Routing.Mode == "auto", Listen: l, Folders: r.paths, Label: g.cfg.Label,
		Environment: *r.environment, Lookup: os.LookupEnv, OwnAddresses: g.cfg.OwnAddresses(), AllowBackends: g.cfg.Backends.Allow, Issuers: issuers,
		Log: g.log, Registerer: g.registry,
	})
	if err != nil {
		return err
	}
	g.adapter = a
	g.readiness.until(a.Serving, "envoy has not acknowledged everything")
	g.services.Go(func() error { return a.Run(g.ctx) })
	return nil
}

// serve runs Envoy until it is told to stop, or something it cannot do without has failed.
func (r *runner) serve(ctx context.Context, g *gateway, hurry <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ctx.Done():
		case <-g.ctx.Done():
			cancel(fmt.Errorf("a service has failed: %w", context.Cause(g.ctx)))
		}
		g.readiness.end()
	}()
	go func() {
		if err := r.announce(ctx, g); err != nil {
			cancel(err)
		}
	}()
	if err := g.runEnvoy(ctx, hurry); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
