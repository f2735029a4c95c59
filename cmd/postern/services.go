package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-gateway/postern/enforcer"
	"github.com/postern-gateway/postern/envoy/accesslog"
	"github.com/postern-gateway/postern/envoy/probe"
	"github.com/postern-gateway/postern/internal/lastgood"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/ratelimiter"
)

// follower is a service that lives by what it gets over xDS.
type follower interface {
	service
	Apply(xds.Update) error
	Ready() bool
	Run(context.Context) error
}

// follow keeps a follower up to date. Apart, it goes on after a restart from what it was told last.
func (p *process) follow(role, name string, types []string, s follower) error {
	p.readiness.until(s.Ready, "the "+name+" has not received everything")
	log := p.log.With("service", name)
	o := xds.ClientOptions{
		Addresses: p.adapters, Credentials: p.client(), Node: p.node + "/" + name, Label: p.cfg.Label, Role: role, Version: versionName(),
		Types: types, Apply: s.Apply, Log: log, Source: xds.NewSource(name),
	}
	if err := p.registry.Register(o.Source); err != nil {
		return err
	}
	p.readiness.note(func() []string { return fromDisk(name, o.Source) })
	if p.apart {
		store, err := p.openStore(name, role)
		if err != nil {
			return err
		}
		o.Store = store
	}
	p.services.Go(func() error { return s.Run(p.ctx) })
	p.services.Go(func() error { return xds.Run(p.ctx, o) })
	return nil
}

// fromDisk tells people of a service that no adapter tells anything.
func fromDisk(name string, s *xds.Source) []string {
	from, asOf := s.Now()
	if from != xds.FromDisk {
		return nil
	}
	return []string{"no adapter answers: the " + name + " serves what it was told by " + asOf.UTC().Format(time.RFC3339)}
}

// openStore opens what a part was told last; close writes what is left of it.
func (p *process) openStore(name, of string) (*lastgood.Store, error) {
	s, err := lastgood.Open(lastgood.Options{
		Path: filepath.Join(p.folder.Path, name+".lastgood"), Of: of + " " + p.cfg.Label, Log: p.log.With("service", name),
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() {
		if err := s.Close(); err != nil {
			p.log.Error("the last good configuration was not written to its end", "err", err)
		}
	})
	return s, nil
}

func (p *process) startEnforcer() error {
	s := enforcer.New(enforcer.Options{Log: p.log.With("service", "enforcer"), Registerer: p.registry})
	if err := p.follow(xds.RoleEnforcer, "enforcer", enforcer.Types, s); err != nil {
		return err
	}
	return p.serve("enforcer.listen", p.place(p.cfg.Enforcer.Listen), s, mtls.RoleEnvoy)
}

func (p *process) startRateLimiter() error {
	return p.startLimiter("ratelimiter", p.place(p.cfg.RateLimiter.Listen), mtls.RoleEnvoy, mtls.RoleEnforcer)
}

// The sockets of what runs beside each Envoy, which only that Envoy calls; and that of Envoy's own, at which it is probed.
const (
	localLimiterSocket = "ratelimiter-local.sock"
	accessLogSocket    = "accesslog.sock"
	probeSocket        = "probe.sock"
)

// startBeside starts what runs beside each Envoy: a ratelimiter to count for itself while the others are away, who asks it
// for the adapter whether it serves what it took, and the receiver of its access log, which counts what was answered and
// writes a line for each request to out.
func (p *process) startBeside(out io.Writer) error {
	if err := p.startLimiter("ratelimiter-local", p.socket(localLimiterSocket)); err != nil {
		return err
	}
	if err := p.startProber(); err != nil {
		return err
	}
	s := accesslog.New(accesslog.Options{Output: out, Log: p.log, Registerer: p.registry})
	p.services.Go(func() error { return s.Run(p.ctx) })
	return p.serve("access log", p.socket(accessLogSocket), s)
}

// startProber has nothing to do with whether the gateway is ready: it answers for rollouts alone. It leaves before Envoy is
// drained, which is nothing that a rollout should fail for.
func (p *process) startProber() error {
	address := p.socket(probeSocket)
	prober, err := probe.New(probe.Options{Address: address, Registerer: p.registry})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() { _ = os.Remove(strings.TrimPrefix(address, "unix:")) }) // Envoy leaves it behind
	ctx, stop := context.WithCancel(p.ctx)
	p.stopProber = stop
	p.services.Go(func() error {
		return prober.Run(ctx, xds.ClientOptions{
			Addresses: p.adapters, Credentials: p.client(), Node: p.node + "/" + xds.RoleProber, Label: p.cfg.Label, Version: versionName(),
			Log: p.log.With("service", xds.RoleProber),
		})
	})
	return nil
}

func (p *process) startLimiter(name, address string, roles ...string) error {
	s := ratelimiter.New(ratelimiter.Options{Name: name, Log: p.log.With("service", name), Registerer: p.registry})
	if err := p.follow(xds.RoleRateLimiter, name, ratelimiter.Types, s); err != nil {
		return err
	}
	return p.serve(name+".listen", address, s, roles...)
}
