package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	rounds         int
	time           time.Duration
	envoy, postern string
	verbose        bool
}

// lab is where one row is measured: a folder of its own, and the processes started for it.
type lab struct {
	options
	dir       string
	processes []*process
	subs      []*lab
	notes     []note
}

// note is what a row measured on the way to its number.
type note struct {
	name, unit string
	values     []float64
}

func newLab(o options) (*lab, error) {
	dir, err := os.MkdirTemp("", "pb") // short: unix sockets live here, whose paths are at most 107 bytes long
	if err != nil {
		return nil, err
	}
	return &lab{options: o, dir: dir}, nil
}

// sub is a lab within the lab, for a second gateway. It is closed with the first at the latest.
func (l *lab) sub(name string) (*lab, error) {
	dir := l.path(name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &lab{options: l.options, dir: dir}
	l.subs = append(l.subs, s)
	return s, nil
}

// close ends all processes, the last started first, and removes the folder.
func (l *lab) close() {
	for _, s := range l.subs {
		s.close()
	}
	for len(l.processes) > 0 {
		l.end(l.processes[len(l.processes)-1])
	}
	_ = os.RemoveAll(l.dir)
}

// end ends one process before the others.
func (l *lab) end(p *process) {
	p.stop()
	l.processes = slices.DeleteFunc(l.processes, func(other *process) bool { return other == p })
}

func (l *lab) note(name string, value float64, unit string) {
	for i := range l.notes {
		if l.notes[i].name == name {
			l.notes[i].values = append(l.notes[i].values, value)
			return
		}
	}
	l.notes = append(l.notes, note{name: name, unit: unit, values: []float64{value}})
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// write puts a file into the lab's folder.
func (l *lab) write(name, content string) (string, error) {
	path := l.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// explain adds the last words of processes to an error.
func (l *lab) explain(err error) error {
	errs := []error{err}
	for _, s := range l.subs {
		errs = append(errs, s.explain(nil))
	}
	for _, p := range l.processes {
		if words := p.output.lastLines(8); words != "" {
			errs = append(errs, fmt.Errorf("%s said:\n%s", p.name, words))
		}
	}
	return errors.Join(errs...)
}

// process is one that the lab started and will end.
type process struct {
	name   string
	cmd    *exec.Cmd
	done   chan struct{}
	output *tail64
}

// start starts a program whose output is kept for when something goes wrong.
func (l *lab) start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{}), output: &tail64{}}
	if cmd.Stdout == nil {
		cmd.Stdout = p.output
	}
	cmd.Stderr = p.output
	if l.verbose {
		cmd.Stderr = io.MultiWriter(p.output, os.Stderr)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is ours to pass on, in order
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	l.processes = append(l.processes, p)
	return p, nil
}

// stop asks the process to end, and after five seconds makes it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// serve starts this program again as one of its servers (serve.go) and waits until it listens. hint is what the server
// has to tell its clients.
func (l *lab) serve(ctx context.Context, what string, args ...string) (hint string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self, append([]string{"serve", what}, args...)...)
	stdin, err := cmd.StdinPipe() // the server ends when this closes, should we be killed
	if err != nil {
		return "", err
	}
	stdout, w := io.Pipe()
	cmd.Stdout = w
	p, err := l.start(what, cmd)
	if err != nil {
		return "", err
	}
	go func() {
		<-p.done
		_ = stdin.Close()
		_ = w.CloseWithError(errors.New("it ended"))
	}()
	line := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		s, _ := r.ReadString('\n')
		line <- s
		_, _ = io.Copy(io.Discard, r)
	}()
	select {
	case s := <-line:
		hint, ok := strings.CutPrefix(strings.TrimSpace(s), "ready")
		if !ok {
			return "", fmt.Errorf("%s did not start", what)
		}
		return strings.TrimSpace(hint), nil
	case <-time.After(20 * time.Second):
		return "", fmt.Errorf("%s did not start within 20 s", what)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// freePort returns a port of the loopback that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// often is how often until tries where time is what is measured.
const often = 2 * time.Millisecond

// until tries until it works or the time is over.
func until(ctx context.Context, every, limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// tail64 keeps the last 64 kB of what is written to it.
type tail64 struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail64) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if over := len(t.data) - 64<<10; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(b), nil
}

func (t *tail64) lastLines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// dial says whether somebody listens.
func dial(address string) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}
