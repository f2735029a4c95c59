package git

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// overHTTP serves the repositories in a folder as web servers do, by git's own CGI program.
func overHTTP(t *testing.T, r *fixture.Repository) http.Handler {
	t.Helper()
	backend := filepath.Join(r.Git(r.Dir, "--exec-path"), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Fatalf("git has no http-backend: %v", err)
	}
	return &cgi.Handler{Path: backend, Stderr: io.Discard, Env: []string{"GIT_PROJECT_ROOT=" + r.Dir, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + r.Dir}}
}

// letIn answers those who come as git with the token.
func letIn(token string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name != "git" || password != token {
			w.Header().Set("WWW-Authenticate", "Basic")
			// why: some servers repeat what they were told
			http.Error(w, "no: "+password+" "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	server := httptest.NewUnstartedServer(letIn("hunter2", overHTTP(t, r)))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(r.Dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{URL: server.URL + "/apis.git", Token: "hunter2", CA: ca}
	s := newSubject(t, o)
	s.serves(first)
	for range 20 {
		r.Git(r.Work, "commit", "-q", "--allow-empty", "-m", "one of many")
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "2"}))
	s.reads("project.yaml", "2")
	r.Git(r.Work, "reset", "-q", "--hard", first)
	r.Push()
	s.fails("was rewritten")

	o.Patience = 10 * time.Millisecond
	other := newSubject(t, Options{URL: o.URL, CA: ca, Token: "hunter3", Patience: o.Patience})
	other.fails("does not let this username and token in (401 Unauthorized)", "no: [redacted] Basic [redacted]")
	other = newSubject(t, Options{URL: o.URL, CA: ca, Patience: o.Patience})
	other.fails("the server asks who this is (401 Unauthorized); configure token")
	other = newSubject(t, Options{URL: o.URL, Token: "hunter2", Patience: o.Patience})
	other.fails("certificate signed by unknown authority")
	other = newSubject(t, Options{URL: server.URL + "/none.git", Token: "hunter2", CA: ca, Patience: o.Patience})
	other.fails("404")
	if said := s.log.String() + other.log.String(); strings.Contains(said, "hunter2") {
		t.Errorf("the token is told:\n%s", said)
	}
	if _, err := New(Options{URL: o.URL, CA: filepath.Join(r.Work, "project.yaml")}); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("a file of something else is taken as the CA: %v", err)
	}
}

// TestPartialFetch: where the server can, only commits are fetched to see what came after what.
func TestPartialFetch(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	r.Git(r.Bare, "config", "uploadpack.allowFilter", "true")
	first := r.Commit(map[string]string{"project.yaml": "1"})
	filtered := make(chan bool, 100)
	backend := overHTTP(t, r)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPost {
			body := new(strings.Builder)
			q.Body = tee(q.Body, body)
			backend.ServeHTTP(w, q)
			filtered <- strings.Contains(body.String(), "filter tree:0")
			return
		}
		backend.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	s := newSubject(t, Options{URL: server.URL + "/apis.git/"})
	s.serves(first)
	for range 40 {
		r.Git(r.Work, "commit", "-q", "--allow-empty", "-m", "one of many")
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "2"}))
	asked := func() string {
		var all []string
		for len(filtered) > 0 {
			all = append(all, map[bool]string{true: "commits", false: "all"}[<-filtered])
		}
		return strings.Join(all, " ")
	}
	if got := asked(); got != "all all commits commits" { // two commits whole, one step and another back
		t.Errorf("asked for %s", got)
	}
	s.stop()
	s.options.Depth = 50
	s.start()
	for range 40 {
		r.Git(r.Work, "commit", "-q", "--allow-empty", "-m", "one of many")
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "3"}))
	if got := asked(); got != "all" {
		t.Errorf("asked for %s, of a depth that is enough", got)
	}
}

func TestServersThatSendElsewhere(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	head := r.Commit(map[string]string{"project.yaml": "1"})
	backend := overHTTP(t, r)
	var others []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		others = append(others, q.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.HasPrefix(q.URL.Path, "/old/"):
			http.Redirect(w, q, "/apis.git"+strings.TrimPrefix(q.URL.Path, "/old")+"?"+q.URL.RawQuery, http.StatusMovedPermanently)
		case strings.HasPrefix(q.URL.Path, "/elsewhere/"):
			http.Redirect(w, q, other.URL+"/apis.git/info/refs?service=git-upload-pack", http.StatusFound)
		case strings.HasPrefix(q.URL.Path, "/circle/"):
			http.Redirect(w, q, q.URL.String(), http.StatusFound)
		case strings.HasPrefix(q.URL.Path, "/page/"):
			_, _ = w.Write([]byte("<html>"))
		case strings.HasPrefix(q.URL.Path, "/broken/"):
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = w.Write([]byte("zzzz"))
		case strings.HasPrefix(q.URL.Path, "/sick/"):
			http.Error(w, strings.Repeat("x ", 10_000), http.StatusBadGateway)
		default:
			backend.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	s := newSubject(t, Options{URL: server.URL + "/old"})
	s.serves(head)
	for path, words := range map[string]string{
		"/elsewhere": "the server sends elsewhere, to " + other.URL + "/apis.git; if that is right, write it as the url",
		"/circle":    "in circles", "/page": "not as git does", "/broken": "cannot be read", "/sick": "502",
	} {
		s := newSubject(t, Options{URL: server.URL + path, Token: "hunter2", Patience: 10 * time.Millisecond})
		s.fails(words)
		if n := len(s.Status().Err.Error()); n > 1600 {
			t.Errorf("%s: %d bytes of words", path, n)
		}
	}
	if len(others) > 0 {
		t.Errorf("another server was told %q", others)
	}
}
