package translate_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

// sentence is how callers are told what is wrong, whoever tells them.
var sentence = regexp.MustCompile(`^[A-Z].*\.$`)

// TestEveryLocalReplyIsAProblem makes Envoy, the enforcer and the limiter fail in every way there is.
func TestEveryLocalReplyIsAProblem(t *testing.T) {
	g, undo := startFailing(t, model.ErrorsProblem)
	defer undo()
	g.enforcer.Stop()
	rows := []failing{
		{name: "enforcer away", call: call{method: "GET", path: "/fail/closed"}, status: 503, code: "102500", retryAfter: true},
	}
	g.judge(t, rows)
	g.enforcer.Start(t)
	fixture.WaitFor(t, "the enforcer to be back", func() bool {
		return g.call(t, "http", call{method: "GET", path: "/fail/closed"}).status == 200
	})
	g.limiter.Stop()
	g.judge(t, []failing{
		{name: "limiter away, deny", call: call{method: "GET", path: "/fail/deny"}, status: 503, code: "900900", retryAfter: true},
		{name: "enforcer refuses", call: call{method: "GET", path: "/fail/closed", headers: map[string]string{"x-deny": "900903"}}, status: 401, code: "900903", detail: `Not with this "token".`, title: "Refused"},
		{name: "no scope", call: call{method: "GET", path: "/nowhere"}, status: 404, code: "900906"},
		{name: "no path", call: call{method: "GET", path: "/fail/nothing"}, status: 404, code: "900906"},
		{name: "method", call: call{method: "PUT", path: "/fail/away"}, status: 405, code: "900405", allow: "GET, HEAD"},
		{name: "backend away", call: call{method: "GET", path: "/fail/away"}, status: 503, code: "102503"},
		{name: "backend slow", call: call{method: "GET", path: "/fail/slow"}, status: 504, code: "102504"},
		{name: "backend breaks off", call: call{method: "GET", path: "/fail/broken"}, status: 503, code: "102509"},
		{name: "backend talks nonsense", call: call{method: "GET", path: "/fail/nonsense"}, status: 502, code: "102515"},
		{name: "body too large", call: call{method: "POST", path: "/fail/echo", body: strings.Repeat("x", 1<<16)}, status: 413, code: "900413"},
		{name: "escaped slash", call: call{method: "GET", path: "/fail/a%2Fb"}, status: 400, code: "102512", nameless: true},
		{name: "null in path", call: call{method: "GET", path: "/fail/a%00"}, status: 400, code: "102512", nameless: true},
		{name: "fragment", call: call{method: "GET", path: "/fail/a#b"}, status: 400, code: "102512", nameless: true},
		{name: "upgrade", call: call{method: "GET", path: "/fail/echo", headers: map[string]string{"connection": "upgrade", "upgrade": "websocket"}}, status: 403, code: "102512"},
		{name: "underscore", call: call{method: "GET", path: "/fail/echo", headers: map[string]string{"x_a": "1"}}, status: 400, code: "102512", nameless: true},
		{name: "headers too large", call: call{method: "GET", path: "/fail/echo", headers: map[string]string{"x-big": strings.Repeat("x", 9<<10)}}, status: 431, code: "900413", nameless: true},
		{name: "too many headers", call: call{method: "GET", path: "/fail/echo", headers: manyHeaders(120)}, status: 431, code: "900413", nameless: true},
		{name: "two lengths", call: call{method: "GET", path: "/fail/echo", headers: map[string]string{"transfer-encoding": "chunked"}}, status: 400, code: "102512", nameless: true},
		{name: "no cluster", call: call{method: "GET", path: "/fail/gone"}, status: 503, code: "102507"},
	})
	g.judgeRaw(t, "HTTP/1.0", "GET /fail/echo HTTP/1.0\r\n\r\n", 426, "102512")
	g.judgeRaw(t, "not HTTP", "what\r\n\r\n", 400, "102512")
}

// TestLimiterRefusals has the limiter say no.
func TestLimiterRefusals(t *testing.T) {
	for format, want := range map[model.ErrorFormat]string{
		model.ErrorsProblem:  `{"code":"900802","detail":"Too many.","instance":"INSTANCE","status":429,"title":"Too Many Requests","type":"about:blank"}`,
		model.ErrorsFault:    `{"fault":{"code":900802,"description":"Too many.","message":"Too Many Requests"}}`,
		model.ErrorsEnforcer: `{"code":"900802","error_description":"Too many.","error_message":"Too Many Requests"}`,
		model.ErrorsRouter:   `{"code":"900802","description":"Too many.","message":"Too Many Requests"}`,
	} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			g, undo := startFailing(t, format)
			defer undo()
			g.over.Store(true)
			a := g.call(t, "http", call{method: "GET", path: "/fail/deny"})
			got := strings.ReplaceAll(strings.TrimSpace(a.body), "urn:uuid:"+a.headers.Get("X-Request-Id"), "INSTANCE")
			if a.status != 429 || got != want || a.headers.Get("Retry-After") != "7" || len(a.headers.Values("Ratelimit")) != 1 {
				t.Errorf("%d %v\n got %s\nwant %s", a.status, a.headers, got, want)
			}
			a = g.call(t, "http", call{method: "GET", path: "/fail/closed", headers: map[string]string{"x-deny": "900902"}})
			if a.status != 401 || !strings.Contains(a.body, "900902") || !json.Valid([]byte(a.body)) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// TestGRPCCallersReadPlainWords: a status and a message, no JSON in it.
func TestGRPCCallersReadPlainWords(t *testing.T) {
	g, undo := startFailing(t, model.ErrorsProblem)
	defer undo()
	g.over.Store(true)
	for _, c := range []struct{ path, deny, status, message string }{
		{"/fail/closed", "900902", "16", `Not with this "token".`},
		{"/fail/nothing", "", "12", "No API has this path."},
		{"/fail/deny", "", "8", "Too many."},
		{"/fail/away/post", "", "14", "The backend cannot be reached."},
	} {
		a := g.call(t, "http", call{method: "POST", path: c.path, headers: map[string]string{"content-type": "application/grpc", "x-deny": c.deny}})
		if a.status != 200 || a.headers.Get("Grpc-Status") != c.status || a.headers.Get("Grpc-Message") != c.message {
			t.Errorf("%s: %d %v, want grpc-status %s %q", c.path, a.status, a.headers, c.status, c.message)
		}
	}
}

func manyHeaders(n int) map[string]string {
	headers := map[string]string{}
	for i := range n {
		headers[fmt.Sprintf("x-%d", i)] = "1"
	}
	return headers
}

// failing is a request that must not succeed.
type failing struct {
	name          string
	call          call
	status        int
	code          string
	title, detail string // "" for any
	allow         string
	retryAfter    bool
	nameless      bool // no stream, and so no instance
}

func (g *gateway) judge(t *testing.T, rows []failing) {
	t.Helper()
	for _, f := range rows {
		a := g.call(t, "http", f.call)
		p := a.problem
		switch {
		case a.status != f.status || a.code != f.code:
			t.Errorf("%s: %d %s, want %d with code %s", f.name, a.status, a.body, f.status, f.code)
		case p.Type != "about:blank" || p.Status != f.status || p.Title == "" || !sentence.MatchString(p.Detail):
			t.Errorf("%s: not a whole problem: %s", f.name, a.body)
		case f.title != "" && p.Title != f.title, f.detail != "" && p.Detail != f.detail:
			t.Errorf("%s: %s, want %q and %q", f.name, a.body, f.title, f.detail)
		case f.nameless != (p.Instance == ""), !f.nameless && p.Instance != "urn:uuid:"+a.headers.Get("X-Request-Id"):
			t.Errorf("%s: instance %q, request id %q", f.name, p.Instance, a.headers.Get("X-Request-Id"))
		case a.headers.Get("Allow") != f.allow || f.retryAfter != (a.headers.Get("Retry-After") == "1"):
			t.Errorf("%s: headers %v", f.name, a.headers)
		case slices.ContainsFunc([]string{"upstream", "envoy", "127.0.0.1"}, func(s string) bool { return strings.Contains(strings.ToLower(a.body), s) }):
			t.Errorf("%s: tells what is behind the gateway: %s", f.name, a.body)
		}
	}
}

func (g *gateway) judgeRaw(t *testing.T, name, request string, status int, code string) {
	t.Helper()
	conn, err := net.Dial("tcp", g.listeners["http"])
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(fixture.Patience)))
	_, err = io.WriteString(conn, request)
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer res.Body.Close()
	var p problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode != status || p.Code != code {
		t.Errorf("%s: %d %+v (%v), want %d %s", name, res.StatusCode, p, err, status, code)
	}
}

// startFailing serves an API whose operations fail as they are called.
func startFailing(t *testing.T, format model.ErrorFormat) (g *gateway, undo func()) {
	t.Helper()
	s := variants()["default"]
	s.ErrorFormat, s.BodyBytes, s.HeaderBytes = format, 1000, 8<<10
	g = startGateway(t, map[string]model.Settings{"http": s}, map[string]*fixture.Backend{
		"pets.test:80": fixture.StartBackend(t, "pets", fixture.BackendOptions{}),
		"slow.test:80": fixture.StartBackend(t, "slow", fixture.BackendOptions{Handler: slow}),
		"broken.test:80": fixture.StartBackend(t, "broken", fixture.BackendOptions{Handler: func(http.ResponseWriter, *http.Request) bool {
			panic(http.ErrAbortHandler)
		}}),
		"nonsense.test:80": fixture.StartBackend(t, "nonsense", fixture.BackendOptions{Handler: nonsense}),
	})
	slow := backend("http://slow.test")
	slow.Timeout = 50 * time.Millisecond
	denied := op("GET /deny", open, tier(model.Limit{Name: "strict", Count: 1, Window: time.Minute, OnFailure: model.FailDeny}))
	onPost := denied
	onPost.Method = http.MethodPost
	d, problems := translate.NewIndex(s).Plan([]model.API{ending(api("fail/1", "/fail",
		op("GET /closed"), op("POST /closed"), denied, onPost, op("GET /echo", open), op("POST /echo", open),
		op("GET /away", open, to(backend("http://away.test"))), op("POST /away/post", open, to(backend("http://away.test"))),
		op("GET /slow", open, to(slow)),
		op("GET /broken", open, to(backend("http://broken.test"))),
		op("GET /nonsense", open, to(backend("http://nonsense.test"))),
		op("GET /gone", open, to(backend("http://gone.test"))),
	))}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	d.Clusters.Put = slices.DeleteFunc(d.Clusters.Put, func(r translate.Resource) bool { return strings.HasPrefix(r.Name, "gone.test") })
	return g, g.serve(t, d)
}

// nonsense answers with what is not HTTP.
func nonsense(w http.ResponseWriter, _ *http.Request) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, "BLAH BLAH\r\n\r\n")
		_ = conn.Close()
	}
	return true
}
