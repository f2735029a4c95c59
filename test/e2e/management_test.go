package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/test/fixture"
)

// archive is a project as a zip.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ask calls the management API with a token; a body is a zip, or JSON if it looks like it.
func (g *gateway) ask(token, method, path, body string, headers ...string) (status int, header http.Header, answer map[string]any) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.management+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Content-Type", "application/zip")
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil && response.StatusCode != http.StatusNotModified {
		g.t.Fatalf("%s %s: %d: %v", method, path, response.StatusCode, err)
	}
	return response.StatusCode, response.Header, answer
}

// TestManagement pushes, changes, rolls back and undeploys a project by HTTP, and calls its API through Envoy each time.
func TestManagement(t *testing.T) {
	t.Parallel()
	b := backend(t)
	g := launchRun(t, nil)
	g.ready()
	data := g.dataDir
	text, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	admin := strings.TrimSpace(string(text))
	push := func(base string) string {
		return archive(t, map[string]string{"project.yaml": "name: shop\n", "api_definitions/hello.yaml": definition("Hello", base, b.URL)})
	}

	if status, _, a := g.ask("", "GET", "/api/v1/projects", ""); status != 401 || a["code"] != "unauthenticated" {
		t.Errorf("without a token: %d %v", status, a)
	}
	status, header, a := g.ask(admin, "PUT", "/api/v1/projects/shop", push("/one"), "If-None-Match", "*")
	if status != 201 || a["committed"] != true || header.Get("ETag") != `"1"` {
		t.Fatalf("push: %d %v", status, a)
	}
	if a := g.get("GET", "/one/hello", ""); a.status != 200 {
		t.Errorf("pushed: %d %s", a.status, a.body)
	}
	if status, _, a := g.ask(admin, "PUT", "/api/v1/projects/shop", push("/one")); status != 200 || a["unchanged"] != true || a["revision"] != 1.0 {
		t.Errorf("the same again: %d %v", status, a)
	}
	if status, _, a := g.ask(admin, "PUT", "/api/v1/projects/shop", push("/two"), "If-Match", `"9"`); status != 412 || a["code"] != "outdated" {
		t.Errorf("outdated: %d %v", status, a)
	}
	if status, _, a := g.ask(admin, "PUT", "/api/v1/projects/shop?wait=20s", push("/two"), "If-Match", `"1"`); status != 200 || a["revision"] != 2.0 {
		t.Errorf("change: %d %v", status, a)
	}
	if one, two := g.get("GET", "/one/hello", ""), g.get("GET", "/two/hello", ""); one.status != 404 || two.status != 200 {
		t.Errorf("changed: %d, %d", one.status, two.status)
	}
	status, _, a = g.ask(admin, "PUT", "/api/v1/projects/shop", archive(t, map[string]string{"api_definitions/hello.yaml": "openapi: 3.0.3\ninfo: 7\n"}))
	if problems, ok := a["problems"].([]any); status != 422 || !ok || len(problems) == 0 || problems[0].(map[string]any)["line"] == nil {
		t.Errorf("a bad one: %d %v", status, a)
	}
	if status, _, a := g.ask(admin, "POST", "/api/v1/projects/shop/diff", push("/three")); status != 200 || a["breaking"] != true {
		t.Errorf("diff: %d %v", status, a)
	}
	if status, header, _ := g.ask(admin, "GET", "/api/v1/projects/shop/archive", "", "If-None-Match", `"2"`); status != 304 || header.Get("ETag") != `"2"` {
		t.Errorf("known: %d", status)
	}
	if status, _, a := g.ask(admin, "POST", "/api/v1/projects/shop/rollback", `{"revision": 1}`); status != 200 || a["revision"] != 3.0 {
		t.Errorf("rollback: %d %v", status, a)
	}
	if a := g.get("GET", "/one/hello", ""); a.status != 200 {
		t.Errorf("rolled back: %d", a.status)
	}
	if status, _, a := g.ask(admin, "POST", "/api/v1/explain", `{"url": "/one/hello"}`); status != 200 || a["api"] != "hello/1" || a["project"] != "shop" {
		t.Errorf("explain: %d %v", status, a)
	}
	if status, _, a := g.ask(admin, "GET", "/api/v1/gateways", ""); status != 200 || len(a["gateways"].([]any)) < 3 {
		t.Errorf("gateways: %d %v", status, a)
	}
	if status, _, a := g.ask(admin, "GET", "/api/v1/apis/hello/1", ""); status != 200 || a["state"] != "live" {
		t.Errorf("api: %d %v", status, a)
	}

	status, header, a = g.ask(admin, "DELETE", "/api/v1/projects/shop?wait=0", "")
	if status != 202 {
		t.Fatalf("undeploy: %d %v", status, a)
	}
	fixture.WaitFor(t, "the end of the rollout", func() bool {
		_, _, a := g.ask(admin, "GET", header.Get("Location"), "")
		return a["state"] == "committed"
	})
	if a := g.get("GET", "/one/hello", ""); a.status != 404 {
		t.Errorf("undeployed: %d", a.status)
	}
	if status, _, a := g.ask(admin, "GET", "/api/v1/projects/shop/revisions", ""); status != 200 || len(a["revisions"].([]any)) != 4 {
		t.Errorf("revisions: %d %v", status, a)
	}
	g.managedBy(t, data, admin, push("/four"))
}

// managedBy: tokens that are made while it runs, the socket without one, and what was written down.
func (g *gateway) managedBy(t *testing.T, data, admin, project string) {
	t.Helper()
	out, err := command(t, data, "tokens", "create", "partner", "--role", "deployer/partner").Output()
	if err != nil {
		t.Fatal(err)
	}
	partner := strings.TrimSpace(string(out))
	fixture.WaitFor(t, "the new token", func() bool {
		status, _, _ := g.ask(partner, "GET", "/api/v1/whoami", "")
		return status == 200
	})
	if status, _, a := g.ask(partner, "PUT", "/api/v1/projects/shop", project); status != 403 || !strings.Contains(a["detail"].(string), "deployer for the label default") {
		t.Errorf("a deployer of another label: %d %v", status, a)
	}
	sockets, _ := filepath.Glob(filepath.Join(data, "*health.sock"))
	if len(sockets) != 1 {
		t.Fatalf("sockets: %v", sockets)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sockets[0])
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://localhost/api/v1/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), `"by":"socket"`) {
		t.Errorf("by the socket: %s", body)
	}
	if out, err := command(t, data, "tokens", "revoke", "partner").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fixture.WaitFor(t, "the revocation", func() bool {
		status, _, _ := g.ask(partner, "GET", "/api/v1/whoami", "")
		return status == 401
	})
	fixture.WaitFor(t, "the audit log", func() bool {
		text, err := os.ReadFile(filepath.Join(data, "audit.log"))
		return err == nil && strings.Contains(string(text), `"what":"rollBackProject","project":"shop","revision":3`) &&
			strings.Contains(string(text), `"what":"deleteProject","project":"shop","revision":4`) && strings.Contains(string(text), `"outcome":"committed"`) && strings.Contains(string(text), `"code":"forbidden"`)
	})
	for _, name := range []string{"audit.log", "tokens.yaml", "admin.token"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(data, "audit.log"))
	if err != nil || bytes.Contains(text, []byte(admin)) || bytes.Contains(text, []byte(partner)) || strings.Contains(g.stderr.String(), admin) {
		t.Errorf("a token is in a log: %v", err)
	}
	if err := os.WriteFile(filepath.Join(data, "tokens.yaml"), []byte("tokens: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "word of the broken tokens file", func() bool {
		return strings.Contains(readyz(g.management), "the tokens file cannot be used") && strings.Contains(g.metrics(), "postern_tokens_stale 1")
	})
	if status, _, _ := g.ask(admin, "GET", "/api/v1/whoami", ""); status != 200 {
		t.Errorf("a broken tokens file locks the admin out: %d", status)
	}
}
