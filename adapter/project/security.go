package project

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// defaultScheme is what the scheme of an API is called that names none: a JWT is required.
const defaultScheme = "jwt"

// scopeToken is what RFC 6749 §3.3 lets a scope be.
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)

// security says who may call an operation.
func (d *definition) security(p place) model.Security {
	if d.disabled(p) {
		return model.Security{Disabled: true}
	}
	out := model.Security{Alternatives: d.alternatives(p)}
	for i := range out.Alternatives {
		d.complete(&out.Alternatives[i], p)
	}
	if n, _ := p.inner("x-postern-forward-credentials"); n != nil {
		out.ForwardCredentials = n.isTrue()
	}
	if n, _ := p.inner("x-postern-identity-headers"); n != nil {
		out.IdentityHeaders = d.identityHeaders(n)
	}
	return out
}

// disabled says whether the innermost level that speaks of it switches authentication off.
func (d *definition) disabled(p place) bool {
	for _, l := range p.levels() {
		off, kind := l.at("x-wso2-disable-security"), l.at("x-auth-type")
		if off == nil && kind == nil {
			continue
		}
		none := strings.EqualFold(kind.text(), "None")
		if kind != nil && !none && !slices.Contains(authTypes, strings.ToLower(kind.value)) {
			d.warn(kind.at(), "unknown-value", "%q is not an x-auth-type; it is read as secured", kind.value)
		}
		if off != nil && kind != nil && off.isTrue() != none {
			d.warn(kind.keyAt(), "conflicting-extensions", "x-auth-type and x-wso2-disable-security disagree here; security stays on")
			return false
		}
		if !off.isTrue() && !none {
			return false
		}
		if own := p.operation.get("security"); len(own.items()) > 0 && l.level != atOperation {
			d.warn(own.keyAt(), "security-disabled", "what is asked for here is switched off at %s; remove one of them", cmp.Or(off, kind).keyAt())
		}
		return true
	}
	return false
}

// authTypes are API Manager's words for "secured", beside "None".
var authTypes = []string{"none", "application", "application user", "application & application user", "any"}

// alternatives are what the operation's security requirements say, else the API's, else that a JWT is required.
// Each list is read once.
func (d *definition) alternatives(p place) []model.Alternative {
	list := p.operation.get("security")
	if list == nil {
		list = d.root.get("security")
	}
	read, known := d.required[list]
	if !known {
		read = d.requirements(list)
		d.required[list] = read
	}
	read = d.applicationSecurity(p, read)
	out := make([]model.Alternative, len(read)) // a copy: what follows differs by operation
	for i, a := range read {
		out[i].Requirements = slices.Clone(a.Requirements)
	}
	return out
}

func (d *definition) requirements(n *node) []model.Alternative {
	if n == nil {
		return []model.Alternative{bearerRequired()}
	}
	if !d.is(n, "security", list) {
		return nil
	}
	if len(n.members) == 0 {
		return []model.Alternative{{}} // OpenAPI: an empty list asks for nothing
	}
	var out []model.Alternative
	var without []unserved
	refused := false
	for _, entry := range n.members {
		if !d.is(entry, "a security requirement", object) {
			refused = true
			continue
		}
		a, missing, ok := d.alternative(entry)
		refused = refused || !ok
		without = append(without, missing...)
		if len(missing) == 0 && ok {
			out = append(out, a)
		}
	}
	if len(out) == 0 && !refused {
		d.refuse(n.keyAt(), "no-security", "nobody could call: this build does not serve %s, and there is no other way to authenticate here; add a bearer, oauth2 or openIdConnect scheme, or write x-wso2-disable-security: true to let everybody in", ways(without))
		return nil
	}
	for _, u := range without {
		d.warn(u.at, "not-served", "this build does not serve %s; this alternative lets nobody in", u.way)
	}
	return out
}

// unserved is a way to authenticate that this build does not serve.
type unserved struct {
	at  model.Origin
	way string
}

// ways lists them for a sentence, each once.
func ways(all []unserved) string {
	var words []string
	for _, u := range all {
		if !slices.Contains(words, u.way) {
			words = append(words, u.way)
		}
	}
	return strings.Join(words, " or ")
}

func bearerRequired() model.Alternative {
	return model.Alternative{Requirements: []model.Requirement{{Scheme: bearer(defaultScheme)}}}
}

func bearer(name string) model.Scheme { return model.Scheme{Name: name, Kind: model.Bearer} }

// alternative reads one entry: all its schemes hold together. Missing are those that this build cannot check.
func (d *definition) alternative(entry *node) (a model.Alternative, missing []unserved, ok bool) {
	ok = true
	for _, m := range entry.members {
		scheme, why, known := d.scheme(m)
		switch {
		case !known:
			ok = false
		case why != "":
			missing = append(missing, unserved{m.keyAt(), why})
		}
		scopes := d.scopes(m)
		a.Requirements = append(a.Requirements, model.Requirement{Scheme: scheme, Scopes: scopes})
	}
	slices.SortFunc(a.Requirements, func(x, y model.Requirement) int { return strings.Compare(x.Scheme.Name, y.Scheme.Name) })
	return a, missing, ok
}

// scopes are sorted, each once.
func (d *definition) scopes(n *node) []string {
	if n.kind == null {
		return nil
	}
	d.strings(n, "scopes")
	scopes := d.uniqueStrings(n)
	for _, s := range scopes {
		if !scopeToken.MatchString(s) {
			d.refuse(n.at(), "bad-scope", "%q cannot be a scope (RFC 6749): no token could ever hold it; remove blanks and quotes", s)
		}
	}
	return scopes
}

// scheme finds the security scheme that m names. Why says what it is, if this build does not serve it.
func (d *definition) scheme(m *node) (scheme model.Scheme, why string, known bool) {
	where, declared := "components/securitySchemes", d.root.get("components").get("securitySchemes")
	if d.swagger2 {
		where, declared = "securityDefinitions", d.root.get("securityDefinitions")
	}
	n := declared.get(m.key)
	if n == nil {
		d.refuse(m.keyAt(), "unknown-scheme", "no security scheme is called %q%s; declare it under %s", m.key, didYouMean(m.key, declared.keys()), where)
		return scheme, "", false
	}
	n, err := d.documents.deref(n)
	if err != nil {
		d.add(d.file, err)
		return scheme, "", false
	}
	if !d.is(n, "a security scheme", object) {
		return scheme, "", false
	}
	switch kind := n.get("type").scalar(); {
	case kind == "":
		d.refuse(n.at(), "unknown-scheme", "type is missing, which says what security scheme this is; write http, oauth2 or openIdConnect")
		return scheme, "", false
	case kind == "oauth2", kind == "openIdConnect":
	case kind == "http" && strings.EqualFold(n.get("scheme").scalar(), "bearer"):
	case kind == "http":
		return scheme, "HTTP " + n.get("scheme").scalar() + " authentication", true
	case kind == "basic":
		return scheme, "HTTP basic authentication", true
	case kind == "apiKey" && strings.EqualFold(n.get("name").scalar(), "authorization"):
		return scheme, "API keys (if a JWT is meant, declare an oauth2 scheme)", true
	case kind == "apiKey":
		return scheme, "API keys", true
	case kind == "mutualTLS":
		return scheme, "client certificates", true
	default:
		d.refuse(n.at(), "unknown-scheme", "%q is no type of security scheme; write http, oauth2 or openIdConnect", kind)
		return scheme, "", false
	}
	return bearer(m.key), "", true
}

// applicationSecurity lays x-wso2-application-security over what OpenAPI's words say. Only oauth2 is served, which
// leaves those of the alternatives that ask for a token.
func (d *definition) applicationSecurity(p place, read []model.Alternative) []model.Alternative {
	n, _ := p.inner("x-wso2-application-security")
	if n == nil {
		return read
	}
	if v := n.get("optional"); v != nil && (v.kind != boolean || v.isTrue()) {
		d.refuse(v.at(), "not-served", "this build asks no client for a certificate, so authentication cannot be optional beside one; write optional: false")
	}
	d.onlyMembersWarn(n, n.key, "security-types", "optional")
	types := n.get("security-types")
	for _, word := range d.strings(types, "security-types") {
		if word != "oauth2" {
			d.refuse(types.at(), "not-served", "this build does not serve %q here; leave oauth2 only", word)
		}
	}
	out := slices.DeleteFunc(slices.Clone(read), func(a model.Alternative) bool { return len(a.Requirements) == 0 })
	if len(out) == 0 {
		return []model.Alternative{bearerRequired()}
	}
	return out
}

// complete fills in where the credentials stand, and whether one scope is enough.
func (d *definition) complete(a *model.Alternative, p place) {
	in, key := "header", "authorization"
	if n := d.api().at("x-wso2-auth-header"); n != nil {
		key = d.clientHeader(n)
	}
	if n, _ := p.inner("x-postern-token"); n != nil {
		in, key = d.token(n)
	}
	anyScope := false
	if n, _ := p.inner("x-postern-scopes"); n != nil {
		anyScope = n.value == "any"
		if n.value != "any" && n.value != "all" {
			d.refuse(n.at(), "bad-value", "x-postern-scopes is all or any, not %q", n.value)
		}
	}
	for i := range a.Requirements {
		r := &a.Requirements[i]
		r.Scheme.In, r.Scheme.Key = in, key
		r.AnyScope = anyScope && len(r.Scopes) > 1
	}
}

// token reads x-postern-token: {in: header|cookie|query, name}.
func (d *definition) token(n *node) (in, key string) {
	d.onlyMembers(n, "x-postern-token", "in", "name")
	in, key = n.get("in").text(), n.get("name").text()
	if !slices.Contains([]string{"header", "cookie", "query"}, in) {
		d.refuse(n.at(), "bad-value", "x-postern-token needs in: header, cookie or query")
	}
	switch {
	case key == "":
		d.refuse(n.at(), "bad-value", "x-postern-token needs name: what the header, cookie or parameter is called")
	case in == "header":
		key = d.clientHeader(n.get("name"))
	case in == "cookie" && !httpToken.MatchString(key):
		d.refuse(n.get("name").at(), "bad-value", "%q cannot be a cookie's name", key)
	}
	return in, key
}

// httpToken is RFC 9110's token, what names of headers and cookies are made of.
var httpToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// headersOfOthers mean something to HTTP itself or to the gateway, so that nothing else can be carried in them.
var headersOfOthers = []string{
	"host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade", "expect",
	"keep-alive", "proxy-connection", "x-request-id", "x-forwarded-for", "x-forwarded-proto",
}

// headerName reads the name of a header, in lower case.
func (d *definition) headerName(n *node) string {
	name := strings.ToLower(n.value)
	switch {
	case !httpToken.MatchString(name):
		d.refuse(n.at(), "bad-header", "%q cannot be the name of a header", n.value)
	case slices.Contains(headersOfOthers, name) || strings.HasPrefix(name, "x-envoy-"):
		d.refuse(n.at(), "bad-header", "%s has a meaning of its own; choose another header", n.value)
	}
	return name
}

// clientHeader reads the name of a header that clients send.
func (d *definition) clientHeader(n *node) string {
	name := d.headerName(n)
	if strings.HasPrefix(name, "x-postern-") {
		d.refuse(n.at(), "bad-header", "%s never arrives: the gateway removes what clients send under x-postern-; choose another header", name)
	}
	return name
}

// gatewayHeaders are written by the enforcer for every caller.
var gatewayHeaders = []string{"x-postern-subject", "x-postern-scopes", "x-postern-client", "x-postern-scope"}

// identityHeaders reads claim → header.
func (d *definition) identityHeaders(n *node) map[string]string {
	out, claims := map[string]string{}, map[string]string{}
	for _, m := range n.members {
		if !d.is(m, "a header's name", text) {
			continue
		}
		header := d.headerName(m)
		switch {
		case slices.Contains(gatewayHeaders, header) || header == "authorization":
			d.refuse(m.at(), "bad-header", "%s is written by the gateway itself; choose another header", header)
		case claims[header] != "":
			d.refuse(m.at(), "bad-header", "the claims %q and %q cannot both be told in %s", claims[header], m.key, header)
		}
		claims[header] = m.key
		out[m.key] = header
	}
	return out
}
