//go:build compose

package compose

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// acceptance is what `make run` shows, asked of the parts.
func (s *stack) acceptance(address string, client *http.Client) {
	t := s.t
	api := address + "/petstore/1.0.0"
	ask := func(method, path, token string) answer {
		t.Helper()
		a, err := call(client, method, api+path, token)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return a
	}
	for _, c := range []struct {
		method, path, token string
		status              int
		code, header, value string
	}{
		{http.MethodGet, "/pet/1", s.token, 200, "", "X-Ratelimit-Limit", "1000"},
		{http.MethodGet, "/pet/1", "", 401, "900902", "Www-Authenticate", ""},
		{http.MethodGet, "/pet/1", s.token + "x", 401, "900901", "Www-Authenticate", ""},
		{http.MethodDelete, "/pet/1", s.token, 403, "900910", "", ""},
		{http.MethodGet, "/nothing", "", 404, "900906", "", ""},
		{http.MethodPatch, "/pet/1", "", 405, "900405", "Allow", "DELETE, GET, HEAD"},
	} {
		a := ask(c.method, c.path, c.token)
		if a.status != c.status || a.problem() != c.code {
			t.Errorf("%s %s: want %d %s, got %s", c.method, c.path, c.status, c.code, a)
		}
		if got := a.header.Get(c.header); c.header != "" && (got == "" || c.value != "" && got != c.value) {
			t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, c.header, got, c.value)
		}
		if c.status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: no problem: %s", c.method, c.path, a)
		}
	}
	last := answer{}
	for i := 0; i < 22 && last.status != 429; i++ { // a minute may end after the tenth
		last = ask(http.MethodGet, "/store/inventory", "")
	}
	if last.status != 429 || last.problem() != "900802" || last.header.Get("Retry-After") == "" {
		t.Errorf("the eleventh in a minute: want 429 900802 with Retry-After, got %s", last)
	}
	s.withoutBackend(func() {
		if a := ask(http.MethodGet, "/pet/1", s.token); a.status != 503 || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("no backend: want 503, got %s", a)
		}
	})
	eventually(t, "the backend is back", patient, func() bool { return ask(http.MethodGet, "/pet/1", s.token).status == 200 })
}

func (s *stack) withoutBackend(do func()) {
	s.t.Helper()
	s.compose("stop", "--timeout", "3", "backend")
	do()
	s.compose("start", "backend")
}

// edits of a mounted project are served, and a broken one is reported while the last good one stays.
func (s *stack) edits() {
	t, client := s.t, s.client(nil)
	defer client.CloseIdleConnections()
	file := filepath.Join(s.load, "api_definitions", "load.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(path string, status int) func() bool {
		return func() bool {
			a, err := call(client, http.MethodGet, plain+path, "")
			return err == nil && a.status == status
		}
	}
	eventually(t, "the project is served", patient, answers("/load/open", 200))
	write(strings.Replace(string(before), "  /open:", "  /edited:", 1))
	took := eventually(t, "an edit is served", 10*time.Second, answers("/load/edited", 200))
	t.Logf("an edit is served after %s", took.Round(10*time.Millisecond))
	write("paths: [")
	eventually(t, "a mistake is told", 10*time.Second, func() bool {
		return strings.Contains(s.words("compose", s.files("logs", "--no-color", "adapter")...), "load.yaml:")
	})
	if !answers("/load/edited", 200)() {
		t.Error("after a mistake the last good version is not served")
	}
	write(string(before))
	eventually(t, "the project is mended", 10*time.Second, answers("/load/open", 200))
}
