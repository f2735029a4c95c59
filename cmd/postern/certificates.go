package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
)

// certificates are what a process shows to adapters, to those who call its service, and to those who read its metrics or
// manage it. nil is plain text, which the configuration has admitted.
type certificates struct{ following, serving, admin *mtls.Set }

func loadCertificates(cfg *config.Config, part config.Part, o mtls.Options) (c certificates, err error) {
	anybody := o // the management's certificate may come from elsewhere
	switch part {
	case config.Run:
	case config.Adapter:
		o.Role = mtls.RoleAdapter
		c.serving, err = cfg.LoadXDSTLS(o)
	case config.BesideEnvoy:
		o.Role = mtls.RoleEnvoy
		c.following, err = cfg.LoadXDSTLS(o)
	case config.Enforcer, config.RateLimiter:
		o.Role = string(part)
		if c.following, err = cfg.LoadXDSTLS(o); err == nil {
			c.serving, err = cfg.LoadServiceTLS(o)
		}
		c.admin = c.serving
		return c, err
	}
	if err == nil {
		c.admin, err = cfg.LoadManagementTLS(anybody)
	}
	return c, err
}

// shield makes a listener for metrics and management one of TLS, if there is a certificate for it: from elsewhere, or
// where the configuration asks for it on this machine too, those may come who have one of the authority's.
func (p *process) shield(l net.Listener, address string) (shielded net.Listener, scheme string) {
	host, _, err := net.SplitHostPort(address)
	service := p.part == config.Enforcer || p.part == config.RateLimiter
	switch {
	case p.tls.admin == nil || err != nil || service && config.Loopback(host):
		return l, "http"
	case service:
		return p.tls.admin.Listen(l, mtls.RoleClient), "https"
	case p.cfg.Management.TLS.ClientCA == "":
		return p.tls.admin.ListenAnyone(l), "https"
	}
	// why nobody in particular too: the authority of whoever manages may be another than that of the gateway's parts
	return p.tls.admin.Listen(l, mtls.RoleClient, mtls.RoleNone), "https"
}

// admitsAnybody says whether a listener for metrics and management takes connections from elsewhere without a certificate,
// by its configuration: where --insecure was said, it is the user's word.
func (p *process) admitsAnybody(address string) bool {
	host, _, err := net.SplitHostPort(address)
	service := p.part == config.Enforcer || p.part == config.RateLimiter
	return err == nil && !service && !config.Loopback(host) && p.tls.admin != nil && p.cfg.Management.TLS.ClientCA == ""
}

// identity is whom the certificates name, for people.
func (p *process) identity() string {
	switch {
	case p.tls.following != nil:
		return p.tls.following.Identity().String()
	case p.tls.serving != nil:
		return p.tls.serving.Identity().String()
	}
	return "none"
}

// becomeNode finds the name by which adapters know this process: envoy.id or the host's, within what its certificate names.
func (p *process) becomeNode() error {
	ours := p.part == config.Run || p.part == config.BesideEnvoy
	if ours && p.cfg.Envoy.ID != "" {
		p.node = p.cfg.Envoy.ID
	} else if p.node = hostName(); p.tls.following != nil {
		if who := p.tls.following.Identity().Name; who != p.node {
			p.node = who + "/" + p.node
		}
	}
	if !ours || p.tls.following == nil {
		return nil
	}
	who := p.tls.following.Identity()
	if err := who.Admits(xds.Node{ID: p.node, Role: who.Role, Label: p.cfg.Label}); err != nil {
		return fmt.Errorf("no adapter would have it: %w", err)
	}
	return nil
}

func hostName() string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "postern"
}

// authorize is asked which node may be what; nil, without certificates: anybody.
func (p *process) authorize() func(context.Context, xds.Node) error {
	if p.tls.serving == nil {
		return nil
	}
	return p.tls.serving.Authorize
}

// client are the credentials of connections to adapters.
func (p *process) client() credentials.TransportCredentials {
	if p.tls.following == nil {
		return mtls.Plain("xds.tls")
	}
	return p.tls.following.ClientCredentials(mtls.RoleAdapter)
}
