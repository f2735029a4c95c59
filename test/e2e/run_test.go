package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

const petstore = "../../examples/petstore"

// TestMainJob is what the README promises: each answer a caller can get.
func TestMainJob(t *testing.T) {
	t.Parallel()
	b := backend(t)
	g := start(t, []string{"POSTERN_VAR_PETS=" + b.Listener.Addr().String()}, petstore)
	reader := g.token("--sub", "ann", "--scope", "read:pets")

	a := g.get("GET", "/petstore/1.0.0/pet/1?x=%2F1", reader)
	if a.status != 200 || a.body != "GET /v2/pet/1?x=%2F1" {
		t.Errorf("with a token: %d %s", a.status, a.body)
	}
	if a.header.Get("X-RateLimit-Limit") != "1000" || a.header.Get("RateLimit-Policy") == "" {
		t.Errorf("no rate limit headers: %v", a.header)
	}
	for _, test := range []struct {
		name, method, path, token string
		status                    int
		code, header              string
	}{
		{"no token", "GET", "/petstore/1.0.0/pet/1", "", 401, "900902", "Www-Authenticate"},
		{"no good token", "GET", "/petstore/1.0.0/pet/1", "x.y.z", 401, "900901", "Www-Authenticate"},
		{"a scope is missing", "DELETE", "/petstore/1.0.0/pet/1", reader, 403, "900910", ""},
		{"unknown path", "GET", "/petstore/1.0.0/nothing", reader, 404, "900906", ""},
		{"unknown API", "GET", "/nothing", "", 404, "900906", ""},
		{"unknown method", "PATCH", "/petstore/1.0.0/pet/1", reader, 405, "900405", "Allow"},
	} {
		a := g.get(test.method, test.path, test.token)
		if a.status != test.status || a.code(t) != test.code || test.header != "" && a.header.Get(test.header) == "" {
			t.Errorf("%s: %d %v %s", test.name, a.status, a.header, a.body)
		}
	}
	if allow := g.get("PATCH", "/petstore/1.0.0/pet/1", "").header.Get("Allow"); allow != "DELETE, GET, HEAD" {
		t.Errorf("Allow: %q", allow)
	}
	g.throttled(t)
	b.Close()
	if a := g.get("GET", "/petstore/1.0.0/pet/1", reader); a.status != 503 || a.code(t) != "102503" {
		t.Errorf("the backend is stopped: %d %s", a.status, a.body)
	}
	g.counted(t)
	g.logged(t, reader)
	if out, err := command(t, g.dataDir, "healthy", "--ready").CombinedOutput(); err != nil {
		t.Errorf("postern healthy: %v\n%s", err, out)
	}
}

// throttled: ten a minute. More than twenty calls see an end of it, whenever the minute turns.
func (g *gateway) throttled(t *testing.T) {
	t.Helper()
	for range 25 {
		a := g.get("GET", "/petstore/1.0.0/store/inventory", "")
		if a.status == 200 {
			continue
		}
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != 429 || a.code(t) != "900802" || err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("throttled: %d %v %s", a.status, a.header, a.body)
		}
		return
	}
	t.Error("a limit of 10 let 25 requests pass")
}

// counted: the metrics tell of what TestMainJob did.
func (g *gateway) counted(t *testing.T) {
	t.Helper()
	for _, want := range []string{
		`postern_requests_total{api="petstore/1.0.0",code="200",operation="GET /pet/{petId}"} 1`,
		`postern_requests_total{api="petstore/1.0.0",code="403",operation="DELETE /pet/{petId}"} 1`,
		`postern_requests_total{api="petstore/1.0.0",code="429",operation="GET /store/inventory"} 1`,
		`postern_requests_total{api="",code="404",operation=""} 1`,
		`postern_request_duration_seconds_count{api="petstore/1.0.0"}`,
		`postern_check_duration_seconds`, `postern_decisions_total{`, `postern_limits_total{`,
		`postern_push_duration_seconds`, `postern_xds_total{`, `postern_gateway_config_age_seconds`,
	} {
		fixture.WaitFor(t, "the metric "+want, func() bool { return strings.Contains(g.metrics(), want) })
	}
}

// logged: the access log is JSON on standard output, tells who by a hash, and holds no token.
func (g *gateway) logged(t *testing.T, token string) {
	t.Helper()
	var entry map[string]any
	fixture.WaitFor(t, "the access log", func() bool {
		for line := range strings.Lines(g.stdout.String()) {
			if strings.Contains(line, `"GET /pet/{petId}"`) && json.Unmarshal([]byte(line), &entry) == nil && entry["code"] == float64(200) {
				return true
			}
		}
		return false
	})
	for _, field := range []string{"time", "request_id", "api", "operation", "code", "flags", "duration_ms", "client"} {
		if _, ok := entry[field]; !ok {
			t.Errorf("the access log has no %s: %v", field, entry)
		}
	}
	for name, text := range map[string]string{"stdout": g.stdout.String(), "stderr": g.stderr.String()} {
		if strings.Contains(text, token) || strings.Contains(text, "ann") && name == "stdout" {
			t.Errorf("%s tells a secret", name)
		}
	}
}

// TestNobodyReadsTheAccessLog: the gateway serves on when whoever read its standard output is gone.
func TestNobodyReadsTheAccessLog(t *testing.T) {
	t.Parallel()
	g := start(t, nil, petstore)
	g.stdout.closed.Store(true)
	fixture.WaitFor(t, "lines to be dropped", func() bool {
		if a := g.get("GET", "/none", ""); a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
		return !strings.Contains(g.metrics(), "\npostern_access_log_dropped_total 0\n")
	})
	fixture.WaitFor(t, "the log to tell", func() bool { return strings.Contains(g.stderr.String(), "lines of the access log were dropped") })
}

func TestKilledEnvoyIsBack(t *testing.T) {
	t.Parallel()
	b := backend(t)
	g := start(t, []string{"POSTERN_VAR_PETS=" + b.Listener.Addr().String()}, petstore)
	reader := g.token("--scope", "read:pets")
	pid := g.envoy()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the end of Envoy", func() bool { return !alive(pid) })
	killed := time.Now()
	fixture.WaitFor(t, "an answer again", func() bool {
		a, err := g.call("GET", "/petstore/1.0.0/pet/1", reader)
		return err == nil && a.status == 200
	})
	t.Logf("back after %s", time.Since(killed)) // why no bound: how long it takes depends on what else the machine does
	if a := g.get("GET", "/petstore/1.0.0/pet/1", ""); a.status != 401 {
		t.Errorf("without a token: %d", a.status)
	}
	g.ready()
}

// TestHungEnvoyIsReplaced: one that was stopped does not end by itself.
func TestHungEnvoyIsReplaced(t *testing.T) {
	t.Parallel()
	dir, _ := project(t, definition("Shop", "/shop", backend(t).URL))
	g := start(t, nil, dir)
	pid := g.envoy()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the gateway to say that it is not ready", func() bool {
		res, err := http.Get("http://" + g.management + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return strings.Contains(string(body), "envoy does not answer")
	})
	g.ready()
	if alive(pid) || !strings.Contains(g.stderr.String(), "envoy hangs and is killed") {
		t.Errorf("the hung one is there: %v\n%s", alive(pid), g.stderr)
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, _ := project(t, definition("Shop", "/shop", backend(t).URL))
	g := start(t, nil, dir)
	pid := g.envoy()
	if err := g.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, g.stderr)
	}
	if alive(pid) {
		t.Errorf("Envoy %d is left", pid)
	}
	left, err := os.ReadDir(g.dataDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if !slices.Contains([]string{"dev-issuer.jwk", "postern.db", "tokens.yaml", "admin.token", "audit.log"}, f.Name()) { // what is to last
			t.Errorf("%s is left", f.Name())
		}
	}
	if others, _ := os.ReadDir(filepath.Dir(g.dataDir)); len(others) != 1 {
		t.Errorf("temporary files are left: %v", others)
	}
}

func TestKilledGatewayTakesEnvoyAlong(t *testing.T) {
	t.Parallel()
	dir, _ := project(t, definition("Shop", "/shop", backend(t).URL))
	g := start(t, nil, dir)
	pid := g.envoy()
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g.exit()
	fixture.WaitFor(t, "the end of Envoy", func() bool { return !alive(pid) })

	// What it has left does not keep the next one from starting.
	again := command(t, g.dataDir, "run", "--dev", dir)
	again.Env = append(again.Env, g.env...)
	g.cmd, g.ended = again, make(chan struct{})
	again.Stdout, again.Stderr = g.stdout, g.stderr
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	go func(ended chan struct{}) { g.err = again.Wait(); close(ended) }(g.ended)
	g.ready()
	if a := g.get("GET", "/shop/hello", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestTwoGatewaysSideBySide(t *testing.T) {
	t.Parallel()
	b := backend(t)
	dir, _ := project(t, definition("Shop", "/shop", b.URL))
	first, second := start(t, nil, dir), start(t, nil, dir)
	for _, g := range []*gateway{first, second} {
		if a := g.get("GET", "/shop/hello", ""); a.status != 200 || a.body != "GET /hello" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}

	// A third one that wants what the first has is told who has it.
	third := func(env ...string) string {
		t.Helper()
		cmd := command(t, filepath.Join(fixture.TempDir(t), "data"), "run", "--dev", dir)
		cmd.Env = append(append(cmd.Env, "POSTERN_LISTEN_HTTP="+fixture.Address(t), "POSTERN_MANAGEMENT_LISTEN="+fixture.Address(t)), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("it started, or ended with another code than 1: %v", err)
		}
		return stderr.String()
	}
	pid := first.cmd.Process.Pid
	for _, test := range []struct{ env, want string }{
		{"POSTERN_LISTEN_HTTP=" + first.http, fmt.Sprintf("postern: listen.http: %s is taken by envoy (pid %d); choose another with --listen-http", first.http, first.envoy())},
		{"POSTERN_MANAGEMENT_LISTEN=" + first.management, fmt.Sprintf("postern: management.listen: %s is taken by postern (pid %d); choose another with --management-listen", first.management, pid)},
		{"POSTERN_DATA_DIR=" + first.dataDir, fmt.Sprintf("postern: data folder %s is in use by postern (pid %d, %s); give this gateway another one with --data-dir", first.dataDir, pid, first.http)},
	} {
		if got := third(test.env); !strings.Contains(got, test.want) {
			t.Errorf("%s: got\n%s\nwant %s", test.env, got, test.want)
		}
	}
	if a := first.get("GET", "/shop/hello", ""); a.status != 200 {
		t.Errorf("the first one after all that: %d", a.status)
	}
}

func TestBadProject(t *testing.T) {
	t.Parallel()
	b := backend(t)
	bad, _ := project(t, strings.Replace(definition("Bad", "/bad", b.URL), "security: [{}]", "security: [{ghost: []}]", 1))
	write(t, filepath.Join(bad, "project.yaml"), "name: bad\n")
	g := launch(t, nil, bad)
	if code := g.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if want := filepath.Join(bad, "api_definitions/shop.yaml") + ":5:"; !strings.Contains(g.stderr.String(), want) {
		t.Errorf("%s is not told:\n%s", want, g.stderr)
	}

	// Beside a good one it is told and left out, and served as soon as it is mended.
	good, _ := project(t, definition("Good", "/good", b.URL))
	g = start(t, nil, good, bad)
	if a := g.get("GET", "/good/hello", ""); a.status != 200 {
		t.Errorf("the good one: %d %s", a.status, a.body)
	}
	if a := g.get("GET", "/bad/hello", ""); a.status != 404 {
		t.Errorf("the bad one: %d %s", a.status, a.body)
	}
	write(t, filepath.Join(bad, "api_definitions/shop.yaml"), definition("Bad", "/bad", b.URL))
	fixture.WaitFor(t, "the mended project", func() bool { return g.get("GET", "/bad/hello", "").status == 200 })
}

// TestEditsAreLive: under load, an edit changes what is served within a second and no request fails; a broken one is
// told with its place, and what was good stays.
func TestEditsAreLive(t *testing.T) {
	t.Parallel()
	b := backend(t)
	text := definition("Shop", "/shop", b.URL)
	dir, file := project(t, text)
	g := start(t, nil, dir)
	load := g.load("/shop/hello")
	for i := range 5 {
		path := fmt.Sprintf("/extra%d", i)
		edited := text + strings.Replace("  /extra:\n    get:\n      responses: {\"200\": {description: ok}}\n", "/extra", path, 1)
		write(t, file, edited)
		saved := time.Now()
		fixture.WaitFor(t, "the edit", func() bool { return g.get("GET", "/shop"+path, "").status == 200 })
		took := time.Since(saved)
		t.Logf("live after %s", took)
		if took > time.Second {
			t.Errorf("edit %d took %s", i, took)
		}
	}
	write(t, file, strings.Replace(text, "security: [{}]", "security: [{ghost: []}]", 1))
	fixture.WaitFor(t, "the broken edit to be told", func() bool { return strings.Contains(g.stderr.String(), "shop.yaml:5:") })
	if a := g.get("GET", "/shop/extra4", ""); a.status != 200 {
		t.Errorf("the last good version: %d %s", a.status, a.body)
	}
	load.stop(t)
}

// load calls a path without a pause until it is stopped.
type load struct {
	done         chan struct{}
	once         sync.Once
	all          sync.WaitGroup
	calls        atomic.Int64
	mu           sync.Mutex
	firstFailure string
}

func (g *gateway) load(path string) *load {
	l := &load{done: make(chan struct{})}
	g.t.Cleanup(l.end)
	l.all.Go(func() {
		for {
			select {
			case <-l.done:
				return
			case <-time.After(time.Millisecond): // the machine is shared
			}
			a, err := g.call(http.MethodGet, path, "")
			l.calls.Add(1)
			if err != nil || a.status != 200 {
				l.mu.Lock()
				if l.firstFailure == "" {
					l.firstFailure = fmt.Sprintf("%d %s %v", a.status, a.body, err)
				}
				l.mu.Unlock()
			}
		}
	})
	return l
}

func (l *load) end() {
	l.once.Do(func() { close(l.done) })
	l.all.Wait()
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.end()
	t.Logf("%d calls", l.calls.Load())
	if l.firstFailure != "" || l.calls.Load() == 0 {
		t.Errorf("of %d calls some failed: %s", l.calls.Load(), l.firstFailure)
	}
}

// TestInitAndRun: two definitions of one's own, from init to being served, at base paths that do not collide.
func TestInitAndRun(t *testing.T) {
	t.Parallel()
	b := backend(t)
	work := t.TempDir()
	write(t, filepath.Join(work, "a.yaml"), strings.Replace(definition("Apples", "/x", b.URL), "x-wso2-basePath: /x\n", "", 1))
	write(t, filepath.Join(work, "b.json"), `{"openapi": "3.1.0", "info": {"title": "Beer", "version": "2"}, "servers": [{"url": "`+b.URL+`"}],
		"security": [{}], "paths": {"/hello": {"get": {"responses": {"200": {"description": "ok"}}}}}}`)
	init := command(t, filepath.Join(work, "data"), "init", "shop", "--openapi", "a.yaml", "--openapi", "b.json")
	init.Dir = work
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g := start(t, nil, filepath.Join(work, "shop"))
	var urls []string
	for _, a := range apisOf(t, filepath.Join(work, "shop")) {
		urls = append(urls, a)
		if got := g.get("GET", a+"/hello", ""); got.status != 200 || got.body != "GET /hello" {
			t.Errorf("%s: %d %s", a, got.status, got.body)
		}
	}
	if len(urls) != 2 || urls[0] == urls[1] {
		t.Errorf("base paths %v", urls)
	}
}

// apisOf are the base paths that validate tells.
func apisOf(t *testing.T, dir string) (bases []string) {
	t.Helper()
	out, err := command(t, filepath.Join(dir, "data"), "validate", dir, "--output", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []struct{ APIs []struct{ BasePath string } }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	for _, a := range found[0].APIs {
		bases = append(bases, a.BasePath)
	}
	return bases
}

// TestLongDataFolder: sockets have short paths, folders need not.
func TestLongDataFolder(t *testing.T) {
	t.Parallel()
	dir, _ := project(t, definition("Shop", "/shop", backend(t).URL))
	long := filepath.Join(fixture.TempDir(t), strings.Repeat("long", 30), "data")
	g := start(t, []string{"POSTERN_DATA_DIR=" + long}, dir)
	if a := g.get("GET", "/shop/hello", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestSummary: who starts a gateway is told what it serves and what to try.
func TestSummary(t *testing.T) {
	t.Parallel()
	g := start(t, nil, petstore)
	fixture.WaitFor(t, "the summary", func() bool { return strings.Contains(g.stderr.String(), "Try:") })
	for _, want := range []string{
		"serves 1 API.", "petstore/1.0.0  http://" + g.http + "/petstore/1.0.0", "1000PerMin (1000 in 1m)", "DEVELOPMENT", "http://" + g.management,
	} {
		if !strings.Contains(g.stderr.String(), want) {
			t.Errorf("%q is missing:\n%s", want, g.stderr)
		}
	}
	_, try, _ := strings.Cut(g.stderr.String(), "Try:\n")
	line, _, _ := strings.Cut(strings.TrimSpace(try), "\n")
	paste := exec.Command("sh", "-c", line)
	paste.Env = append(os.Environ(), "POSTERN_DATA_DIR="+g.dataDir)
	out, err := paste.Output()
	if err != nil || !bytes.HasPrefix(out, []byte("HTTP/1.1 503")) && !bytes.HasPrefix(out, []byte("HTTP/1.1 200")) { // no backend is there; the token is good
		t.Errorf("%s: %v\n%s", line, err, out)
	}
	if _, _, err := net.SplitHostPort(g.http); err != nil {
		t.Error(err)
	}
}

// TestServicesOverTCP: loopback ports do as well as sockets.
func TestServicesOverTCP(t *testing.T) {
	t.Parallel()
	b := backend(t)
	g := start(t, []string{
		"POSTERN_VAR_PETS=" + b.Listener.Addr().String(), "POSTERN_XDS_LISTEN=" + fixture.Address(t), "POSTERN_ENFORCER_LISTEN=" + fixture.Address(t),
		"POSTERN_RATELIMITER_LISTEN=" + fixture.Address(t), "POSTERN_ENVOY_ADMIN=" + fixture.Address(t),
	}, petstore, "--insecure") // why: Envoy's admin, of which any user of the machine could ask anything
	if a := g.get("GET", "/petstore/1.0.0/pet/1", g.token("--scope", "read:pets")); a.status != 200 || a.header.Get("X-RateLimit-Limit") != "1000" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if a := g.get("GET", "/petstore/1.0.0/pet/1", ""); a.status != 401 {
		t.Errorf("without a token: %d", a.status)
	}
}

// TestNoIssuer: without one and without --dev the gateway starts, says so, and admits nobody.
func TestNoIssuer(t *testing.T) {
	t.Parallel()
	g := launchRun(t, nil, petstore)
	g.ready()
	if a := g.get("GET", "/petstore/1.0.0/pet/1", "x.y.z"); a.status != 401 || a.code(t) != "900901" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := strings.Count(g.stderr.String(), "level=WARN msg=\"no issuer of tokens is configured"); n != 1 {
		t.Errorf("it is told %d times\n%s", n, g.stderr)
	}
}
