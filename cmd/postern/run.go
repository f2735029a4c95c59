package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/socket"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/toolkit/devcertificate"
	"github.com/postern-gateway/postern/toolkit/devissuer"
)

// runFlags are the keys of the configuration that `postern run` has flags for.
var runFlags = map[string]string{
	"dataDir":           dataDirUsage,
	"label":             "which projects to serve",
	"listen.http":       "where to serve, an IP address and a port",
	"listen.https":      "where to serve with TLS, an IP address and a port",
	"management.listen": "where to serve /metrics, /healthz and /readyz",
	"envoy.path":        "the Envoy to run",
	"log.level":         "debug, info, warn or error",
	"log.format":        "text or json",
}

const dataDirUsage = "the folder of keys and sockets"

func newRun() *cobra.Command {
	r := &runner{settings: settings{part: config.Run}}
	c := &cobra.Command{
		Use:   "run [DIR|ZIP]…",
		Short: "Serve projects: all services and Envoy in one process",
		Long: `Serves the projects named, or the one in the working directory, and watches them: an edit is live at once, and a
broken edit is reported while the last good version stays. Beside them it serves what is pushed (` + "`postern deploy`" + `).

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
	if r.paths, err = folders(r.cfg, paths); err != nil {
		return err
	}
	if len(r.paths) == 0 && len(r.cfg.Sources) == 0 {
		r.warnings = append(r.warnings, onlyPushed)
	}
	g, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer g.close()
	return r.serve(ctx, g, hurry)
}

// onlyPushed is told to who has named no project.
const onlyPushed = "no project is named, and the working directory is none: what is pushed is served; `postern init` makes a project, `postern deploy` pushes one"

// watchedPaths are those named, or the working directory if it is a project. There need not be any.
func watchedPaths(paths []string) ([]string, error) {
	found, err := projectPaths(paths)
	if len(paths) == 0 && err != nil {
		return nil, nil
	}
	return found, err
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

// gateway is all services in one process, and Envoy as its child. They speak the same gRPC as they do apart.
type gateway struct {
	*process
	binary  envoy.Binary
	adapter *adapter.Adapter
}

// prepare takes what the gateway needs: an Envoy, the data folder, its listeners.
func (r *runner) prepare(ctx context.Context) (*gateway, error) {
	log := newLog(r.command.ErrOrStderr(), r.cfg.Log)
	binary, warnings, err := findEnvoy(ctx, r.cfg)
	if err != nil {
		return nil, err
	}
	r.warnings = append(r.warnings, warnings...)
	for _, w := range r.warnings {
		log.Warn(w)
	}
	p, err := newProcess(ctx, r.cfg, log, config.Run)
	if err != nil {
		return nil, err
	}
	g := &gateway{process: p, binary: binary}
	if err := r.start(g); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// start starts everything but Envoy.
func (r *runner) start(g *gateway) error {
	// why: Envoy shares a taken port instead of failing, and half of the requests would be somebody else's
	for key, address := range map[string]string{"http": r.cfg.Listen.HTTP, "https": r.cfg.Listen.HTTPS} {
		if address == "" {
			continue
		}
		if err := socket.Free(address); err != nil {
			return fmt.Errorf("listen.%s: %w; choose another with --listen-%s", key, err, key)
		}
	}
	if err := r.devCertificate(g.process); err != nil {
		return err
	}
	if err := g.serveManagement("management.listen", g.cfg.Management.Listen, r.pprof); err != nil {
		return fmt.Errorf("%w; choose another with --management-listen", err)
	}
	g.readiness.needEnvoy()
	// why: first, so that whoever connects before the adapter is ready waits for it instead of trying again later
	l, err := socket.Listen(g.place(g.cfg.XDS.Listen))
	if err != nil {
		return fmt.Errorf("xds.listen: %w", err)
	}
	for _, start := range []func() error{
		g.startEnforcer,
		g.startRateLimiter,
		func() error { return g.startBeside(r.command.OutOrStdout()) },
		func() error { return r.startAdapter(g, l) },
	} {
		if err := start(); err != nil {
			l.Close()
			return err
		}
	}
	g.readiness.start()
	return nil
}

func (r *runner) startAdapter(g *gateway, l net.Listener) error {
	issuers, err := g.cfg.Issuers()
	if err != nil {
		return err
	}
	follow := &reloader{process: g.process, command: r.command, settings: r.settings}
	if r.settings.dev {
		dev, err := devIssuer(g.folder.Path)
		if err != nil {
			return err
		}
		follow.always = []*posternv1.Issuer{dev}
		issuers = append(issuers, dev)
	}
	if len(issuers) == 0 {
		text := "no issuer of tokens is configured: whatever asks for a token answers 401; configure issuers, or try with --dev"
		r.warnings = append(r.warnings, text)
		g.log.Warn(text)
	}
	if g.adapter, err = g.process.startAdapter(l, r.paths, *r.environment, issuers); err != nil {
		return err
	}
	follow.adapter = g.adapter
	g.services.Go(func() error { follow.follow(g.ctx, issuers); return nil })
	g.readiness.until(g.adapter.Serving, "envoy has not acknowledged everything")
	return nil
}

// devCertificate makes a certificate for the https listener if there is none and --dev is said.
func (r *runner) devCertificate(p *process) error {
	if p.cfg.Listen.HTTPS == "" || len(p.cfg.TLS.Certificates) > 0 {
		return nil
	}
	cert, key, err := devcertificate.Open(p.folder.Path, time.Now())
	if err != nil {
		return err
	}
	p.cfg.TLS.Certificates = []config.Certificate{{Cert: cert, Key: key, Hosts: []string{"localhost"}}}
	r.warnings = append(r.warnings, fmt.Sprintf("listen.https shows a certificate that was made for this machine alone: trust it with curl --cacert %s", cert))
	return nil
}

// devIssuer is who signs the tokens of `postern token`.
func devIssuer(folder string) (*posternv1.Issuer, error) {
	dev, err := devissuer.Open(folder)
	if err != nil {
		return nil, err
	}
	return dev.Resource()
}

// serve runs Envoy until it is told to stop, or something it cannot do without has failed.
func (r *runner) serve(ctx context.Context, g *gateway, hurry <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go g.attend(ctx, cancel)
	go func() {
		if err := r.announce(ctx, g); err != nil {
			cancel(err)
		}
	}()
	if err := g.runEnvoy(ctx, g.binary, hurry); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
