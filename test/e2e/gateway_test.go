// Package e2e drives `postern run` as its users do: the real program, a real Envoy, HTTP from outside. It imports
// nothing of Postern's but the fixture.
package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// program is the postern binary, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "postern")
	out, err := exec.Command("go", "build", "-o", path, "github.com/postern-gateway/postern/cmd/postern").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./cmd/postern: %w\n%s", err, out)
	}
	return path, nil
})

var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "pe"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// output is what a program has written so far, and a pipe that can be closed.
type output struct {
	fixture.Log
	closed atomic.Bool
}

func (o *output) Write(p []byte) (int, error) {
	if o.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	return o.Log.Write(p)
}

// gateway is a running `postern run`.
type gateway struct {
	t                *testing.T
	cmd              *exec.Cmd
	stdout, stderr   *output
	http, management string // addresses
	dataDir          string
	env              []string
	ended            chan struct{}
	err              error // after ended
}

// command is a call of postern that shares nothing with other tests.
func command(t *testing.T, dataDir string, args ...string) *exec.Cmd {
	t.Helper()
	envoy := fixture.EnvoyPath(t) // skips under -short
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "POSTERN_ENVOY_PATH="+envoy, "POSTERN_DATA_DIR="+dataDir, "TMPDIR="+filepath.Dir(dataDir))
	return cmd
}

// launch starts `postern run --dev` and does not wait for anything.
func launch(t *testing.T, env []string, args ...string) *gateway {
	t.Helper()
	return launchRun(t, env, append([]string{"--dev"}, args...)...)
}

// launchRun starts `postern run`.
func launchRun(t *testing.T, env []string, args ...string) *gateway {
	t.Helper()
	g := &gateway{
		t: t, stdout: &output{}, stderr: &output{}, http: fixture.Address(t), management: fixture.Address(t),
		dataDir: filepath.Join(fixture.TempDir(t), "data"), ended: make(chan struct{}),
	}
	g.env = append([]string{"POSTERN_LISTEN_HTTP=" + g.http, "POSTERN_MANAGEMENT_LISTEN=" + g.management}, env...)
	g.cmd = command(t, g.dataDir, append([]string{"run"}, args...)...)
	g.cmd.Env = append(g.cmd.Env, g.env...)
	g.cmd.Stdout, g.cmd.Stderr = g.stdout, g.stderr
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { g.err = g.cmd.Wait(); close(g.ended) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway said:\n%s", g.stderr)
		}
		fixture.ListenersKept(t, filepath.Join(g.dataDir, "envoy-admin.sock"))
		_ = g.cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-g.ended:
		case <-time.After(fixture.Patience):
			_ = g.cmd.Process.Kill()
			<-g.ended
			t.Errorf("the gateway did not end when it was told to:\n%s", g.stderr)
		}
		if strings.Contains(g.stderr.String(), "DATA RACE") { // GOFLAGS=-race go test ./test/e2e
			t.Errorf("the gateway has a data race:\n%s", g.stderr)
		}
	})
	return g
}

// start is launch, until everything is served.
func start(t *testing.T, env []string, args ...string) *gateway {
	t.Helper()
	g := launch(t, env, args...)
	g.ready()
	return g
}

func (g *gateway) ready() {
	g.t.Helper()
	fixture.WaitFor(g.t, "the gateway to be ready", func() bool {
		select {
		case <-g.ended:
			g.t.Fatalf("the gateway ended: %v\n%s", g.err, g.stderr)
		default:
		}
		res, err := http.Get("http://" + g.management + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// exit waits for the end and returns the exit code.
func (g *gateway) exit() int {
	g.t.Helper()
	select {
	case <-g.ended:
	case <-time.After(fixture.Patience):
		g.t.Fatalf("the gateway does not end:\n%s", g.stderr)
	}
	return g.cmd.ProcessState.ExitCode()
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is that of a problem.
func (a answer) code(t *testing.T) string {
	t.Helper()
	var p struct{ Code, Instance, Title string }
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || !strings.HasPrefix(p.Instance, "urn:uuid:") || p.Title == "" ||
		a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("no problem: %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	return p.Code
}

func (g *gateway) call(method, path, token string) (answer, error) {
	req, err := http.NewRequest(method, "http://"+g.http+path, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, err
}

// get is call for those who expect to be answered.
func (g *gateway) get(method, path, token string) answer {
	g.t.Helper()
	a, err := g.call(method, path, token)
	if err != nil {
		g.t.Fatalf("%s %s: %v\n%s", method, path, err, g.stderr)
	}
	return a
}

// token asks for one as a developer does.
func (g *gateway) token(args ...string) string {
	g.t.Helper()
	cmd := command(g.t, g.dataDir, append([]string{"token"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("postern token: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// metrics is a scrape.
func (g *gateway) metrics() string {
	g.t.Helper()
	res, err := http.Get("http://" + g.management + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		g.t.Fatalf("%s %v", res.Status, err)
	}
	return string(body)
}

// envoys are the processes of Envoys that became live, oldest first.
func (g *gateway) envoys() (pids []int) {
	for line := range strings.Lines(g.stderr.String()) {
		if _, after, ok := strings.Cut(line, `msg="envoy is live" pid=`); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(after))
			pids = append(pids, pid)
		}
	}
	return pids
}

// envoy is the first Envoy's process. What it serves may be ready a moment before the log says which it is.
func (g *gateway) envoy() int {
	g.t.Helper()
	fixture.WaitFor(g.t, "the log's word of a live Envoy", func() bool { return len(g.envoys()) > 0 })
	return g.envoys()[0]
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// backend answers everything with what it was asked, and can be stopped.
func backend(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, r.URL)
	}))
	t.Cleanup(s.Close)
	return s
}

// definition is an OpenAPI definition of one open operation, GET /hello, under base.
func definition(title, base, backend string) string {
	return fmt.Sprintf(`openapi: 3.0.3
info: {title: %s, version: "1"}
x-wso2-basePath: %s
servers: [{url: %q}]
security: [{}]
paths:
  /hello:
    get:
      responses: {"200": {description: ok}}
`, title, base, backend)
}

// project writes a project of one definition and returns its folder and the definition's file.
func project(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "shop")
	file = filepath.Join(dir, "api_definitions", "shop.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, file, text)
	return dir, file
}

// write replaces a file at once, as editors do.
func write(t *testing.T, path, text string) {
	t.Helper()
	next := path + "~"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}
