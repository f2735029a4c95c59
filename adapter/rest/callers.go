package rest

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/internal/jwt"
	"github.com/postern-gateway/postern/internal/mtls"
)

// admit finds out who calls. What is said explicitly counts: a wrong token is not made good by a certificate.
func (c *call) admit(basic bool) error {
	said := c.r.Header.Values("Authorization")
	switch {
	case len(said) > 1:
		return c.stranger("several credentials were sent where one is expected")
	case len(said) == 1:
		return c.admitBy(said[0], basic)
	case c.bySocket():
		c.caller = access.Caller{Name: "local", By: access.BySocket, Grants: access.Grants{{Role: access.Admin}}}
		return nil
	case c.r.TLS != nil && len(c.r.TLS.PeerCertificates) > 0:
		return c.admitCertificate()
	case basic && strings.HasSuffix(c.r.URL.Path, legacyLogin):
		return nil // it says who it is in its body
	}
	return c.stranger("say who you are: Authorization: Bearer TOKEN; `postern tokens create` makes one")
}

// bySocket says whether the call came by a unix socket, which nobody but the adapter's own user can open.
func (c *call) bySocket() bool {
	local, ok := c.r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// admitBy reads an Authorization header.
func (c *call) admitBy(header string, basic bool) error {
	scheme, token, _ := strings.Cut(header, " ")
	if basic && strings.EqualFold(scheme, "Basic") {
		name, password, ok := c.r.BasicAuth()
		if !ok {
			return c.stranger("the Authorization header cannot be read")
		}
		return c.admitNamed(name, password)
	}
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " ,") {
		return c.stranger("the Authorization header is not of the form Bearer TOKEN")
	}
	if who, ok := c.Register.Token(token); ok {
		c.caller = who
		return nil
	}
	if c.Issuers == nil || strings.Count(token, ".") != 2 {
		return c.stranger("the token is not known, or has expired")
	}
	if !c.failures.any(c.address(), c.Now()) {
		return c.tooManyFailures() // why here: to verify a signature costs more than to refuse
	}
	result := c.Issuers.Verify(c.r.Context(), []byte(token))
	switch result.Reason {
	case jwt.Accepted:
		c.caller = callerOf(result.Identity)
		return nil
	case jwt.Unavailable:
		return refuse(http.StatusServiceUnavailable, "unavailable", "%s", result.Detail).after(5)
	}
	return c.stranger("%s", result.Detail)
}

// admitNamed admits by a token and its name, as the legacy API does.
func (c *call) admitNamed(name, token string) error {
	who, ok := c.Register.Token(token)
	if !ok || who.Name != name {
		return c.stranger("this name and token are not known, or have expired")
	}
	c.caller = who
	return nil
}

// callerOf is whom a JWT proves. Its issuer is a part of the name, so that nobody is taken for a token of that name.
func callerOf(i *jwt.Identity) access.Caller {
	name := i.Subject
	if name == "" {
		name = i.Client
	}
	return access.Caller{Name: fmt.Sprintf("%s of %s", name, i.Issuer), By: access.ByJWT, Grants: access.FromScopes(i.Scopes)}
}

func (c *call) admitCertificate() error {
	who, err := mtls.IdentityOf(c.r.TLS.PeerCertificates[0])
	if err != nil || who.Role == mtls.RoleNone {
		return c.stranger("the certificate names nobody: it needs a URI postern://client/NAME; or say who you are with a bearer token")
	}
	var listed bool
	if c.caller, listed = c.Register.Certificate(who); !listed {
		c.caller = access.Caller{Name: who.String(), By: access.ByCertificate}
	}
	return nil
}

// stranger is the answer to somebody nobody knows, who cannot try for ever.
func (c *call) stranger(format string, args ...any) error {
	first, ok := c.failures.take(c.address(), c.Now())
	if !ok {
		c.quiet = !first // why: whoever tries on and on must not push others' lines out of the log
		return c.tooManyFailures()
	}
	c.note.Before = c.failures.forgotten(c.address())
	r := refuse(http.StatusUnauthorized, "unauthenticated", format, args...)
	challenge := `Bearer realm="postern"`
	if c.r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
	}
	return r.with("WWW-Authenticate", challenge)
}

func (c *call) tooManyFailures() error {
	return refuse(http.StatusTooManyRequests, "too-many-requests", "too many wrong credentials came from this address; a good one is taken all the same").
		after(c.failures.rate.seconds())
}

// withinRate refuses a caller who asks too often.
func (c *call) withinRate() error {
	if _, ok := c.calls.take(c.key(), c.Now()); !ok {
		c.condense(c.floods)
		return refuse(http.StatusTooManyRequests, "too-many-requests", "%s asks too often", cmp.Or(c.caller.Name, c.address())).after(c.calls.rate.seconds())
	}
	return nil
}

// key is whom a call is counted for.
func (c *call) key() string { return string(c.caller.By) + " " + cmp.Or(c.caller.Name, c.address()) }

// condense writes no line of a caller who is refused again and again, but later how many there were: he must not push others'
// lines out of the log.
func (c *call) condense(lines *limiter) {
	key := string(c.caller.By) + " " + c.caller.Name
	if _, ok := lines.take(key, c.Now()); !ok {
		c.quiet = true
		return
	}
	c.note.Before = lines.refused(key)
}

// may asks for a role somewhere. Nobody is everybody.
func (c *call) may(role access.Role) error {
	if c.caller.Grants.Anywhere() < role {
		return c.lacks(access.Grant{Role: role})
	}
	return nil
}

// mayAt asks for a role at all of these labels.
func (c *call) mayAt(role access.Role, labels ...string) error {
	if missing, lacks := c.caller.Grants.Lacking(role, labels...); lacks {
		return c.lacks(missing)
	}
	return nil
}

// mayAtAll asks for a role at all of these labels; none: nobody knows which, and so at every one.
func (c *call) mayAtAll(role access.Role, labels []string) error {
	if len(labels) == 0 && c.caller.Grants.At("") < role {
		return c.refuseFor(access.Grant{Role: role}, "for all labels")
	}
	return c.mayAt(role, labels...)
}

func (c *call) lacks(g access.Grant) error {
	where := "for any label"
	switch {
	case g.Role == access.Admin:
		where = "for all labels"
	case g.Label != "":
		where = "for the label " + g.Label
	}
	return c.refuseFor(g, where)
}

func (c *call) refuseFor(g access.Grant, where string) error {
	c.condense(c.denials)
	return refuse(http.StatusForbidden, "forbidden", "%s lacks the role %s %s", c.caller.Name, g.Role, where).
		with("WWW-Authenticate", fmt.Sprintf(`Bearer realm="postern", error="insufficient_scope", scope="postern:%s"`, g))
}

// address is where the caller is, as far as one who is blocked cannot choose another easily: of IPv6 it is the network.
func (c *call) address() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return "socket"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().Is4() {
		return host
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

// from is where the caller is, for the audit log.
func (c *call) from() string {
	if c.bySocket() {
		return "socket"
	}
	return c.r.RemoteAddr
}
