package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// remoteOf is how a repository is reached, and its URL as people may see it.
func remoteOf(o Options) (remote, string, error) {
	if user, rest, found := strings.Cut(o.URL, "@"); found && !strings.Contains(o.URL, "://") {
		host, path, _ := strings.Cut(rest, ":")
		r, err := newShell(o, user, host, "22", path)
		return r, rest, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, "", errors.New("the url of a git source cannot be read") // why not which: it may hold a password
	}
	shown := *u
	shown.User = nil
	var r remote
	switch u.Scheme {
	case "https", "http":
		o.URL = shown.String()
		r, err = newWeb(o)
	case "ssh":
		port := u.Port()
		if port == "" {
			port = "22"
		}
		path := u.Path
		if strings.HasPrefix(path, "/~") {
			path = path[1:] // somebody's home
		}
		r, err = newShell(o, u.User.Username(), u.Hostname(), port, path)
	case "file":
		r = connected{begin: local{u.Path}.begin}
	default:
		return nil, "", fmt.Errorf("git source %s: the scheme must be https, http, ssh or file", shown.String())
	}
	if err != nil {
		return nil, "", fmt.Errorf("git source %s: %w", shown.String(), err)
	}
	return r, shown.String(), nil
}

// readRefs reads what a server advertises.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(&bounded{r, maxAdvertised, fmt.Errorf("the server has more than %d MiB of branches and tags", maxAdvertised>>20)})
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return refs, nil // it has no commits yet
	case err != nil:
		return nil, fmt.Errorf("what the server answers cannot be read: %w", err)
	}
	return refs, nil
}

// connected is a repository behind a program that reads and writes: here, or by ssh.
type connected struct {
	// begin starts git-upload-pack. It ends with ctx.
	begin func(ctx context.Context) (*conversation, error)
}

// conversation is with one git-upload-pack.
type conversation struct {
	in     io.WriteCloser
	out    io.Reader
	errors *words
	close  func() error
}

func (connected) secrets() []string { return nil }

func (c connected) advertise(ctx context.Context) (*packp.AdvRefs, error) {
	talk, refs, err := c.greet(ctx)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(talk.in, "0000") // nothing is wanted
	_ = talk.close()                         // what matters was said
	return refs, err
}

func (c connected) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	talk, _, err := c.greet(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := talk.in.Write(request); err != nil {
		_ = talk.close() // the first error says more
		return nil, talk.explain(err)
	}
	return talk, nil
}

// greet begins and hears what is advertised.
func (c connected) greet(ctx context.Context) (*conversation, *packp.AdvRefs, error) {
	talk, err := c.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	refs, err := readRefs(talk.out)
	if err != nil {
		_ = talk.close() // the first error says more
		return nil, nil, talk.explain(err)
	}
	return talk, refs, nil
}

func (t *conversation) Read(p []byte) (int, error) { return t.out.Read(p) }

func (t *conversation) Close() error {
	_ = t.in.Close() // the program may have ended before
	return t.close()
}

// explain adds what the program wrote to its standard error.
func (t *conversation) explain(err error) error {
	if said := t.errors.String(); said != "" {
		return fmt.Errorf("%w; the other side says: %s", err, said)
	}
	return err
}

// words keep the beginning of what is written to them.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	const most = 1000
	w.text.Write(p[:min(len(p), max(0, most-w.text.Len()))])
	return len(p), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.text.String())
}

// local is a repository on this machine, which the git program reads.
type local struct{ path string }

func (l local) begin(ctx context.Context) (*conversation, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return nil, errors.New("a file:// source needs the git program, which is not on PATH; use https or ssh")
	}
	if _, err := os.Stat(l.path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, "upload-pack", "--", l.path)
	talk := &conversation{errors: &words{}}
	cmd.Stderr = talk.errors
	cmd.WaitDelay = time.Second // why: what it started may outlive it for a moment
	cmd.Env = append(os.Environ(), "GIT_PROTOCOL=")
	if talk.in, err = cmd.StdinPipe(); err == nil {
		talk.out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	talk.close = func() error {
		cancel()
		_ = cmd.Wait() // how it ended matters not: what it said was read
		return nil
	}
	return talk, nil
}
