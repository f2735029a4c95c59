package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// finish fills what depends on other keys: the sockets move with dataDir, and paths become usable from here.
func (l *loader) finish(c *Config) {
	c.DataDir = c.path("dataDir", c.DataDir)
	if strings.ContainsRune(c.Envoy.Path, filepath.Separator) { // else it is looked for on PATH
		c.Envoy.Path = c.path("envoy.path", c.Envoy.Path)
	}
	for key, value := range map[string]*string{
		"xds.listen": &c.XDS.Listen, "enforcer.listen": &c.Enforcer.Listen,
		"ratelimiter.listen": &c.RateLimiter.Listen, "envoy.admin": &c.Envoy.Admin,
	} {
		path, isSocket := strings.CutPrefix(*value, "unix:")
		_, said := c.origins[key]
		switch {
		case !isSocket:
		case said:
			*value = "unix:" + c.path(key, path)
		default:
			*value = "unix:" + filepath.Join(c.DataDir, filepath.Base(path))
		}
	}
	for key, value := range map[string]*MutualTLS{"xds.tls": &c.XDS.TLS, "enforcer.tls": &c.Enforcer.TLS, "ratelimiter.tls": &c.RateLimiter.TLS} {
		value.Cert, value.Key, value.CA = c.path(key+".cert", value.Cert), c.path(key+".key", value.Key), c.path(key+".ca", value.CA)
	}
	if l.Part != Run && c.XDS.TLS.whole() {
		for _, t := range []*MutualTLS{&c.Enforcer.TLS, &c.RateLimiter.TLS} {
			if !t.Said() {
				*t = c.XDS.TLS // a service shows the certificate by which it follows the adapter
			}
		}
	}
	t := &c.Management.TLS
	t.Cert, t.Key, t.ClientCA = c.path("management.tls.cert", t.Cert), c.path("management.tls.key", t.Key), c.path("management.tls.clientCA", t.ClientCA)
	c.Management.Tokens = c.path("management.tokens", c.Management.Tokens)
	if c.Management.Tokens == "" {
		c.Management.Tokens = filepath.Join(c.DataDir, "tokens.yaml")
	}
	l.finishAddresses(c)
	for _, address := range []*string{&c.Listen.HTTP, &c.Listen.HTTPS} {
		if host, port, err := net.SplitHostPort(*address); err == nil && host == "" {
			*address = net.JoinHostPort("0.0.0.0", port)
		}
	}
	c.finishSources()
	for i := range c.TLS.Certificates {
		t := &c.TLS.Certificates[i]
		t.Cert, t.Key = c.path("tls.certificates", t.Cert), c.path("tls.certificates", t.Key)
	}
}

// finishAddresses: who is on one machine, in one data folder, finds the others without a word.
func (l *loader) finishAddresses(c *Config) {
	if len(c.XDS.Addresses) == 0 && strings.HasPrefix(c.XDS.Listen, "unix:") {
		c.XDS.Addresses = []string{c.XDS.Listen}
	}
	for i, address := range c.XDS.Addresses {
		if path, isSocket := strings.CutPrefix(address, "unix:"); isSocket {
			c.XDS.Addresses[i] = "unix:" + c.path("xds.addresses", path)
		}
	}
	for key, s := range map[string]*Service{"enforcer.address": &c.Enforcer, "ratelimiter.address": &c.RateLimiter} {
		path, isSocket := strings.CutPrefix(s.Address, "unix:")
		switch {
		case s.Address == "" || !l.Part.apart():
			s.Address = s.Listen
		case isSocket:
			s.Address = "unix:" + c.path(key, path)
		}
	}
}

// path is where a path that was said under key is: one of the file is relative to the file's folder, any other to
// the working directory.
func (c *Config) path(key, path string) string {
	if path == "" || filepath.IsAbs(path) || !c.origin(key).file {
		return path
	}
	return filepath.Join(c.dir, path)
}

// origin is the place that key, or the nearest section or list around it, was said; nowhere if it is a default.
func (c *Config) origin(key string) at {
	for key != "" {
		if place, ok := c.origins[key]; ok {
			return place
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return at{}
}

// check refuses what is contradictory, unsafe, or not served by this build, of what the part reads.
func (l *loader) check(c *Config) {
	l.judging = true
	if l.Part.reads("listen") {
		l.checkDataPlane(c)
	}
	l.checkInner(c)
	if l.Part.apart() {
		l.checkApart(c)
	}
	for key, d := range map[string]int64{
		"timeouts.request": int64(c.Timeouts.Request), "timeouts.maxRequest": int64(c.Timeouts.MaxRequest),
		"timeouts.idle": int64(c.Timeouts.Idle), "enforcer.timeout": int64(c.Enforcer.Timeout),
		"ratelimiter.timeout": int64(c.RateLimiter.Timeout),
	} {
		if d == 0 {
			l.problem(c.origin(key), key, "must be more than 0")
		}
	}
	if c.Timeouts.Request > c.Timeouts.MaxRequest {
		l.problem(c.origin("timeouts.request"), "timeouts.request", "%s is longer than timeouts.maxRequest, %s", c.Timeouts.Request, c.Timeouts.MaxRequest)
	}
	if !model.ValidLabel(c.Label) {
		l.problem(c.origin("label"), "label", "%q cannot be a label; use up to 63 letters, digits and . _ -, a letter or digit first and last", c.Label)
	}
	if l.Part.reads("listen") {
		l.checkSizes(c)
		l.checkBackends(c)
		l.checkPushes(c)
		l.checkIssuers(c)
		l.checkSources(c)
	}
	l.checkServed(c)
	slices.SortStableFunc(l.problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}

// Loopback says whether only this machine can reach host.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

func (l *loader) checkSizes(c *Config) {
	// Envoy takes whole KiB up to 8192 for all headers together.
	if b := c.LimitsOnRequests.HeaderBytes; b < 1<<10 || b > 8192<<10 || b%(1<<10) != 0 {
		l.problem(c.origin("limitsOnRequests.headerBytes"), "limitsOnRequests.headerBytes", "must be whole KiB from 1KiB to 8192KiB")
	}
	if b := c.LimitsOnRequests.BodyBytes; b == 0 || b > 1<<32-1 {
		l.problem(c.origin("limitsOnRequests.bodyBytes"), "limitsOnRequests.bodyBytes", "must be from 1 to 4294967295 bytes")
	}
}

// asymmetric are the signature algorithms an issuer may use (RFC 7518 §3.1, RFC 8037). A shared secret would let
// everybody who can check a token make one.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// devIssuer is whom `postern token` signs for.
const devIssuer = "urn:postern:dev"

// checkIssuers checks those of callers, and those of managers, of whom none can be the development's.
func (l *loader) checkIssuers(c *Config) {
	l.checkIssuersOf(c, "issuers", c.TokenIssuers)
	l.checkIssuersOf(c, "management.issuers", c.Management.Issuers)
	for i, issuer := range c.Management.Issuers {
		key := fmt.Sprintf("management.issuers[%d]", i)
		if issuer.Issuer == devIssuer {
			l.problem(c.origin(key), key+".issuer", "%s cannot manage a gateway: `postern token` gives anybody any scope", devIssuer)
		}
		if len(issuer.Audiences) == 0 && issuer.Issuer != "" {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s.audiences: none is said: every token of %s with a scope postern:… is good here, whomever it was made for", c.origin(key), key, issuer.Issuer))
		}
	}
}

func (l *loader) checkIssuersOf(c *Config, list string, issuers []Issuer) {
	named := map[string]bool{}
	for i, issuer := range issuers {
		key := fmt.Sprintf("%s[%d]", list, i)
		place := c.origin(key)
		switch {
		case issuer.Issuer == "":
			l.problem(place, key+".issuer", "is missing; write what the tokens' iss claim says")
		case named[issuer.Issuer]:
			l.problem(place, key+".issuer", "%s stands in the list twice", issuer.Issuer)
		}
		named[issuer.Issuer] = true
		if issuer.Issuer == devIssuer && list == "issuers" {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s.issuer: %s is for development: whoever has the key that `postern token` made signs tokens that this gateway accepts", place, key, devIssuer))
		}
		for _, name := range issuer.Algorithms {
			if !slices.Contains(asymmetric, name) {
				l.problem(place, key+".algorithms", "%q is not one of %s", name, strings.Join(asymmetric, ", "))
			}
		}
		if issuer.Introspection.URI != "" {
			l.problem(place, key+".introspection", "this build does not introspect tokens; leaving it out would accept tokens that the issuer has revoked")
		}
		l.checkKeys(c, key, issuer)
	}
}

func (l *loader) checkKeys(c *Config, key string, issuer Issuer) {
	place := c.origin(key + ".jwks")
	sources := 0
	for _, s := range []string{issuer.JWKS.URI, issuer.JWKS.File, issuer.JWKS.Certificate} {
		if s != "" {
			sources++
		}
	}
	switch {
	case sources > 1:
		l.problem(place, key+".jwks", "says more than one of uri, file and certificate; keep one")
	case issuer.JWKS.URI != "":
		l.checkWeb(place, key+".jwks.uri", issuer.JWKS.URI)
	case sources == 0 && issuer.Issuer != "":
		l.checkWeb(place, key+".issuer", issuer.Issuer)
	}
}

// checkWeb asks for a URL that keys can be got from.
func (l *loader) checkWeb(place at, key, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		l.problem(place, key, "keys cannot be fetched from %q; write an https URL, or say jwks: {file: …} or {certificate: …}", text)
		return
	}
	if u.Scheme == "http" && !Loopback(u.Hostname()) {
		l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: %s is not https: whoever is on the way can put keys of their own in", place, key, text))
	}
}
