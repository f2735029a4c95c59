package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
)

// checkBackends refuses what no backend could ever be: it would allow nothing, and nobody would know why.
func (l *loader) checkBackends(c *Config) {
	for i, name := range c.Backends.Allow {
		if !namesBackend(name) {
			key := fmt.Sprintf("backends.allow[%d]", i)
			l.problem(c.origin(key), key, "%q names no backend; write a host, host:port or a range of addresses, like "+
				"metadata.internal, 127.0.0.1:9843, [::1]:9843 or 169.254.10.0/24", name)
		}
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// namesBackend says whether name is an address, a range of them, a host, or one of these but the range with a port.
func namesBackend(name string) bool {
	if _, err := netip.ParsePrefix(name); err == nil {
		return true
	}
	host := name
	if h, port, err := net.SplitHostPort(name); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return false
		}
		host = h
	}
	_, err := netip.ParseAddr(host)
	return err == nil || hostName.MatchString(host)
}
