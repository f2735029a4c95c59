package translate_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestTheCounterBesideTheEnvoyStandsIn: a limit that is to be counted locally while the limiter is away is, within the
// very request that does not reach it; where it does not answer, after two calls. Nobody waits for it from then on.
func TestTheCounterBesideTheEnvoyStandsIn(t *testing.T) {
	for _, away := range []string{"stopped", "hanging"} {
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			s := variants()["default"]
			s.RateLimiter.Timeout = 300 * time.Millisecond // why so long: a busy machine is not to look like a hanging limiter
			if away == "stopped" {
				s.RateLimiter.Timeout = 5 * time.Second // nobody waits for one that refuses connections
			}
			g := startGateway(t, map[string]model.Settings{"http": s}, startBackends(t))
			with := func(name string, f model.OnFailure) func(*model.Operation) {
				return tier(model.Limit{Name: name, Count: 5, Window: time.Minute, OnFailure: f})
			}
			d, _ := translate.NewIndex(s).Plan([]model.API{api("l/1", "/l",
				op("GET /local", open, with("local", model.FailLocal)), op("GET /allow", open, with("allow", model.FailAllow)),
				op("GET /deny", open, with("deny", model.FailDeny)))}, nil)
			defer g.serve(t, d)()
			if got := g.limiterOf(t, "/l/local", 200); got != "limiter" {
				t.Fatalf("%q counted while the limiter is there", got)
			}
			if away == "stopped" {
				g.limiter.Stop()
			} else {
				g.hang.Store(true)
			}
			if away == "stopped" {
				if got := g.limiterOf(t, "/l/local", 200); got != "local" {
					t.Errorf("the first request after the limiter went: %q counted", got)
				}
			}
			fixture.WaitFor(t, "the counter beside the Envoy", func() bool { return g.limiterOf(t, "/l/local", 200) == "local" })
			g.limiterOf(t, "/l/allow", 200)
			g.limiterOf(t, "/l/deny", 503)
			start := time.Now()
			const n = 20
			for range n {
				g.limiterOf(t, "/l/local", 200)
				g.limiterOf(t, "/l/allow", 200)
				g.limiterOf(t, "/l/deny", 503)
			}
			if took := time.Since(start) / (3 * n); took > 20*time.Millisecond {
				t.Errorf("a request took %v while the limiter is away", took)
			}
			if away == "stopped" {
				g.limiter.Start(t)
			} else {
				g.hang.Store(false)
			}
			fixture.WaitFor(t, "the limiter to count again", func() bool { return g.limiterOf(t, "/l/local", 200) == "limiter" })
		})
	}
}

// limiterOf is who counted a request: the limiter's name travels in its answer.
func (g *gateway) limiterOf(t *testing.T, path string, status int) string {
	t.Helper()
	a := g.call(t, "http", call{method: "GET", path: path})
	if a.status != status {
		t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
	}
	return a.headers.Get("X-Test-Limiter")
}

// TestBodiesAreLimitedAndStreamsAreNot: a body over the limit is refused, on any backend; a gRPC stream to a backend that
// can speak it goes through message by message.
func TestBodiesAreLimitedAndStreamsAreNot(t *testing.T) {
	t.Parallel()
	s := variants()["default"]
	s.BodyBytes = 1000
	chunks := make(chan string, 8)
	h2 := backend("http://h2.test")
	h2.HTTP2 = true
	g := startGateway(t, map[string]model.Settings{"http": s}, map[string]*fixture.Backend{
		"pets.test:80": fixture.StartBackend(t, "pets", fixture.BackendOptions{}),
		"h2.test:80": fixture.StartBackend(t, "h2", fixture.BackendOptions{H2C: true, Handler: func(w http.ResponseWriter, r *http.Request) bool {
			buffer := make([]byte, 4096)
			for {
				n, err := r.Body.Read(buffer)
				if n > 0 {
					chunks <- string(buffer[:n])
				}
				if err != nil {
					return true
				}
			}
		}}),
	})
	d, _ := translate.NewIndex(s).Plan([]model.API{api("b/1", "/b", op("POST /plain", open), op("POST /grpc", open, to(h2)))}, nil)
	defer g.serve(t, d)()

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	post := func(path, contentType string, body io.Reader) int {
		req, err := http.NewRequest(http.MethodPost, "http://"+g.listeners["http"]+path, body)
		must(t, err)
		req.Header.Set("Content-Type", contentType)
		res, err := h2client.Do(req)
		must(t, err)
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	for _, c := range []struct {
		path, contentType string
		size, status      int
	}{
		{"/b/plain", "text/plain", 900, 200},
		{"/b/plain", "text/plain", 5000, 413},
		{"/b/plain", "application/grpc", 5000, 200}, // of gRPC's own kind: see below
		{"/b/grpc", "application/json", 5000, 413},
		{"/nowhere", "text/plain", 5000, 404},
	} {
		status := post(c.path, c.contentType, io.MultiReader(strings.NewReader(strings.Repeat("x", c.size)))) // why MultiReader: no length known
		if status != c.status {
			t.Errorf("%s %s of %d bytes: %d, want %d", c.path, c.contentType, c.size, status, c.status)
		}
	}
	for _, path := range []string{"/nowhere", "/b/nowhere"} {
		open, never := io.Pipe()
		if status := post(path, "text/plain", open); status != 404 {
			t.Errorf("%s, whose body never ends: %d, want 404", path, status)
		}
		_ = never.Close()
	}
	g.take()

	reader, writer := io.Pipe()
	done := make(chan int)
	go func() { done <- post("/b/grpc", "application/grpc+proto", reader) }()
	for range 3 {
		message := strings.Repeat("m", 2000)
		_, err := io.WriteString(writer, message)
		must(t, err)
		var got string
		for len(got) < len(message) { // before the next is sent
			select {
			case c := <-chunks:
				got += c
			case <-time.After(fixture.Patience):
				t.Fatal("a message of a stream did not arrive before the next was sent")
			}
		}
	}
	must(t, writer.Close())
	if status := <-done; status != 200 {
		t.Errorf("the stream ended with %d", status)
	}
}

// TestBackendsFoundByName lets Envoy resolve a name, where the other tests lead it to addresses.
func TestBackendsFoundByName(t *testing.T) {
	t.Parallel()
	b := fixture.StartBackend(t, "local", fixture.BackendOptions{})
	s := variants()["default"]
	g := startGateway(t, map[string]model.Settings{"http": s}, nil)
	g.led = false
	name := model.Backend{Endpoints: []model.Endpoint{{Host: "localhost", Port: b.Port, Authority: "localhost"}}}
	nobody := model.Backend{Endpoints: []model.Endpoint{{Host: "nobody.invalid", Port: 80, Authority: "nobody.invalid"}}}
	d, _ := translate.NewIndex(s).Plan([]model.API{api("n/1", "/n", op("GET /a", open, to(name)), op("GET /b", open, to(nobody)))}, nil)
	defer g.serve(t, d)()
	fixture.WaitFor(t, "localhost to be resolved", func() bool {
		a := g.call(t, "http", call{method: "GET", path: "/n/a"})
		return a.status == 200 && a.echo.Host == "localhost"
	})
	if a := g.call(t, "http", call{method: "GET", path: "/n/b"}); a.status != 503 || a.code != "102508" {
		t.Errorf("a name nobody has: %d %s, want 503 102508", a.status, a.body)
	}
}
