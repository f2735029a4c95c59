package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/config"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// settings are the configuration's, with the addresses at which Envoy finds what it calls.
func (p *process) settings() model.Settings {
	s := p.cfg.Settings()
	s.Enforcer.Address = p.place(s.Enforcer.Address)
	s.RateLimiter.Address = p.place(s.RateLimiter.Address)
	s.LocalLimiter = model.Service{Address: p.socket(localLimiterSocket), Timeout: s.RateLimiter.Timeout}
	s.AccessLog = model.Service{Address: p.socket(accessLogSocket)}
	s.SystemCA = envoy.SystemCA()
	return s
}

// startAdapter serves the projects of these folders and archives to whoever connects to l.
func (p *process) startAdapter(l net.Listener, paths []string, environment string, issuers []*posternv1.Issuer) (*adapter.Adapter, error) {
	a, err := adapter.New(adapter.Options{
		Version: versionName(), Settings: p.settings(), AutoRouting: p.cfg.Routing.Mode == "auto", Listen: l, Folders: paths, Label: p.cfg.Label,
		Environment: environment, Lookup: os.LookupEnv, OwnAddresses: p.cfg.OwnAddresses(), AllowBackends: p.cfg.Backends.Allow,
		Issuers: issuers, Log: p.log, Registerer: p.registry,
	})
	if err != nil {
		return nil, err
	}
	p.services.Go(func() error { return a.Run(p.ctx) })
	return a, nil
}

// findEnvoy finds the Envoy to run; the warnings are worth showing.
func findEnvoy(ctx context.Context, cfg *config.Config) (binary envoy.Binary, warnings []string, err error) {
	binary, err = envoy.Find(ctx, cfg.Envoy.Path)
	if err == nil && !binary.Tested() {
		warnings = append(warnings, fmt.Sprintf("%s is Envoy %s; this build is tested with %s", binary.Path, or(binary.Version, "of an unknown version"), envoy.Version))
	}
	return binary, warnings, err
}

// runEnvoy runs Envoy until ctx is done, and drains it.
func (p *process) runEnvoy(ctx context.Context, binary envoy.Binary, hurry <-chan struct{}) error {
	// why no store: the adapter is in this process. What an earlier run served must not be served before it has spoken.
	r, err := relay.New(relay.Options{Addresses: []string{p.place(p.cfg.XDS.Listen)}, Log: p.log.With("service", "relay"), Registerer: p.registry})
	if err != nil {
		return err
	}
	defer r.Close()
	return envoy.Run(ctx, envoy.Options{
		Binary: binary.Path,
		Bootstrap: envoy.Bootstrap{
			ID: p.node, Label: p.cfg.Label, XDS: p.socket("relay.sock"), Admin: p.place(p.cfg.Envoy.Admin), MaxConnections: maxConnections(),
		},
		Relay: r,
		Dir:   p.folder.Path, Concurrency: p.cfg.Envoy.Concurrency, Drain: p.cfg.Envoy.Drain, Hurry: hurry,
		Live: p.readiness.setEnvoy, Log: p.log,
	})
}

// maxConnections leaves a file descriptor to each client for its request to the backend.
func maxConnections() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 10_000
	}
	return int64(min(max(limit.Cur/2, 100), 100_000))
}
