package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// checkInner refuses to show a listener other than the data plane's to the network, unless it asks for certificates. What
// the management listener tells without a token is no secret: TLS is enough there, for the sake of the tokens.
func (l *loader) checkInner(c *Config) {
	m := c.Management.TLS
	l.checkManagementTLS(c)
	l.checkListener(c, "management.listen", c.Management.Listen, "management.tls (cert and key)", m.Cert != "")
	l.checkListener(c, "xds.listen", c.XDS.Listen, "xds.tls", c.XDS.TLS.Said())
	l.checkListener(c, "enforcer.listen", c.Enforcer.Listen, "enforcer.tls", c.Enforcer.TLS.Said())
	l.checkListener(c, "ratelimiter.listen", c.RateLimiter.Listen, "ratelimiter.tls", c.RateLimiter.TLS.Said())
	l.checkAdmin(c)
}

// checkAdmin: Envoy's admin interface asks nobody who they are, and ends the Envoy for whoever says so.
func (l *loader) checkAdmin(c *Config) {
	const key = "envoy.admin"
	place := c.origin(key)
	host, port, ok := l.checkAddress(place, key, c.Envoy.Admin)
	switch {
	case !ok:
	case port == 0:
		l.problem(place, key, "%q names no port; write one like 127.0.0.1:9901", c.Envoy.Admin)
	case !Loopback(host) && (!l.Insecure || l.Dev), !l.Insecure:
		l.problem(place, key, "whoever reaches %s can end this Envoy and read its configuration: every user of this machine, if not others; "+
			"use a unix socket, like unix:.postern/envoy-admin.sock, or say --insecure if all of them are trusted", c.Envoy.Admin)
	}
}

// checkApart checks what one process has no need of.
func (l *loader) checkApart(c *Config) {
	l.checkListener(c, "enforcer.admin", c.Enforcer.Admin, "enforcer.tls", c.Enforcer.TLS.Said())
	l.checkListener(c, "ratelimiter.admin", c.RateLimiter.Admin, "ratelimiter.tls", c.RateLimiter.TLS.Said())
	l.checkMutual(c, "xds.tls", c.XDS.TLS)
	l.checkMutual(c, "enforcer.tls", c.Enforcer.TLS)
	l.checkMutual(c, "ratelimiter.tls", c.RateLimiter.TLS)
	if len(c.XDS.Addresses) == 0 {
		l.problem(c.origin("xds.addresses"), "xds.addresses", "names no adapter to follow; write one like [adapter:18000]")
	}
	for i, address := range c.XDS.Addresses {
		l.checkPeer(c, fmt.Sprintf("xds.addresses[%d]", i), address, "xds.tls", c.XDS.TLS.Said())
	}
	l.checkPeer(c, "enforcer.address", c.Enforcer.Address, "enforcer.tls or xds.tls", c.Enforcer.TLS.Said())
	l.checkPeer(c, "ratelimiter.address", c.RateLimiter.Address, "ratelimiter.tls or xds.tls", c.RateLimiter.TLS.Said())
}

// checkListener checks where something listens; remedy is the key that would make it safe, if there is one.
func (l *loader) checkListener(c *Config, key, address, remedy string, safe bool) {
	place := c.origin(key)
	host, port, ok := l.checkAddress(place, key, address)
	switch {
	case !ok:
	case port == 0 && !within(key, "management.listen", "enforcer.admin", "ratelimiter.admin"):
		l.problem(place, key, "%q names no port; write one like 127.0.0.1:18000", address)
	case !Loopback(host) && !safe && (!l.Insecure || l.Dev):
		if remedy != "" {
			remedy = ", configure " + remedy
		}
		l.problem(place, key, "%s is not a loopback address, and this listener has no TLS with client authentication; "+
			"use a loopback address or a unix socket%s, or say --insecure if the network is trusted", address, remedy)
	}
}

// checkPeer checks where another part is found. Between machines they never talk in plain text: tokens pass there, and who
// may be let in.
func (l *loader) checkPeer(c *Config, key, address, remedy string, safe bool) {
	place := c.origin(key)
	host, _, ok := l.checkAddress(place, key, address)
	switch {
	case !ok:
	case host == "" || host == "0.0.0.0" || host == "::":
		l.problem(place, key, "%q is where one listens, not where others find it; write a name, like adapter:18000 or enforcer:18001", address)
	case !Loopback(host) && !safe && !l.Insecure:
		l.problem(place, key, "%s is not on this machine, and would be talked to in plain text; configure %s, or say --insecure if the network is trusted", address, remedy)
	}
}

// checkAddress asks for "unix:/path" or "host:port". It is ok if it is the latter: then there is more to look at.
func (l *loader) checkAddress(place at, key, address string) (host string, port uint64, ok bool) {
	if path, isSocket := strings.CutPrefix(address, "unix:"); isSocket {
		if path == "" {
			l.problem(place, key, "unix: names no socket; write one like unix:.postern/name.sock")
		}
		return "", 0, false
	}
	host, text, err := net.SplitHostPort(address)
	port, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil {
		l.problem(place, key, "%q is not an address; write one like 127.0.0.1:9843 or unix:.postern/name.sock", address)
		return "", 0, false
	}
	return host, port, true
}
