// Package attack sends hostile requests through the whole gateway, with a real Envoy, and holds one rule: no request
// reaches the backend unless the policy of the very operation it is has said yes to the one who sent it. What is not
// refused is judged by what the backend saw. It imports nothing of the product.
package attack

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/gateway"
	"github.com/postern-gateway/postern/test/idp"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(gateway.Main(m, testing.Short))
}

// The API under attack. Where the backend's paths begin with "/b", the gateway's begin with "/a/1", and with "/a" as it is
// the default version. What an operation asks is in its first segment's name; "gone" asks for nothing, and is retired.
const definition = `
openapi: 3.1.0
info: {title: Target, version: 1.0.0}
servers: [{url: "http://%s/b"}]
security: [{token: [admin]}]
paths:
  /open:
    get: {security: [{}], responses: {"200": {description: anybody}}}
    post: {security: [{}], responses: {"200": {description: anybody}}}
  /open/{x}:
    get: {security: [{}], responses: {"200": {description: anybody}}}
  /reader/{x}:
    get: {security: [{token: [read]}], responses: {"200": {description: who may read}}}
    post: {security: [{token: [write]}], responses: {"200": {description: who may write}}}
  /admin:
    get: {responses: {"200": {description: who may do everything}}}
  /admin/*:
    get: {responses: {"200": {description: who may do everything}}}
    post: {responses: {"200": {description: who may do everything}}}
  /gone:
    x-postern-state: retired
    get: {security: [{}], responses: {"200": {description: nobody}}}
    post: {security: [{}], responses: {"200": {description: nobody}}}
  /gone/*:
    x-postern-sunset: 2020-01-01
    get: {security: [{}], responses: {"200": {description: nobody}}}
    post: {security: [{}], responses: {"200": {description: nobody}}}
  /mapped:
    get:
      security: [{token: [read]}]
      x-postern-identity-headers: {email: X-User-Email}
      responses: {"200": {description: who may read}}
components:
  securitySchemes:
    token: {type: http, scheme: bearer}
`

var escape = regexp.MustCompile(`%[0-9a-fA-F]{2}`)

// required is the scope that the backend's path asks for, "" for none. It reads the path as a forgiving server would:
// decoded, cleaned, whatever its case.
func required(method, raw string) (scope string, err error) {
	raw, _, _ = strings.Cut(raw, "?")
	decoded := escape.ReplaceAllStringFunc(raw, func(e string) string {
		text, _ := url.PathUnescape(e)
		return text
	})
	clean := strings.ToLower(path.Clean("/" + strings.ReplaceAll(decoded, `\`, "/")))
	rest, below := strings.CutPrefix(clean, "/b/")
	if !below {
		return "", errors.New("a path outside of the backend's own")
	}
	switch first, _, _ := strings.Cut(rest, "/"); first {
	case "open":
		return "", nil
	case "reader", "mapped":
		if method == http.MethodPost {
			return "write", nil
		}
		return "read", nil
	case "admin":
		return "admin", nil
	default:
		return "", errors.New("a path that no operation has")
	}
}

// caller is who sends an attack: what the gateway must believe of them, and nothing more.
type caller struct {
	token, subject string
	scopes         []string
}

// target is a running gateway with its backend and its issuer.
type target struct {
	t       *testing.T
	gateway *gateway.Gateway
	backend *backend
	issuer  *idp.Provider
	nobody  caller
	reader  caller
}

func start(t *testing.T) *target {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Envoy")
	}
	issuer := idp.New("RS256")
	t.Cleanup(issuer.Close)
	b := startBackend(t)
	g := gateway.Start(t, gateway.Options{
		Files: map[string]string{
			"api_definitions/target.yaml": fmt.Sprintf(definition, b.listener.Addr()),
			"project.yaml":                "definitions: {target.yaml: {version: 1, basePath: /a/1, default: true}}\n",
		},
		Config: fmt.Sprintf("issuers: [{issuer: %q, audiences: [gate], jwks: {uri: %q}}]\nlimitsOnRequests: {headerBytes: 32KiB, bodyBytes: 64KiB}\n",
			issuer.URL, issuer.JWKS()),
	})
	target := &target{t: t, gateway: g, backend: b, issuer: issuer}
	target.reader = caller{subject: "reader", scopes: []string{"read"}}
	target.reader.token = issuer.Token(idp.Claims{"sub": "reader", "aud": "gate", "scope": "read", "azp": "shop", "email": "r@example.com"})
	return target
}

// judge holds the rule over every request that reached the backend since it was last asked.
func (g *target) judge(attack string, c caller) {
	g.t.Helper()
	for _, h := range g.backend.take() {
		if err := g.fault(h, c); err != nil {
			g.t.Errorf("%s: %v:\n%s", attack, err, h)
		}
	}
	if g.gateway.Exited() {
		g.t.Fatalf("%s: the gateway ended:\n%s", attack, g.gateway.Log())
	}
}

// unharmed: hostile input is the sender's mistake, never the server's failure. A transfer coding that nobody knows is
// answered with 501 (RFC 9112 §6.1).
func (g *target) unharmed(attack string, statuses []int) {
	g.t.Helper()
	for _, status := range statuses {
		if status >= 500 && status != http.StatusNotImplemented {
			g.t.Errorf("%s: that is a server's failure", attack)
		}
	}
}

// fault is what is wrong with a hit, given who caused it.
func (g *target) fault(h hit, c caller) error {
	scope, err := required(h.method, h.path)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"GET", "HEAD", "POST"}, h.method) {
		return errors.New("a method that no operation has")
	}
	if scope != "" && !slices.Contains(c.scopes, scope) {
		return fmt.Errorf("reached without the scope %s", scope)
	}
	if scope != "" && (h.value("x-postern-subject") != c.subject || h.value("x-postern-scopes") != strings.Join(c.scopes, " ")) {
		return errors.New("the backend was told somebody else")
	}
	if host := h.value("host"); host != g.backend.listener.Addr().String() {
		return fmt.Errorf("the host is %s", host)
	}
	for _, line := range h.headers {
		name, value, _ := strings.Cut(line, ": ")
		known := slices.Contains([]string{"x-postern-subject", "x-postern-scopes", "x-postern-client"}, name)
		if strings.HasPrefix(name, "x-postern") && (!known || scope == "") {
			return fmt.Errorf("%s reached the backend", name)
		}
		if strings.ContainsAny(name, "_ \t") || strings.Contains(value, "forged") && !passes(h, name) {
			return fmt.Errorf("%s: %s reached the backend", name, value)
		}
		if scope != "" && c.token != "" && strings.Contains(value, c.token) {
			return errors.New("the token reached the backend")
		}
	}
	return nil
}

// passes says whether a header of the client's own is none of the gateway's business: a credential where none is
// asked for, and a header that a claim is mapped to elsewhere.
func passes(h hit, name string) bool {
	return name == "authorization" && strings.HasPrefix(h.path, "/b/open") || name == "x-user-email" && !strings.HasPrefix(h.path, "/b/mapped")
}

// raw sends bytes on a connection of their own and returns the statuses of all answers, in order. It reads until the
// gateway closes or says nothing more.
func (g *target) raw(request string) []int {
	g.t.Helper()
	connection, err := net.Dial("tcp", g.gateway.Address)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	go func() { _, _ = io.WriteString(connection, request) }() // it may be closed under our hands
	var statuses []int
	in := bufio.NewReader(connection)
	method, _, _ := strings.Cut(request, " ")
	for {
		// why: a first answer is sure to come; whether more follow shows in a moment or not at all
		patience := 2 * time.Second
		if len(statuses) > 0 {
			patience = 50 * time.Millisecond
		}
		_ = connection.SetReadDeadline(time.Now().Add(patience))
		response, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return statuses
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		statuses = append(statuses, response.StatusCode)
		method = "GET" // of what follows
		if err != nil || response.Close {
			return statuses
		}
	}
}

// request is a plain request with more header lines and a path nobody touches.
func request(method, target string, c caller, lines ...string) string {
	all := []string{method + " " + target + " HTTP/1.1", "Host: gate.example"}
	if c.token != "" {
		all = append(all, "Authorization: Bearer "+c.token)
	}
	return strings.Join(append(append(all, lines...), "Connection: close", "", ""), "\r\n")
}

// TestControl shows that the rule can be broken only by those it is meant for: what is allowed does reach the backend,
// and the judge sees what would be wrong.
func TestControl(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, c := range []struct {
		method, path string
		who          caller
		status       int
	}{
		{"GET", "/a/1/open", g.nobody, 200},
		{"GET", "/a/1/open/x", g.nobody, 200},
		{"GET", "/a/1/reader/x", g.nobody, 401},
		{"GET", "/a/1/reader/x", g.reader, 200},
		{"POST", "/a/1/reader/x", g.reader, 403},
		{"GET", "/a/1/admin", g.reader, 403},
		{"GET", "/a/1/admin/x/y", g.reader, 403},
		{"GET", "/a/1/nothing", g.reader, 404},
		{"PUT", "/a/1/open", g.nobody, 405},
		{"GET", "/elsewhere", g.nobody, 404},
		{"GET", "/a/open", g.nobody, 200},
		{"GET", "/a/reader/x", g.nobody, 401},
		{"GET", "/a/reader/x", g.reader, 200},
		{"GET", "/a/admin", g.reader, 403},
		{"GET", "/a/2/open", g.reader, 404},
		{"GET", "/a/1/gone", g.nobody, 410},
		{"HEAD", "/a/gone/", g.reader, 410},
		{"POST", "/a/1/gone/x", g.nobody, 410},
		{"PUT", "/a/gone/x", g.nobody, 405},
	} {
		statuses := g.raw(request(c.method, c.path, c.who))
		if !slices.Equal(statuses, []int{c.status}) {
			t.Errorf("%s %s: %v, want %d", c.method, c.path, statuses, c.status)
		}
		hits := g.backend.take()
		if reached := len(hits) == 1; reached != (c.status == 200) {
			t.Errorf("%s %s: %d, and %d hits", c.method, c.path, c.status, len(hits))
		}
		for _, h := range hits {
			if err := g.fault(h, c.who); err != nil {
				t.Errorf("%s %s: %v\n%s", c.method, c.path, err, h)
			}
		}
	}
	fine := hit{"GET", "/b/reader/x", []string{"host: " + g.backend.listener.Addr().String(), "x-postern-subject: reader", "x-postern-scopes: read"}, ""}
	if err := g.fault(fine, g.reader); err != nil {
		t.Errorf("%v:\n%s", err, fine)
	}
	for _, bad := range []hit{
		{"GET", "/b/admin", fine.headers, ""},
		{"GET", "/b/open/%2e%2e/admin", fine.headers, ""},
		{"GET", "/c", fine.headers, ""},
		{"DELETE", "/b/reader/x", fine.headers, ""},
		{"GET", "/b/reader/x", fine.headers[:2], ""},
		{"GET", "/b/reader/x", append(fine.headers[:3:3], "x-postern-scope: /a"), ""},
		{"GET", "/b/mapped", append(fine.headers[:3:3], "x-user-email: forged"), ""},
		{"GET", "/b/reader/x", append(fine.headers[:3:3], "authorization: Bearer "+g.reader.token), ""},
	} {
		if g.fault(bad, g.reader) == nil {
			t.Errorf("the judge sees nothing wrong in:\n%s", bad)
		}
	}
}
