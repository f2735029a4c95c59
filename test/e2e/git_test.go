package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// gitServer serves a repository to those who have the token, unless it is away.
type gitServer struct {
	url  string
	away atomic.Bool
}

const gitToken = "hunter2-of-git"

func serveGit(t *testing.T, r *fixture.Repository) *gitServer {
	t.Helper()
	s := &gitServer{}
	program := &cgi.Handler{
		Path: filepath.Join(r.Git(r.Dir, "--exec-path"), "git-http-backend"), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + r.Dir, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + r.Dir},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch _, password, _ := q.BasicAuth(); {
		case s.away.Load():
			http.Error(w, "away, "+q.Header.Get("Authorization"), http.StatusBadGateway)
		case password != gitToken:
			http.Error(w, "who is this", http.StatusUnauthorized)
		default:
			program.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/apis.git"
	return s
}

// source is the environment of a gateway that follows the repository.
func (s *gitServer) source() []string {
	return []string{
		"POSTERN_VAR_GIT_TOKEN=" + gitToken,
		fmt.Sprintf(`POSTERN_SOURCES=[{"git": {"url": %q, "token": "${POSTERN_VAR_GIT_TOKEN}", "poll": "1s"}}]`, s.url),
	}
}

// says waits until a path is answered with a status.
func (g *gateway) says(path string, status int) {
	g.t.Helper()
	fixture.WaitFor(g.t, fmt.Sprintf("%s to be %d", path, status), func() bool {
		a, err := g.call("GET", path, "")
		return err == nil && a.status == status
	})
}

// readyz is what the gateway says of itself.
func readyz(management string) string {
	res, err := http.Get("http://" + management + "/readyz")
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

func TestABranchIsServed(t *testing.T) {
	t.Parallel()
	b := backend(t)
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"books/api_definitions/a.yaml": definition("books", "/books", b.URL)})
	server := serveGit(t, r)
	dir, _ := project(t, definition("pets", "/pets", b.URL))
	g := start(t, server.source(), dir)
	g.says("/books/hello", 200)
	g.says("/pets/hello", 200)

	// One project is broken, one is new, one has the name of the folder.
	second := r.Commit(map[string]string{
		"books/api_definitions/a.yaml": "openapi: 3.0.3\n",
		"cats/api_definitions/a.yaml":  definition("cats", "/cats", b.URL),
		"shop/api_definitions/a.yaml":  definition("dogs", "/dogs", b.URL),
	})
	g.says("/cats/hello", 200)
	g.says("/books/hello", 200)
	g.says("/dogs/hello", 404)
	fixture.WaitFor(t, "the conflict to be told", func() bool {
		return strings.Contains(g.stderr.String(), "the project shop comes from folder "+dir+" already") && strings.Contains(g.stderr.String(), "this one is git "+server.url+"#main")
	})
	for _, want := range []string{`postern_git_commit_info{commit="` + second + `",source="` + server.url + `#main"} 1`, `postern_git_failures_total{source="` + server.url + `#main"} 0`} {
		if got := g.metrics(); !strings.Contains(got, want) {
			t.Errorf("no %s in the metrics:\n%s", want, got)
		}
	}
	third := r.Commit(map[string]string{"books/api_definitions/a.yaml": definition("books", "/books/2", b.URL), "cats": "", "shop": ""})
	g.says("/books/2/hello", 200)
	g.says("/cats/hello", 404)

	server.away.Store(true)
	fixture.WaitFor(t, "a note", func() bool {
		now := readyz(g.management)
		return strings.HasPrefix(now, "200 ") && strings.Contains(now, "is served at commit "+third) && strings.Contains(now, "502 Bad Gateway: away, Basic [redacted]")
	})
	_ = g.cmd.Process.Signal(syscall.SIGINT)
	g.exit()

	again := start(t, append(server.source(), "POSTERN_DATA_DIR="+g.dataDir), dir) // while it is away
	again.says("/books/2/hello", 200)
	r.Git(r.Work, "reset", "-q", "--hard", first)
	r.Commit(map[string]string{"books/api_definitions/a.yaml": definition("books", "/books/3", b.URL)})
	server.away.Store(false)
	fixture.WaitFor(t, "the refusal of another history", func() bool { return strings.Contains(readyz(again.management), "the history of main was rewritten") })
	again.says("/books/2/hello", 200)
	for _, said := range []string{g.stderr.String(), again.stderr.String(), readyz(again.management), again.metrics()} {
		if strings.Contains(said, gitToken) {
			t.Errorf("the token is told:\n%s", said)
		}
	}
}

// TestAnAdapterWaitsForItsBranches: gateways that serve what was there before must not be told that it is gone.
func TestAnAdapterWaitsForItsBranches(t *testing.T) {
	t.Parallel()
	dataDir, management := filepath.Join(fixture.TempDir(t), "data"), fixture.Address(t)
	r := fixture.NewRepository(t)
	server := serveGit(t, r)
	cmd := command(t, dataDir, "adapter")
	cmd.Env = append(append(cmd.Env, server.source()...), "POSTERN_MANAGEMENT_LISTEN="+management)
	cmd.Dir = t.TempDir()
	var log fixture.Log
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	fixture.WaitFor(t, "the reason", func() bool {
		now := readyz(management)
		return strings.HasPrefix(now, "503 ") && strings.Contains(now, "git "+server.url+"#main has not been fetched yet: the repository has no branches yet")
	})
	r.Commit(map[string]string{"project.yaml": "name: books\n", "api_definitions/a.yaml": definition("books", "/books", "http://127.0.0.1:9")})
	fixture.WaitFor(t, "the adapter to be ready", func() bool { return strings.HasPrefix(readyz(management), "200 ") })
	if !strings.Contains(log.String(), "api published") {
		t.Errorf("ready without the branch:\n%s", log.String())
	}
}

// TestABranchOutlivesKills: whatever moment an adapter is killed at, what is on disk is whole.
func TestABranchOutlivesKills(t *testing.T) {
	t.Parallel()
	dataDir := filepath.Join(fixture.TempDir(t), "data")
	r := fixture.NewRepository(t)
	files := func(n int) map[string]string {
		all := map[string]string{}
		for p := range 20 {
			all[fmt.Sprintf("p%d/api_definitions/a.yaml", p)] = definition(fmt.Sprintf("api%d", p), fmt.Sprintf("/a%d/%d", p, n), "http://127.0.0.1:9")
		}
		return all
	}
	r.Commit(files(0))
	const kills = 15
	fromDisk := 0
	for n := range kills {
		cmd := command(t, dataDir, "adapter")
		cmd.Env = append(cmd.Env, fmt.Sprintf(`POSTERN_SOURCES=[{"git": {"url": "file://%s", "poll": "1s"}}]`, r.Bare), "POSTERN_MANAGEMENT_LISTEN=127.0.0.1:0")
		cmd.Dir = t.TempDir()
		var log fixture.Log
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond) // any moment will do
		if n == kills/2 || n == kills-1 {                                 // why in the middle, too: from then on there is something on disk, however slow the machine
			head := r.Git(r.Work, "rev-parse", "HEAD")
			fixture.WaitFor(t, "the commit to be served", func() bool { return strings.Contains(log.String(), "commit="+head) })
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		said := log.String()
		if strings.Contains(said, "is not served from disk") {
			t.Fatalf("what the kill before left is of no use:\n%s", said)
		}
		if strings.Contains(said, "serves from disk until") {
			fromDisk++
		}
		if n < kills-2 {
			r.Commit(files(n + 1))
		}
	}
	if fromDisk == 0 {
		t.Error("nothing was ever served from disk")
	}
}
