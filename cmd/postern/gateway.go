package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// settings are the configuration's, with the addresses at which Envoy finds what it calls.
func (p *process) settings() model.Settings {
	s := p.cfg.Settings()
	s.Enforcer.Address = p.place(s.Enforcer.Address)
	s.RateLimiter.Address = p.place(s.RateLimiter.Address)
	s.LocalLimiter = model.Service{Address: p.beside(localLimiterSocket), Timeout: s.RateLimiter.Timeout}
	s.AccessLog = model.Service{Address: p.beside(accessLogSocket)}
	s.Probe = p.beside(probeSocket)
	if !p.apart { // else it is the usual place on the machines of the Envoys
		s.SystemCA = envoy.SystemCA()
	}
	return s
}

// beside is a socket of the process beside an Envoy, as that Envoy finds it: apart, its path is known only there, and it
// is in the working directory that Envoy is given.
func (p *process) beside(name string) string {
	if p.apart {
		return "unix:" + name
	}
	return p.socket(name)
}

// startAdapter serves the projects of these folders and archives to whoever connects to l: in one process to its own
// label, and apart to every label.
func (p *process) startAdapter(l net.Listener, paths []string, environment string, issuers []*posternv1.Issuer) (*adapter.Adapter, error) {
	label := p.cfg.Label
	if p.apart {
		label = ""
	}
	kept, err := p.openProjects()
	if err != nil {
		return nil, err
	}
	sources, err := p.gitSources()
	if err != nil {
		return nil, err
	}
	a, err := adapter.New(adapter.Options{
		Store: kept,
		Pushes: adapter.PushDefaults{
			Wait: p.cfg.Pushes.Wait, Require: publish.Require{Percent: p.cfg.Pushes.Percent()}, RefuseBreaking: p.cfg.Pushes.Breaking == "refuse",
		},
		Version: versionName(), Settings: p.settings(), AutoRouting: p.cfg.Routing.Mode == "auto", Listen: l, Folders: paths, Sources: sources, Label: label,
		GRPC: p.secure(l, "", mtls.RoleEnvoy, mtls.RoleEnforcer, mtls.RoleRateLimiter), Authorize: p.authorize(),
		Environment: environment, Lookup: os.LookupEnv, OwnAddresses: p.cfg.OwnAddresses(), AllowBackends: p.cfg.Backends.Allow,
		Issuers: issuers, Certificates: p.cfg.Certificates(), Log: p.log, Registerer: p.registry,
	})
	if err != nil {
		return nil, err
	}
	if err := p.openAPI(a, kept, label); err != nil {
		return nil, err
	}
	p.services.Go(func() error { return a.Run(p.ctx) })
	return a, nil
}

// storeFile is what was pushed, in the data folder.
const storeFile = "postern.db"

// openProjects opens what was pushed before.
func (p *process) openProjects() (*store.File, error) {
	s, err := store.Open(store.Options{
		Path: filepath.Join(p.folder.Path, storeFile), History: p.cfg.Store.History, Log: p.log.With("service", "store"),
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() {
		if err := s.Close(); err != nil {
			p.log.Error("the store was not closed properly", "err", err)
		}
	})
	return s, nil
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
	r, err := p.newRelay()
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
		Dir:   p.folder.Path, Sockets: p.folder.Sockets, Concurrency: p.cfg.Envoy.Concurrency, Drain: p.cfg.Envoy.Drain, Hurry: hurry,
		Live: p.readiness.setEnvoy, Log: p.log,
	})
}

// newRelay stands between Envoy and the adapters. Apart, it serves what it kept while none of them answers; in one process
// the adapter is here, and what an earlier run served must not be served before it has spoken.
func (p *process) newRelay() (*relay.Relay, error) {
	o := relay.Options{Addresses: p.adapters, Credentials: p.client(), Log: p.log.With("service", "relay"), Registerer: p.registry}
	if p.apart {
		store, err := p.openStore("envoy", xds.RoleEnvoy)
		if err != nil {
			return nil, err
		}
		o.Store = store
	}
	if p.tls.following != nil {
		o.Secrets = xds.NewCache()
		p.services.Go(func() error { return p.tls.following.ServeSecrets(p.ctx, o.Secrets) })
	}
	r, err := relay.New(o)
	if err == nil {
		p.readiness.note(func() []string { return onDisk(r.Status()) })
		p.readiness.also(func() []string { return taken(r.Status()) })
	}
	return r, err
}

// onDisk tells people of an Envoy that no adapter tells what to serve.
func onDisk(s relay.Status) []string {
	if s.Source != relay.FromDisk {
		return nil
	}
	return []string{"no adapter answers: envoy serves what was acknowledged by " + s.AsOf.UTC().Format(time.RFC3339)}
}

// taken is why Envoy does not listen.
func taken(s relay.Status) []string {
	if s.Taken == nil {
		return nil
	}
	return []string{"envoy does not listen: " + s.Taken.Error()}
}

// maxConnections leaves a file descriptor to each client for its request to the backend.
func maxConnections() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 10_000
	}
	return int64(min(max(limit.Cur/2, 100), 100_000))
}
