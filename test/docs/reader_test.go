package docs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
)

const (
	root    = "../.."
	patient = 3 * time.Minute // for anything that a reader waits for: `make run` builds, too
	longest = 5 * time.Minute // for a command: the first build on a small machine is one
)

// wellKnown are the ports that the pages speak of. Each reader gets others, so that pages run side by side.
var wellKnown = regexp.MustCompile(`\b(9090|9091|9092|9095|9190|9191|9843|9844|9845|9846|9443|18000|18001|18002)\b`)

// A reader has a checkout, a shell whose variables last from block to block, and programs running in other terminals.
type reader struct {
	t         *testing.T
	folder    string
	ports     map[string]string // well-known → ours
	real      *strings.Replacer // ours → well-known, to compare what is printed
	env       []string
	terminals map[string]*terminal
}

// newReader makes a reader who finds the well-known ports where choose says.
func newReader(t *testing.T, choose func(t *testing.T, port string) string) *reader {
	t.Helper()
	fixture.EnvoyPath(t) // which fails with the way to get one
	// why: a socket's path has at most 107 bytes, which t.TempDir alone may use up
	folder, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, folder: folder, ports: map[string]string{}, terminals: map[string]*terminal{}}
	t.Cleanup(r.leave)
	var back []string
	for _, port := range []string{"9090", "9091", "9092", "9095", "9190", "9191", "9843", "9844", "9845", "9846", "9443", "18000", "18001", "18002"} {
		r.ports[port] = choose(t, port)
		back = append(back, ":"+r.ports[port], ":"+port)
	}
	r.real = strings.NewReplacer(append(back, folder, "/home/ann/postern")...)
	r.checkout()
	tools, err := filepath.Abs(filepath.Join(root, ".tools", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	r.write(".curl/.curlrc", "silent\nshow-error\nmax-time = 20\n")
	r.env = append(os.Environ(),
		"PATH="+strings.Join([]string{programs, tools, os.Getenv("PATH")}, string(os.PathListSeparator)),
		"CURL_HOME="+filepath.Join(folder, ".curl"),
		"POSTERN_LISTEN_HTTP=127.0.0.1:"+r.ports["9090"],
		"POSTERN_MANAGEMENT_LISTEN=127.0.0.1:"+r.ports["9843"],
		"POSTERN_VAR_PETS=127.0.0.1:"+r.ports["9091"],
		"NO_COLOR=1", "CI=",
	)
	return r
}

// checkout copies the work tree, with its well-known ports replaced in the examples.
func (r *reader) checkout() {
	r.t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == ".git" || name == ".tools" || name == "bin" || name == "dist" || name == ".postern" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(r.folder, name), 0o755)
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "examples/") && !strings.HasSuffix(name, ".go") {
			content = []byte(r.localize(string(content)))
		}
		return os.WriteFile(filepath.Join(r.folder, name), content, info.Mode().Perm())
	})
	if err != nil {
		r.t.Fatal(err)
	}
	tools, err := filepath.Abs(filepath.Join(root, ".tools"))
	if err == nil {
		err = os.Symlink(tools, filepath.Join(r.folder, ".tools"))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) localize(text string) string {
	return wellKnown.ReplaceAllStringFunc(text, func(port string) string { return r.ports[port] })
}

func (r *reader) write(name, text string) {
	r.t.Helper()
	file := filepath.Join(r.folder, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(r.localize(text)), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// paste runs a block in the reader's shell and compares what it prints.
func (r *reader) paste(b block, want string) {
	r.t.Helper()
	deadline := time.Now().Add(patient)
	for {
		output, code := r.shell(b.text)
		wrong := ""
		switch {
		case code != b.exit:
			wrong = fmt.Sprintf("ended with %d, expected %d", code, b.exit)
		case want != "" && !shows(want, output):
			wrong = "printed something else than\n" + want
		}
		if wrong == "" {
			return
		}
		if !b.eventually || time.Now().After(deadline) {
			r.t.Errorf("line %d:\n%s%s. It printed:\n%s%s", b.line, b.text, wrong, output, r.screens())
			return
		}
		time.Sleep(100 * time.Millisecond) // between two tries of what cannot be waited for
	}
}

// shell runs a script with the variables and in the folder that the script before it left.
func (r *reader) shell(script string) (output string, code int) {
	r.t.Helper()
	state := filepath.Join(r.folder, ".shell")
	prologue := `set -eo pipefail; if [ -f ` + state + ` ]; then . ` + state + `; cd "$PWD"; fi; set -a; trap 'export -p >` + state + "' EXIT\n"
	ctx, cancel := context.WithTimeout(r.t.Context(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", prologue+r.localize(script))
	cmd.Dir, cmd.Env = r.folder, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		r.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return r.real.Replace(string(out)), cmd.ProcessState.ExitCode()
}

// start runs a block in a terminal of its own and waits until it serves.
func (r *reader) start(b block) {
	r.t.Helper()
	if old := r.terminals[b.name]; old != nil {
		old.interrupt(r.t)
	}
	one := &terminal{name: b.name, exited: make(chan struct{})}
	one.cmd = exec.Command("bash", "-c", r.localize(b.text))
	one.cmd.Dir, one.cmd.Env = r.folder, r.env
	one.cmd.Stdout, one.cmd.Stderr = &one.screen, &one.screen
	one.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal does, so that Ctrl-C reaches all of it
	if err := one.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = one.cmd.Wait()
		close(one.exited)
	}()
	r.terminals[b.name] = one
	serves := func() bool { return answers("http://127.0.0.1:" + r.ports["9843"] + "/readyz") }
	if b.ready != "" {
		serves = func() bool { return accepts(r.localize(b.ready)) }
	}
	for deadline := time.Now().Add(patient); !serves(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-one.exited:
			r.t.Fatalf("line %d: %sended at once:\n%s", b.line, b.text, one.screen.String())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("line %d: %sdoes not serve:%s", b.line, b.text, r.screens())
		}
	}
}

// screens is what the reader's other terminals show.
func (r *reader) screens() string {
	var b strings.Builder
	for name, one := range r.terminals {
		fmt.Fprintf(&b, "\n-- the terminal of %s shows:\n%s", name, one.screen.String())
	}
	return b.String()
}

// leave presses Ctrl-C everywhere and looks whether something stayed behind.
func (r *reader) leave() {
	for _, one := range r.terminals {
		one.interrupt(r.t)
	}
	if left := gateway.Processes(r.folder); len(left) > 0 {
		r.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if err := os.RemoveAll(r.folder); err != nil {
		r.t.Error(err)
	}
}

// A terminal is where something runs until Ctrl-C.
type terminal struct {
	name   string
	cmd    *exec.Cmd
	screen fixture.Log
	exited chan struct{}
}

// interrupt is Ctrl-C. What does not end by it is a failure.
func (one *terminal) interrupt(t *testing.T) {
	t.Helper()
	select {
	case <-one.exited:
		return
	default:
	}
	_ = syscall.Kill(-one.cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-one.exited:
	case <-time.After(patient / 6):
		t.Errorf("%s goes on after Ctrl-C:\n%s", one.name, one.screen.String())
		_ = syscall.Kill(-one.cmd.Process.Pid, syscall.SIGKILL)
		<-one.exited
	}
}

func answers(url string) bool {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	client.CloseIdleConnections()
	return response.StatusCode == http.StatusOK
}

func accepts(address string) bool {
	connection, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

func freePort(t *testing.T, _ string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
