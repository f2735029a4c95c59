// Package gateway starts the whole of Postern for a test, as its user does: the built program, a real Envoy, a project
// in a folder. It must import nothing of the product.
package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// program is what Main has built.
var program string

// Main runs the tests of a package that starts gateways: call it from TestMain. It builds the program once, with the race
// detector if TEST_BUILD_FLAGS says -race, and not at all under -short.
func Main(m *testing.M, short func() bool) int {
	if short() {
		return m.Run()
	}
	folder, err := os.MkdirTemp("", "p")
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		program = filepath.Join(folder, "postern")
		err = Build(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Build builds the program into file. It is called in a folder of the module.
func Build(file string) error {
	arguments := append([]string{"build", "-o", file}, strings.Fields(os.Getenv("TEST_BUILD_FLAGS"))...)
	out, err := exec.Command("go", append(arguments, "github.com/postern-gateway/postern/cmd/postern")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Gateway is one running `postern run`.
type Gateway struct {
	Address    string // of the data plane
	Management string
	Folder     string // its working directory; the project is in Folder/project

	t      testing.TB
	cmd    *exec.Cmd
	exited chan struct{}
	log    fixture.Log // what it tells on stderr; its stdout is Envoy's access log
}

// Options say what to start.
type Options struct {
	Files     map[string]string // of the project, by name
	Config    string            // postern.yaml; listeners and dataDir are chosen here
	Arguments []string          // beside `run project`
	Env       []string
	// Pushed: no project is in a folder; they come by the management API.
	Pushed bool
}

// Program is the built program.
func Program() string { return program }

// Start starts a gateway, waits until it serves, and stops it at the test's end, when nothing of it may stay behind.
func Start(t testing.TB, o Options) *Gateway {
	t.Helper()
	envoy := fixture.EnvoyPath(t)
	g := &Gateway{t: t, Folder: fixture.TempDir(t), exited: make(chan struct{}), Address: fixture.Address(t), Management: fixture.Address(t)}
	for name, content := range o.Files {
		g.Write(name, content)
	}
	if err := os.WriteFile(filepath.Join(g.Folder, "postern.yaml"), []byte(o.Config), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"run", "project", "--config", "postern.yaml"}
	if o.Pushed {
		arguments = slices.Delete(arguments, 1, 2)
	}
	g.cmd = exec.Command(program, append(arguments, o.Arguments...)...)
	g.cmd.Dir = g.Folder
	g.cmd.Env = append(append(os.Environ(),
		"POSTERN_ENVOY_PATH="+envoy, "POSTERN_LISTEN_HTTP="+g.Address, "POSTERN_MANAGEMENT_LISTEN="+g.Management,
		"POSTERN_ENVOY_CONCURRENCY=1", "POSTERN_ENVOY_DRAIN=200ms", "GORACE=halt_on_error=1 exitcode=66"), o.Env...)
	g.cmd.Stderr = &g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.exited)
	}()
	t.Cleanup(g.Stop)
	g.WaitReady()
	return g
}

// Write puts a file of the project in place, in one step.
func (g *Gateway) Write(name, content string) {
	g.t.Helper()
	file := filepath.Join(g.Folder, "project", filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file+"~", []byte(content), 0o644)
	}
	if err == nil {
		err = os.Rename(file+"~", file)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// WaitReady waits until /readyz says yes.
func (g *Gateway) WaitReady() {
	g.t.Helper()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(2 * fixture.Patience); ; time.Sleep(5 * time.Millisecond) {
		if response, err := client.Get("http://" + g.Management + "/readyz"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if g.Exited() || time.Now().After(deadline) {
			g.t.Fatalf("the gateway does not become ready:\n%s", g.Log())
		}
	}
}

// Exited says whether the gateway has ended.
func (g *Gateway) Exited() bool {
	select {
	case <-g.exited:
		return true
	default:
		return false
	}
}

// Log is what it has written so far.
func (g *Gateway) Log() string { return g.log.String() }

// PID is the gateway's own process.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Run runs another command of the same program in the gateway's folder and returns what it writes to stdout.
func (g *Gateway) Run(arguments ...string) string {
	g.t.Helper()
	cmd := exec.Command(program, arguments...)
	cmd.Dir = g.Folder
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("postern %s: %v\n%s%s", strings.Join(arguments, " "), err, out, errors.String())
	}
	return strings.TrimSpace(string(out))
}

// Stop ends the gateway as Ctrl-C does. It fails the test if that takes long, if a race was found, or if something of it
// stays: a process, a socket. It may be called more than once.
func (g *Gateway) Stop() {
	g.t.Helper()
	if g.Exited() && g.cmd.ProcessState.ExitCode() == 0 {
		return
	}
	fixture.ListenersKept(g.t, filepath.Join(g.Folder, ".postern", "envoy-admin.sock"))
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
	case <-time.After(fixture.Patience):
		g.t.Errorf("the gateway goes on after SIGTERM:\n%s", g.Log())
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Errorf("the gateway ended with %d:\n%s", code, g.Log())
	}
	if g.t.Failed() {
		g.t.Logf("the gateway's log:\n%s", g.Log())
	}
	sockets, _ := filepath.Glob(filepath.Join(g.Folder, ".postern", "*.sock"))
	if left := append(Processes(g.Folder), sockets...); len(left) > 0 {
		g.t.Errorf("left behind: %s", strings.Join(left, "\n"))
	}
}

// Processes lists what runs in folder or below it. It knows how on Linux only, and finds nothing elsewhere.
func Processes(folder string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var found []string
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || cwd != folder && !strings.HasPrefix(cwd, folder+"/") {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		found = append(found, filepath.Base(filepath.Dir(link))+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return found
}
