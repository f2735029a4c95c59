package main

import (
	"fmt"
	"log/slog"
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

func loadCertificates(cfg *config.Config, log *slog.Logger, part config.Part) (c certificates, err error) {
	switch part {
	case config.Run:
		c.admin, err = cfg.LoadManagementTLS(log)
		return c, err
	case config.Adapter:
		c.serving, err = cfg.LoadXDSTLS(mtls.RoleAdapter, log)
	case config.BesideEnvoy:
		c.following, err = cfg.LoadXDSTLS(mtls.RoleEnvoy, log)
	case config.Enforcer, config.RateLimiter:
		role := string(part)
		if c.following, err = cfg.LoadXDSTLS(role, log); err == nil {
			c.serving, err = cfg.LoadServiceTLS(role, log)
		}
		c.admin = c.serving
		return c, err
	}
	if err == nil {
		c.admin, err = cfg.LoadManagementTLS(log)
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
		return p.tls.admin.Listen(l, mtls.RoleClient, string(p.part)), "https"
	case p.cfg.Management.TLS.ClientCA == "":
		return p.tls.admin.ListenAnyone(l), "https"
	}
	return p.tls.admin.Listen(l, append([]string{mtls.RoleNone}, mtls.Roles...)...), "https"
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

// client are the credentials of connections to adapters.
func (p *process) client() credentials.TransportCredentials {
	if p.tls.following == nil {
		return nil
	}
	return p.tls.following.ClientCredentials(mtls.RoleAdapter)
}
