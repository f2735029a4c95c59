package project

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

var (
	discovered = regexp.MustCompile(`^\s*(etcd|consul)\s*\(`)
	escapedURL = regexp.MustCompile(`^(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*$`)
)

// endpoint reads the address that n stands for. Problems show what the author wrote, never what a variable held.
func (d *definition) endpoint(n *node, address string) (model.Endpoint, bool) {
	bad := func(format string, args ...any) (model.Endpoint, bool) {
		d.refuse(n.at(), "bad-endpoint", format, args...)
		return model.Endpoint{}, false
	}
	if m := discovered.FindStringSubmatch(address); m != nil {
		d.refuse(n.at(), "not-served", "this build does not look up backends in %s; write an http:// or https:// URL", m[1])
		return model.Endpoint{}, false
	}
	u, err := url.Parse(address)
	if err != nil {
		return bad("%s is not a URL; write http://host:port/path or https://host:port/path", shown(n))
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return bad("%s must start with http:// or https://", shown(n))
	case u.User != nil:
		return bad("the URL holds a user or a password; credentials do not belong there")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("%s must end with its path: a backend has no query and no fragment", shown(n))
	case strings.ContainsAny(address, "{}"):
		return bad("%s still holds a {variable}; give it a default under the server's variables", shown(n))
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if !hostName(host) {
		return bad("%s has no host that could be a name or an address (names of other scripts in their xn-- form)", shown(n))
	}
	e := model.Endpoint{TLS: u.Scheme == "https", Host: host, Port: 80, Path: strings.TrimSuffix(u.EscapedPath(), "/")}
	e.Authority = host
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		e.Authority = "[" + host + "]"
	}
	if e.TLS {
		e.Port = 443
	}
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			return bad("%s has no port between 1 and 65535", shown(n))
		}
		e.Port = uint16(port)
		e.Authority += ":" + strconv.FormatUint(port, 10)
	}
	if e.Path != "" && (path.Clean(e.Path) != e.Path || !escapedURL.MatchString(e.Path)) {
		return bad("%s has a path with empty, \".\" or \"..\" segments, or characters that are not escaped", shown(n))
	}
	if why := d.forbidden(e); why != "" {
		d.refuse(n.at(), "forbidden-backend", "%s %s; if that is meant, the gateway's operator names it under backends.allow in postern.yaml", shown(n), why)
		return model.Endpoint{}, false
	}
	return e, true
}

// shown is what the author wrote at n, fit for a problem: without a password.
func shown(n *node) string {
	word := n.scalar()
	if at := strings.LastIndex(word, "@"); at >= 0 {
		word = "…" + word[at:]
	}
	return strconv.Quote(word)
}

// forbidden says why requests must not go there: to the gateway itself, or where clouds keep their secrets.
func (s *shared) forbidden(e model.Endpoint) string {
	if s.allowed(e) {
		return ""
	}
	if a, err := netip.ParseAddr(e.Host); err == nil {
		a = a.Unmap()
		switch {
		case a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.WithZone("") == netip.MustParseAddr("fd00:ec2::254") ||
			a == netip.MustParseAddr("100.100.100.200"):
			return "is a link-local address, where machines keep their own secrets"
		case a.IsMulticast():
			return "is a multicast address"
		}
	}
	if e.Host == "metadata.google.internal" || e.Host == "instance-data.ec2.internal" {
		return "is a cloud's metadata service"
	}
	for _, own := range s.options.OwnAddresses {
		if sameListener(own, e) {
			return "is the gateway's own listener " + own + ", which would call itself"
		}
	}
	return ""
}

func joinHostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// sameListener says whether a backend reaches the listener at own ("host:port"; "" and 0.0.0.0 are any local address).
func sameListener(own string, e model.Endpoint) bool {
	host, port, ok := cutPort(own)
	if !ok || port != strconv.Itoa(int(e.Port)) {
		return false
	}
	if strings.EqualFold(host, e.Host) {
		return true
	}
	everywhere := host == "" || isUnspecified(host)
	return isLocal(e.Host) && (everywhere || isLocal(host))
}

func cutPort(address string) (host, port string, ok bool) {
	i := strings.LastIndex(address, ":")
	if i < 0 || strings.HasPrefix(address, "unix:") {
		return "", "", false
	}
	return strings.Trim(address[:i], "[]"), address[i+1:], true
}

func isUnspecified(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsUnspecified()
}

// isLocal says whether a host is this machine by any of its usual names.
func isLocal(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.Unmap().IsLoopback() || a.IsUnspecified())
}

// allowed says whether the gateway's configuration names this backend: by host, by host:port, or by a range of addresses.
func (s *shared) allowed(e model.Endpoint) bool {
	a, err := netip.ParseAddr(e.Host)
	for _, name := range s.options.AllowBackends {
		if strings.EqualFold(name, e.Host) || strings.EqualFold(name, joinHostPort(e.Host, e.Port)) {
			return true
		}
		if prefix, bad := netip.ParsePrefix(name); err == nil && bad == nil && prefix.Contains(a.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}
