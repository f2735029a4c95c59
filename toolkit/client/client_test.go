package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/rest/api"
)

// serve answers with what f does, and counts how often it was asked.
func serve(t *testing.T, f http.HandlerFunc) (*Client, *atomic.Int32) {
	t.Helper()
	asked := new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); f(w, r) }))
	t.Cleanup(s.Close)
	return ask(t, Options{Server: s.URL, Token: "ptk_secret"}), asked
}

func ask(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.sleep = func(context.Context, time.Duration) error { return nil }
	t.Cleanup(c.Close)
	return c
}

func refuse(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"type":"about:blank","title":"x","status":1,"instance":"x","code":"`+code+`","detail":"`+detail+`"}`)
}

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, text)
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return -1
}

func TestPushSaysWhatIsAsked(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.EscapedPath() != "/api/v1/projects/a~b" || r.Method != http.MethodPut || string(body) != "zip" || r.ContentLength != 3 ||
			r.URL.RawQuery != "dry-run=true&require=percent%3A80&wait=30s" || r.Header.Get("If-Match") != `"7"` ||
			r.Header.Get("Authorization") != "Bearer ptk_secret" || r.Header.Get("Content-Type") != "application/zip" {
			t.Errorf("%s %s %v %q", r.Method, r.URL, r.Header, body)
		}
		answer(w, `{"project":"a~b","revision":8,"committed":true,"later":"more"}`)
	})
	o, rollout, err := c.Put(t.Context(), "a~b", Bytes([]byte("zip")), Push{Wait: 30 * time.Second, Require: "percent:80", DryRun: true, Revision: 7})
	if err != nil || rollout != "" || o.Revision != 8 || !o.Committed {
		t.Errorf("%+v, %q, %v", o, rollout, err)
	}
}

// Whatever answers with JSON might stand where --server points; nobody may be told that it has taken something.
func TestAnswersOfSomethingElse(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, call := range map[string]func(c *Client) error{
		"put": func(c *Client) error { _, _, err := c.Put(ctx, "shop", Bytes([]byte("zip")), Push{}); return err },
		"dry run": func(c *Client) error {
			_, _, err := c.Put(ctx, "shop", Bytes([]byte("zip")), Push{DryRun: true})
			return err
		},
		"delete":    func(c *Client) error { _, _, err := c.Delete(ctx, "shop", Push{}); return err },
		"roll back": func(c *Client) error { _, _, err := c.RollBack(ctx, "shop", 1, Push{}); return err },
		"diff":      func(c *Client) error { _, err := c.Diff(ctx, "shop", Bytes([]byte("zip"))); return err },
		"projects":  func(c *Client) error { _, err := c.Projects(ctx); return err },
		"apis":      func(c *Client) error { _, err := c.APIs(ctx, Filter{}); return err },
		"revisions": func(c *Client) error { _, err := c.Revisions(ctx, "shop"); return err },
		"gateways":  func(c *Client) error { _, err := c.Gateways(ctx); return err },
	} {
		for _, text := range []string{`{}`, `{"project":"other","committed":true}`, `{"id":1,"name":"Rex"}`} {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, text) })
			if err := call(c); kindOf(err) != Foreign {
				t.Errorf("%s: %s: %v", name, text, err)
			}
		}
	}
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, `{"project":"shop","committed":false}`) })
	if _, _, err := c.Put(ctx, "shop", Bytes([]byte("zip")), Push{}); kindOf(err) != Foreign {
		t.Errorf("not committed: %v", err)
	}
}

func TestPushThatGoesOn(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "wait=0" {
			t.Error(r.URL)
		}
		w.WriteHeader(http.StatusAccepted)
		answer(w, `{"rollout":"r1","location":"/api/v1/rollouts/r1"}`)
	})
	if _, rollout, err := c.Delete(t.Context(), "shop", Push{Wait: -1}); err != nil || rollout != "r1" {
		t.Errorf("%q, %v", rollout, err)
	}
}

// TestAgain: what may be asked twice is, and nothing else.
func TestAgain(t *testing.T) {
	t.Parallel()
	hangUp := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	busy := func(code string, status int, after string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			refuse(w, status, code, "later")
		}
	}
	put := func(revision uint64) func(*Client) error {
		return func(c *Client) error {
			_, _, err := c.Put(t.Context(), "shop", Bytes([]byte("zip")), Push{Revision: revision})
			return err
		}
	}
	roll := func(c *Client) error { _, _, err := c.RollBack(t.Context(), "shop", 3, Push{}); return err }
	get := func(c *Client) error { _, err := c.Gateways(t.Context()); return err }
	for name, one := range map[string]struct {
		server http.HandlerFunc
		call   func(*Client) error
		asked  int32
		kind   Kind
	}{
		"a push, hung up":                     {hangUp, put(0), 3, Broken},
		"a push in a revision's place":        {hangUp, put(7), 1, Broken},
		"a rollback, hung up":                 {hangUp, roll, 1, Broken},
		"a question, hung up":                 {hangUp, get, 3, Broken},
		"a rollback, too many":                {busy("too-many-requests", 429, "1"), roll, 3, Refused},
		"a rollback, unavailable":             {busy("unavailable", 503, "1"), roll, 1, Refused},
		"a push, unavailable":                 {busy("unavailable", 503, "1"), put(0), 3, Refused},
		"a push, unavailable for long":        {busy("unavailable", 503, "600"), put(0), 1, Refused},
		"a push, unavailable for a time":      {busy("unavailable", 503, "soon"), put(0), 1, Refused},
		"a push behind others":                {busy("busy", 503, "1"), put(0), 1, Refused},
		"a push that a gateway does not take": {busy("refused", 502, "1"), put(0), 1, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, asked := serve(t, one.server)
			if err := one.call(c); kindOf(err) != one.kind || asked.Load() != one.asked {
				t.Errorf("%v after %d", err, asked.Load())
			}
		})
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	encrypted := httptest.NewTLSServer(http.NotFoundHandler())
	encrypted.Config.ErrorLog = nil
	t.Cleanup(encrypted.Close)
	plain, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/401/api/v1/gateways":
			refuse(w, http.StatusUnauthorized, "unauthenticated", "say who you are")
		case "/403/api/v1/gateways":
			refuse(w, http.StatusForbidden, "forbidden", "it takes the role viewer")
		case "/301/api/v1/gateways":
			http.Redirect(w, r, "http://elsewhere.example.com/", http.StatusMovedPermanently)
		case "/proxy/api/v1/gateways":
			http.Error(w, "<h1>Bad gateway</h1>", http.StatusBadGateway)
		case "/page/api/v1/gateways":
			_, _ = io.WriteString(w, "<html>")
		default:
			http.NotFound(w, r)
		}
	})
	for _, one := range []struct {
		server, token string
		kind          Kind
		words         string
	}{
		{gone.URL, "", Unreachable, "nobody answers at " + gone.URL},
		{"unix:" + filepath.Join(t.TempDir(), "no.sock"), "", Unreachable, "nobody answers at unix:"},
		{encrypted.URL, "", Unreachable, "--ca names the file"},
		{strings.Replace(encrypted.URL, "https:", "http:", 1), "", Unreachable, "write https:// for http://"},
		{"http://" + closing(t), "", Unreachable, "write https:// for http://"},
		{strings.Replace(plain.server, "http:", "https:", 1), "", Unreachable, "write http:// for https://"},
		{"http://no-such-host.invalid", "", Unreachable, "--server names where else"},
		{plain.server + "/401", "", Refused, "say who you are; give a token by --token"},
		{plain.server + "/401/", "ptk_x", Refused, "does not take this token"},
		{plain.server + "/403", "ptk_x", Refused, "an admin can give"},
		{plain.server + "/301", "ptk_x", Foreign, "redirects to http://elsewhere.example.com/"},
		{plain.server + "/proxy", "ptk_x", Foreign, "answers 502 Bad Gateway, and not as an adapter"},
		{plain.server + "/page", "ptk_x", Foreign, "does not answer as an adapter does"},
		{plain.server, "", Foreign, "does --server name one?"},
	} {
		_, err := ask(t, Options{Server: one.server, Token: one.token}).Gateways(t.Context())
		if kindOf(err) != one.kind || !strings.Contains(err.Error(), one.words) || strings.Contains(err.Error(), "ptk_x") {
			t.Errorf("%s: %d %v", one.server, kindOf(err), err)
		}
	}
	for _, server := range []string{"127.0.0.1:1", "ftp://x", "unix:", "", "http://", "http://user:secret@x", "http://x?token=secret"} {
		if _, err := New(Options{Server: server}); err == nil {
			t.Errorf("%q was taken", server)
		}
	}
}

// closing is a listener of TLS that ends whatever speaks none without a word.
func closing(t *testing.T) string {
	t.Helper()
	authority := httptest.NewUnstartedServer(http.NotFoundHandler())
	authority.StartTLS()
	t.Cleanup(authority.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", authority.TLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestDoubt: once a push was sent, nobody says that it was not taken unless the adapter does.
func TestDoubt(t *testing.T) {
	t.Parallel()
	const then503, then404, thenPage, thenNobody = "503", "404", "page", "nobody"
	for _, then := range []string{then503, then404, thenPage, thenNobody} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			var c *Client
			var s *httptest.Server
			first := true
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				switch {
				case first:
					first = false
					if then == thenNobody {
						_ = s.Listener.Close()
					}
					if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
						_ = conn.Close()
					}
				case then == then503:
					refuse(w, http.StatusServiceUnavailable, "unavailable", "it is starting")
				case then == then404:
					refuse(w, http.StatusNotFound, "unknown", "there is none")
				default:
					_, _ = io.WriteString(w, "<html>")
				}
			}))
			t.Cleanup(s.Close)
			told := 0
			c = ask(t, Options{Server: s.URL, Again: func(error) { told++ }})
			_, _, err := c.Put(t.Context(), "shop", Bytes([]byte("zip")), Push{})
			var e *Error
			if want := then != then404; !errors.As(err, &e) || e.Unknown != want || strings.Contains(e.Words, "an earlier try broke off") != want || told != 1 {
				t.Errorf("%+v, told %d times", e, told)
			}
		})
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	c, asked := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("project") != "shop" {
			t.Error(r.URL)
		}
		switch r.URL.Query().Get("after") {
		case "":
			w.Header().Set("Link", `</api/v1/apis?after=a%2F1+shop&project=shop&limit=1>; rel="next"`)
			answer(w, `{"apis":[{"name":"a","version":"1"}]}`)
		case "a/1 shop":
			answer(w, `{"apis":[{"name":"b","version":"1"}]}`)
		}
	})
	all, err := c.APIs(t.Context(), Filter{Project: "shop"})
	if err != nil || asked.Load() != 2 || !slices.EqualFunc(all, []string{"a", "b"}, func(a api.API, name string) bool { return a.Name == name }) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestArchiveIsStreamed(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/api/v1/projects/shop/archive?revision=3" {
			t.Error(r.URL)
		}
		_, _ = io.WriteString(w, "zip")
	})
	var b strings.Builder
	if err := c.Archive(t.Context(), "shop", 3, &b); err != nil || b.String() != "zip" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "m.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, `{"adapter":"v1","gateways":[]}`) })} //nolint:gosec // a test's
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	if r, err := ask(t, Options{Server: "unix:" + path}).Gateways(t.Context()); err != nil || r.Adapter != "v1" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Gateways(ctx); kindOf(err) != Broken || err.Error() != "interrupted" {
		t.Error(err)
	}
}
