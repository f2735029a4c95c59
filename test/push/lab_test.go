// Package push drives the control plane as CI does: the real program, its management API, a real Envoy; and does to it what
// happens to real ones. It imports nothing of Postern's but what tests share
// and the names of what is on the wire.
package push

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
)

// program is the postern binary, built once.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // every test here needs processes
		os.Exit(m.Run())
	}
	folder, err := os.MkdirTemp("", "pp")
	if err == nil {
		program = filepath.Join(folder, "postern")
		err = gateway.Build(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// lab is an adapter, and whoever connects to it.
type lab struct {
	t       *testing.T
	dir     string
	http    string // the data plane
	admin   string // the management API
	backend *fixture.Backend

	mu      sync.Mutex
	adapter *process
	log     fixture.Log // of all its lives
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dir: fixture.TempDir(t), http: fixture.Address(t), admin: fixture.Address(t)}
	l.backend = fixture.StartBackend(t, "pets", fixture.BackendOptions{})
	l.write("postern.yaml", fmt.Sprintf("listen: {http: %q}\nmanagement: {listen: %q}\nenvoy: {concurrency: 1, drain: 100ms}\n", l.http, l.admin))
	return l
}

// socket is where gateways connect.
func (l *lab) socket() string { return "unix:" + filepath.Join(l.dir, ".postern", "xds.sock") }

func (l *lab) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// process is one part of the gateway.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a part, which ends with the test.
func (l *lab) start(log io.Writer, arguments ...string) *process {
	l.t.Helper()
	return l.startIn(".", log, arguments...)
}

// startIn starts a part with the configuration of a folder.
func (l *lab) startIn(folder string, log io.Writer, arguments ...string) *process {
	l.t.Helper()
	p := &process{cmd: exec.Command(program, append(arguments, "--config", "postern.yaml")...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr = filepath.Join(l.dir, folder), log
	p.cmd.Env = append(os.Environ(), "POSTERN_ENVOY_PATH="+fixture.EnvoyPath(l.t))
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	l.t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(fixture.Patience):
			p.kill()
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// startAdapter starts the adapter and waits until it answers.
func (l *lab) startAdapter() {
	l.t.Helper()
	p := l.start(&l.log, "adapter")
	l.mu.Lock()
	l.adapter = p
	l.mu.Unlock()
	fixture.WaitFor(l.t, "the adapter answers", func() bool {
		select {
		case <-p.done:
			l.t.Fatalf("the adapter has ended:\n%.4000s", l.log.String())
		default:
		}
		answer, err := client.Get("http://" + l.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// restart ends the adapter as a power failure would, and starts it again.
func (l *lab) restart() {
	l.mu.Lock()
	p := l.adapter
	l.mu.Unlock()
	p.kill()
	l.startAdapter()
}

var client = &http.Client{Timeout: 30 * time.Second}

// token is the admin's, which the first start has made.
func (l *lab) token() string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, ".postern", "admin.token"))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// answer is one of the management API.
type answer struct {
	status int
	body   []byte
}

// project is what is told of one.
type project struct {
	Revision uint64 `json:"revision"`
	Digest   string `json:"digest"`
	State    string `json:"state"`
}

func (a answer) project(t *testing.T) project {
	t.Helper()
	var p project
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return p
}

// call asks the management API. An error is that nobody knows what came of it.
func (l *lab) call(token, method, path string, body []byte) (answer, error) {
	request, err := http.NewRequest(method, "http://"+l.admin+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		request.Header.Set("Content-Type", "application/zip")
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, text}, err
}

// definition is an API without security, at /NAME, which serves these paths.
func (l *lab) definition(name string, paths ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "openapi: 3.0.3\ninfo: {title: %s, version: 1.0.0}\nx-wso2-basePath: /%[1]s\nx-wso2-disable-security: true\nservers: [{url: \"http://%s:%d\"}]\npaths:\n",
		name, l.backend.Host, l.backend.Port)
	for _, path := range paths {
		fmt.Fprintf(&text, "  %s: {get: {responses: {\"200\": {description: ok}}}}\n", path)
	}
	return text.String()
}

// archive packs a project of one API.
func (l *lab) archive(name string, paths ...string) []byte {
	l.t.Helper()
	return l.packed(name, l.definition(name, paths...))
}

// packed packs a project of one definition.
func (l *lab) packed(name, definition string) []byte {
	l.t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.Create("api_definitions/" + name + ".yaml")
	if err == nil {
		_, err = io.WriteString(f, definition)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		l.t.Error(err)
	}
	return out.Bytes()
}
