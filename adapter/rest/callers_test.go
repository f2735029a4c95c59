package rest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/internal/jwt"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/idp"
)

// TestRoles: every operation with every role, and the answer names what is missing.
func TestRoles(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Failures = rest.Rate{PerSecond: 1, Burst: 1000} })
	rank := map[string]int{"nobody": 0, "viewer": 1, "deployer": 2, "admin": 3}
	for _, o := range rest.Operations() {
		path := strings.NewReplacer("{name}", "shop", "{version}", "1", "{id}", "r1").Replace(o.Path)
		body := map[string]string{"putProject": body, "diffProject": body, "rollBackProject": `{"revision": 6}`, "explainRequest": `{"url": "/a"}`}[o.Name]
		for _, who := range []string{"viewer", "deployer", "admin"} {
			a := l.ask(who, o.Method, path, body)
			if allowed := rank[who] >= rank[o.Role]; allowed == (a.StatusCode == http.StatusForbidden) {
				t.Errorf("%s as %s: %d %s", o.Name, who, a.StatusCode, a.body)
			}
			if a.StatusCode == http.StatusForbidden && (!strings.Contains(string(a.body), "lacks the role "+o.Role) || a.Header.Get("WWW-Authenticate") == "") {
				t.Errorf("%s as %s: %s", o.Name, who, a.body)
			}
		}
		if a := l.ask("", o.Method, path, body); a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") != `Bearer realm="postern"` {
			t.Errorf("%s as a stranger: %d %s", o.Name, a.StatusCode, a.Header.Get("WWW-Authenticate"))
		}
	}
}

// TestLabels: a deployer of one label touches nothing of another, now or before.
func TestLabels(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, test := range []struct {
		labels []string
		lacks  string
	}{
		{[]string{"partner"}, ""},
		{[]string{"default"}, "default"},
		{[]string{"partner", "default"}, "default"},
		{[]string{"partner", "b", "a"}, "a"},
	} {
		l.gateway.mu.Lock()
		l.gateway.labels = test.labels
		l.gateway.mu.Unlock()
		for _, call := range [][3]string{
			{"PUT", "/projects/shop", body},
			{"DELETE", "/projects/shop", ""},
			{"POST", "/projects/shop/rollback", `{"revision": 6}`},
			{"POST", "/projects/shop/diff", body},
		} {
			a := l.ask("partner", call[0], call[1], call[2])
			if (a.StatusCode == http.StatusForbidden) != (test.lacks != "") {
				t.Errorf("%v %v: %d %s", test.labels, call, a.StatusCode, a.body)
			}
			if test.lacks != "" && !strings.Contains(string(a.body), "lacks the role deployer for the label "+test.lacks) {
				t.Errorf("%v %v: %s", test.labels, call, a.body)
			}
			if want := `Bearer realm="postern", error="insufficient_scope", scope="postern:deployer/` + test.lacks + `"`; test.lacks != "" && a.Header.Get("WWW-Authenticate") != want {
				t.Errorf("%s", a.Header.Get("WWW-Authenticate"))
			}
		}
	}
	l.gateway.projects = []adapter.ProjectInfo{shop()}
	l.gateway.rollouts = map[string]adapter.RolloutInfo{"shop": {ID: "shop", Project: "shop", Author: "ci"}}
	l.gateway.archives = map[uint64][]byte{7: []byte(body)}
	l.gateway.labels = []string{"default"}
	for _, path := range []string{"/projects/%s", "/projects/%s/archive", "/rollouts/%s"} { // what is not there looks as what is not his
		there, not := l.ask("guest", "GET", fmt.Sprintf(path, "shop"), ""), l.ask("guest", "GET", fmt.Sprintf(path, "none"), "")
		if there.StatusCode != http.StatusNotFound || strings.ReplaceAll(there.refusal(t).Detail, "shop", "none") != not.refusal(t).Detail {
			t.Errorf("a guest is told %s and %s", there.body, not.body)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	token := l.tokens["admin"]
	for header, want := range map[string]int{
		"Bearer " + token:                       200,
		"bearer " + token:                       200,
		"Bearer  " + token + " ":                200,
		"Bearer " + token + "x":                 401,
		"Bearer " + token[1:]:                   401,
		"Bearer":                                401,
		"Bearer a b":                            401,
		"Bearer a.b.c":                          401,
		"Basic YWRtaW46eA==":                    401,
		token:                                   401,
		"Bearer " + token + ", Bearer " + token: 401,
	} {
		a := l.ask("", "GET", "/whoami", "", "Authorization", header)
		if a.StatusCode != want {
			t.Errorf("%.20q: %d %s", header, a.StatusCode, a.body)
		}
		if want == 401 && a.Header.Get("WWW-Authenticate") != `Bearer realm="postern", error="invalid_token"` {
			t.Errorf("%.20q: %s", header, a.Header.Get("WWW-Authenticate"))
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", l.url+"/api/v1/whoami", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
	if a := l.send(r); a.StatusCode != 401 {
		t.Errorf("two headers: %d", a.StatusCode)
	}
	for _, name := range []string{"access_token", "token", "authorization"} {
		if a := l.ask("", "GET", "/whoami?"+name+"="+token, ""); a.StatusCode != 401 {
			t.Errorf("in the query: %d", a.StatusCode)
		}
		if a := l.ask("admin", "GET", "/whoami?"+name+"="+token, ""); a.StatusCode != 400 || strings.Contains(string(a.body), token) {
			t.Errorf("in the query: %d %s", a.StatusCode, a.body)
		}
	}
	l.close()
	for _, file := range []string{l.audit} {
		text, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(text), token) || strings.Contains(l.log.String(), token) {
			t.Errorf("a token is in a log: %v", err)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var who api.Caller
	l.ask("partner", "GET", "/whoami", "").into(t, &who)
	if diff := cmp.Diff(api.Caller{Name: "partner", By: api.Token, Roles: []string{"deployer/partner"}}, who); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJWT(t *testing.T) {
	t.Parallel()
	provider := idp.New("ES256")
	t.Cleanup(provider.Close)
	v := jwt.NewVerifier(jwt.Options{})
	issuer := &posternv1.Issuer{Issuer: provider.URL, Audiences: []string{"postern"}, ScopesClaim: "roles", Keys: &posternv1.Issuer_JwksUri{JwksUri: provider.JWKS()}}
	if err := v.Apply([]*posternv1.Issuer{issuer}, nil, true); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(o *rest.Options) {
		o.Issuers = v
		o.Limits.Failures = rest.Rate{PerSecond: 0.001, Burst: 6}
	})
	sign := func(change idp.Claims) string {
		claims := idp.Claims{"iss": provider.URL, "sub": "ann", "aud": "postern", "exp": time.Now().Unix() + 3600, "roles": []string{"openid", "postern:deployer/partner"}}
		for name, value := range change {
			claims[name] = value
		}
		return "Bearer " + provider.Key().Sign(claims, nil)
	}
	var who api.Caller
	good := sign(nil)
	l.ask("", "GET", "/whoami", "", "Authorization", good).into(t, &who)
	if diff := cmp.Diff(api.Caller{Name: "ann of " + provider.URL, By: api.Jwt, Roles: []string{"deployer/partner"}}, who); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.ask("", "GET", "/whoami", "", "Authorization", sign(idp.Claims{"roles": "openid postern:admin"})).into(t, &who)
	if diff := cmp.Diff([]string{"admin"}, who.Roles); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := l.ask("", "GET", "/gateways", "", "Authorization", sign(idp.Claims{"roles": "read"})); a.StatusCode != http.StatusForbidden {
		t.Errorf("no role: %d", a.StatusCode)
	}
	for name, token := range map[string]string{
		"audience": sign(idp.Claims{"aud": "shop"}), "no audience": sign(idp.Claims{"aud": nil}), "expired": sign(idp.Claims{"exp": 1}),
		"issuer": sign(idp.Claims{"iss": "https://elsewhere.example"}), "signature": good[:len(good)-4] + "AAAA",
	} {
		a := l.ask("", "GET", "/whoami", "", "Authorization", token)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	// Whoever tries on and on is not heard any more, not even with a good one: to look costs too much. Tokens of the file still are.
	l.ask("", "GET", "/whoami", "", "Authorization", "Bearer x")
	if a := l.ask("", "GET", "/whoami", "", "Authorization", sign(nil)); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "1000" {
		t.Errorf("%d %s %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
	}
	if a := l.ask("viewer", "GET", "/whoami", ""); a.StatusCode != http.StatusOK {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestIssuerIsAway(t *testing.T) {
	t.Parallel()
	provider := idp.New("ES256")
	t.Cleanup(provider.Close)
	provider.Down(true)
	v := jwt.NewVerifier(jwt.Options{})
	if err := v.Apply([]*posternv1.Issuer{{Issuer: provider.URL, Keys: &posternv1.Issuer_JwksUri{JwksUri: provider.JWKS()}}}, nil, true); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(o *rest.Options) { o.Issuers = v })
	token := provider.Key().Sign(idp.Claims{"iss": provider.URL, "exp": time.Now().Unix() + 3600}, nil)
	if a := l.ask("", "GET", "/whoami", "", "Authorization", "Bearer "+token); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	path := filepath.Join(fixture.TempDir(t), "m.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: l.handler} //nolint:gosec // a test's
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://localhost/api/v1/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var who api.Caller
	if err := json.NewDecoder(response.Body).Decode(&who); err != nil || who.By != api.Socket || who.Roles[0] != "admin" {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path, append(text, "certificates: [{name: ci, roles: [deployer/partner]}]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	// The register of this lab was opened before; one that follows would see it.
	l = reopened(t, l)
	ask := func(token string, uris ...string) answer {
		r := httptest.NewRequest("GET", "/api/v1/gateways", nil)
		c := &x509.Certificate{}
		for _, uri := range uris {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		l.handler.ServeHTTP(w, r)
		return answer{w.Result(), w.Body.Bytes()}
	}
	for name, test := range map[string]struct {
		token string
		uris  []string
		want  int
	}{
		"listed":                {"", []string{"postern://client/ci"}, 200},
		"not listed":            {"", []string{"postern://client/cj"}, 403},
		"another role":          {"", []string{"postern://envoy/ci"}, 403},
		"nobody":                {"", nil, 401},
		"a token beside it":     {l.tokens["viewer"], []string{"postern://client/cj"}, 200},
		"a bad token beside it": {"x", []string{"postern://client/ci"}, 401},
		"two identities in one": {"", []string{"postern://client/ci", "postern://client/cj"}, 401},
		"a token, and no name":  {l.tokens["viewer"], nil, 200},
		"limited to its label":  {"", []string{"postern://client/ci", "postern-label:x", "postern-label:partner"}, 200},
		"limited to another":    {"", []string{"postern://client/ci", "postern-label:x"}, 403},
	} {
		if a := ask(test.token, test.uris...); a.StatusCode != test.want {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}

// TestAudit: who changes something or is refused is written down, and who reads is not.
func TestAudit(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Failures = rest.Rate{PerSecond: 0.001, Burst: 2} })
	l.ask("deployer", "PUT", "/projects/shop", body)
	l.ask("deployer", "GET", "/gateways", "")
	l.ask("viewer", "DELETE", "/projects/shop", "")
	l.ask("deployer", "PUT", "/projects/shop?dry-run=true", body)
	l.ask("admin", "GET", "/backup", "")
	for range 10 {
		l.ask("", "GET", "/gateways", "", "Authorization", "Bearer wrong")
	}
	l.close()
	file, err := os.Open(l.audit)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var got []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Time.IsZero() || !strings.HasPrefix(e.ID, "urn:uuid:") || !strings.HasPrefix(e.From, "127.0.0.1:") {
			t.Errorf("%+v", e)
		}
		got = append(got, strings.Join(strings.Fields(strings.Join([]string{
			e.Who, e.By, e.Method, e.Path, e.What, e.Project, http.StatusText(e.Status), e.Code, e.Rollout, map[bool]string{true: "dry"}[e.DryRun],
		}, " ")), " "))
	}
	want := []string{
		"deployer token PUT /api/v1/projects/shop putProject shop Created r1",
		"viewer token DELETE /api/v1/projects/shop deleteProject shop Forbidden forbidden",
		"deployer token PUT /api/v1/projects/shop putProject shop OK r1 dry",
		"admin token GET /api/v1/backup getBackup OK",
		"GET /api/v1/gateways Unauthorized unauthenticated",
		"GET /api/v1/gateways Unauthorized unauthenticated",
		"GET /api/v1/gateways Too Many Requests too-many-requests",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
