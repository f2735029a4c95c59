package config

import (
	"fmt"
	"strings"

	"github.com/postern-gateway/postern/internal/mtls"
)

// Said says whether TLS is wanted.
func (t MutualTLS) Said() bool { return t != MutualTLS{} }

func (t MutualTLS) whole() bool { return t.Cert != "" && t.Key != "" && t.CA != "" }

// LoadXDSTLS reads the certificate with which xDS is served or followed; nil, if there is none. Addresses of TCP are TLS
// if there is one, those of unix sockets are not.
func (c *Config) LoadXDSTLS(o mtls.Options) (*mtls.Set, error) {
	return c.loadTLS("xds.tls", c.XDS.TLS, o)
}

// LoadServiceTLS does so for what Envoys call: the role says which service.
func (c *Config) LoadServiceTLS(o mtls.Options) (*mtls.Set, error) {
	if o.Role == mtls.RoleEnforcer {
		return c.loadTLS("enforcer.tls", c.Enforcer.TLS, o)
	}
	return c.loadTLS("ratelimiter.tls", c.RateLimiter.TLS, o)
}

// LoadManagementTLS does so for the management listener, whose certificate may come from anybody.
func (c *Config) LoadManagementTLS(o mtls.Options) (*mtls.Set, error) {
	t := c.Management.TLS
	return c.loadTLS("management.tls", MutualTLS{Cert: t.Cert, Key: t.Key, CA: t.ClientCA}, o)
}

func (c *Config) loadTLS(key string, t MutualTLS, o mtls.Options) (*mtls.Set, error) {
	if !t.Said() {
		return nil, nil
	}
	if c.placeOf(key).source == "" {
		key = "xds.tls" // where it came from
	}
	set, err := mtls.Load(mtls.Files(t), o)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.placeOf(key), key, err)
	}
	return set, nil
}

// placeOf is where a certificate was said: where the first of its files was.
func (c *Config) placeOf(section string) at {
	for _, key := range []string{".cert", ".key", ".ca", ".clientCA"} {
		if place := c.origin(section + key); place.source != "" {
			return place
		}
	}
	return at{}
}

// checkMutual: half a set would be no TLS, or TLS with everybody.
func (l *loader) checkMutual(c *Config, key string, t MutualTLS) {
	if t.Said() && !t.whole() {
		l.problem(c.placeOf(key), key, "mutual TLS needs cert, key and ca, and here is no %s; `postern certs` makes a set",
			missing([2]string{"cert", t.Cert}, [2]string{"key", t.Key}, [2]string{"ca", t.CA}))
	}
}

// checkManagementTLS: without clientCA it is TLS for whoever comes, which a loopback address may be.
func (l *loader) checkManagementTLS(c *Config) {
	t, place := c.Management.TLS, c.placeOf("management.tls")
	if t != (ManagementTLS{}) && (t.Cert == "" || t.Key == "") {
		l.problem(place, "management.tls", "TLS needs cert and key, and here is no %s", missing([2]string{"cert", t.Cert}, [2]string{"key", t.Key}))
	}
}

func missing(parts ...[2]string) string {
	var names []string
	for _, p := range parts {
		if p[1] == "" {
			names = append(names, p[0])
		}
	}
	return strings.Join(names, " and no ")
}
