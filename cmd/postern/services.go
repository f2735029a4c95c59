package main

import (
	"context"
	"io"

	"github.com/postern-gateway/postern/enforcer"
	"github.com/postern-gateway/postern/envoy/accesslog"
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

// follow serves a follower and keeps it up to date.
func (p *process) follow(role, name, address string, types []string, s follower) error {
	if err := p.serve(name+".listen", address, s); err != nil {
		return err
	}
	p.readiness.until(s.Ready, "the "+name+" has not received everything")
	log := p.log.With("service", name)
	p.services.Go(func() error { return s.Run(p.ctx) })
	p.services.Go(func() error {
		return xds.Run(p.ctx, xds.ClientOptions{
			Addresses: []string{p.place(p.cfg.XDS.Listen)}, Node: p.node + "/" + name, Label: p.cfg.Label, Role: role,
			Version: versionName(), Types: types, Apply: s.Apply, Log: log,
		})
	})
	return nil
}

func (p *process) startEnforcer() error {
	s := enforcer.New(enforcer.Options{Log: p.log.With("service", "enforcer"), Registerer: p.registry})
	return p.follow(xds.RoleEnforcer, "enforcer", p.place(p.cfg.Enforcer.Listen), enforcer.Types, s)
}

func (p *process) startRateLimiter() error {
	return p.startLimiter("ratelimiter", p.place(p.cfg.RateLimiter.Listen))
}

// The sockets of what runs beside each Envoy, which only that Envoy calls.
const (
	localLimiterSocket = "ratelimiter-local.sock"
	accessLogSocket    = "accesslog.sock"
)

// startBeside starts what runs beside each Envoy: a ratelimiter to count for itself while the others are away, and the
// receiver of its access log, which counts what was answered and writes a line for each request to out.
func (p *process) startBeside(out io.Writer) error {
	if err := p.startLimiter("ratelimiter-local", p.socket(localLimiterSocket)); err != nil {
		return err
	}
	s := accesslog.New(accesslog.Options{Output: out, Log: p.log, Registerer: p.registry})
	p.services.Go(func() error { return s.Run(p.ctx) })
	return p.serve("access log", p.socket(accessLogSocket), s)
}

func (p *process) startLimiter(name, address string) error {
	s := ratelimiter.New(ratelimiter.Options{Name: name, Log: p.log.With("service", name), Registerer: p.registry})
	return p.follow(xds.RoleRateLimiter, name, address, ratelimiter.Types, s)
}
