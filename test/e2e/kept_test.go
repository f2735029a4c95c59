package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/test/fixture"
)

// again starts a gateway that was killed with the same data folder, and does not wait for anything.
func (g *gateway) again(args ...string) {
	g.t.Helper()
	cmd := command(g.t, g.dataDir, append([]string{"run", "--dev"}, args...)...)
	cmd.Env = append(cmd.Env, g.env...)
	cmd.Stdout, cmd.Stderr = g.stdout, g.stderr
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd, g.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) { g.err = cmd.Wait(); close(ended) }(g.ended)
}

// kill ends a gateway at once.
func (g *gateway) kill() {
	g.t.Helper()
	if err := g.cmd.Process.Kill(); err != nil {
		g.t.Fatal(err)
	}
	g.exit()
}

// TestABrokenEditAndAKill: who starts in the middle of an edit serves what was good before it, even where nothing else is
// there to serve, and the edit's end is live.
func TestABrokenEditAndAKill(t *testing.T) {
	t.Parallel()
	text := definition("Shop", "/shop", backend(t).URL)
	dir, file := project(t, text)
	g := start(t, []string{"POSTERN_LOG_LEVEL=debug"}, dir)
	fixture.WaitFor(t, "the project to be kept", func() bool { return strings.Contains(g.stderr.String(), "project kept as it is") })
	write(t, file, strings.Replace(text, "security: [{}]", "security: [{ghost: []}]", 1))
	fixture.WaitFor(t, "the broken edit to be told", func() bool { return strings.Contains(g.stderr.String(), "shop.yaml:5:") })
	g.kill()
	g.again(dir)
	g.ready()
	load := g.load("/shop/hello")
	if a := g.get(http.MethodGet, "/shop/hello", ""); a.status != 200 {
		t.Errorf("broken at the start: %d %s", a.status, a.body)
	}
	if !strings.Contains(g.stderr.String(), "serving what was kept of it, of 20") {
		t.Error("nothing says so")
	}
	if info, err := os.Stat(filepath.Join(g.dataDir, "postern.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	write(t, file, strings.Replace(text, "/hello", "/bye", 1))
	load.end() // why: it may see the end of what it calls
	fixture.WaitFor(t, "the mended project", func() bool { return g.get(http.MethodGet, "/shop/bye", "").status == 200 })
}
