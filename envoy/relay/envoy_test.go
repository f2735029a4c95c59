package relay_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

const listenerJSON = `{"name": "http", "address": {"socket_address": {"address": "127.0.0.1", "port_value": %s}},
 "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  "stat_prefix": "http",
  "scoped_routes": {"name": "scopes",
   "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]},
   "rds_config_source": {"ads": {}, "resource_api_version": "V3"},
   "scoped_rds": {"scoped_rds_config_source": {"ads": {}, "resource_api_version": "V3"}}},
  "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`

// listening puts a listener into a content, and returns where it will be.
func (c *content) listening(t *testing.T) (address string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	free.Close()
	c.listeningAt(address)
	return address
}

func (c *content) listeningAt(address string) {
	_, port, _ := net.SplitHostPort(address)
	var l listenerv3.Listener
	if err := protojson.Unmarshal(fmt.Appendf(nil, listenerJSON, port), &l); err != nil {
		panic(err)
	}
	c.message(xds.ListenerType, "http", "1", &l)
}

// scope puts a scope and its table, which answers with its version.
func (c *content) scope(name, version string) {
	c.table(name, version, fmt.Sprintf(`{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": %q}}}`, version))
	c.message(xds.ScopeType, name, "1", &routev3.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: name,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{
			{Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name}},
		}},
	})
}

// refused puts a table that no Envoy takes.
func (c *content) refused(name, version string) {
	c.table(name, version, `{"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 200}}`)
}

func (c *content) table(name, version, route string) {
	var table routev3.RouteConfiguration
	text := fmt.Sprintf(`{"name": %q, "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [%s]}]}`, name, route)
	if err := protojson.Unmarshal([]byte(text), &table); err != nil {
		panic(err)
	}
	c.message(xds.RouteType, name, version, &table)
}

// beside is an Envoy and the process beside it.
type beside struct {
	*rig
	address string // of its listener
}

// run starts an Envoy behind a relay.
func (r *rig) run(address string) *beside {
	r.t.Helper()
	binary, dir := fixture.EnvoyPath(r.t), fixture.TempDir(r.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- envoy.Run(ctx, envoy.Options{
			Binary: binary, Dir: dir, Concurrency: 1, Relay: r.Relay, Log: r.log.Logger(),
			Bootstrap: envoy.Bootstrap{
				ID: "gw", Label: "default", XDS: "unix:" + filepath.Join(dir, "relay.sock"),
				Admin: "unix:" + filepath.Join(dir, "admin.sock"), MaxConnections: 100,
			},
		})
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return &beside{r, address}
}

// answer is what a scope answers, or why it does not.
func (b *beside) answer(scope string) string {
	r, err := http.NewRequest(http.MethodGet, "http://"+b.address+"/", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("X-Scope", scope)
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func (b *beside) answers(scope, want string) {
	b.t.Helper()
	got := ""
	fixture.WaitFor(b.t, fmt.Sprintf("%s to answer %s", scope, want), func() bool { got = b.answer(scope); return got == want })
}

// pid is that of the newest Envoy.
func (b *beside) pid() (pid int) {
	b.t.Helper()
	for line := range strings.Lines(b.log.String()) {
		if _, after, ok := strings.Cut(line, `msg="envoy is live" pid=`); ok {
			pid, _ = strconv.Atoi(strings.TrimSpace(after))
		}
	}
	if pid == 0 {
		b.t.Fatal("there is no Envoy")
	}
	return pid
}

// kill kills Envoy, and returns when it is gone.
func (b *beside) kill() {
	b.t.Helper()
	pid := b.pid()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	fixture.WaitFor(b.t, "the end of Envoy", func() bool { return syscall.Kill(pid, 0) != nil })
}

func (b *beside) live(n int) {
	b.t.Helper()
	fixture.WaitFor(b.t, "a live Envoy", func() bool { return strings.Count(b.log.String(), "envoy is live") == n })
}

func (b *beside) from(source, address string) {
	b.t.Helper()
	fixture.WaitFor(b.t, "the source to be "+source, func() bool {
		s := b.Status()
		return s.Source == source && (address == "" || s.Address == address)
	})
}

// TestEnvoyWithoutAdapter: it serves on, starts again from disk, and follows again without a resource that it had.
func TestEnvoyWithoutAdapter(t *testing.T) {
	t.Parallel()
	c := newContent()
	address := c.listening(t)
	c.scope("a", "1")
	c.scope("b", "1")
	a := newAdapter(t, c).start()
	b := newRig(t, "", a.address).run(address)
	b.answers("a", "1")
	b.answers("b", "1")
	b.live(1)
	b.keeps(xds.RouteType, "a@1", "b@1")
	b.keeps(xds.ScopeType, "a@1", "b@1")

	a.kill()
	b.from(relay.FromDisk, "")
	if got := b.answer("a"); got != "1" {
		t.Errorf("without the adapter: %s", got)
	}
	b.kill()
	killed := time.Now()
	b.answers("a", "1")
	b.answers("b", "1")
	t.Logf("from disk %v after the kill", time.Since(killed))
	b.live(2)

	sent := a.count()
	a.start()
	b.from(relay.FromAdapter, "")
	a.event(xds.Connected)
	c.scope("a", "2")
	b.answers("a", "2")
	sent["RouteConfiguration a@2"]++
	if got := a.count(); !maps.Equal(got, sent) {
		t.Errorf("sent %v, not %v", got, sent)
	}
	b.keeps(xds.RouteType, "a@2", "b@1")

	c.remove(xds.ScopeType, "b")
	b.answers("b", "404 Not Found")
	b.keeps(xds.RouteType, "a@2")
	b.keeps(xds.ScopeType, "a@1")
	for _, words := range []string{"following an adapter", "adapter lost; envoy keeps what it has", "serving the last good configuration from disk"} {
		if !strings.Contains(b.log.String(), words) {
			t.Errorf("not said: %s", words)
		}
	}
}

// TestEnvoyRefuses: Envoy's words reach the adapter, and what it refused is not kept.
func TestEnvoyRefuses(t *testing.T) {
	t.Parallel()
	c := newContent()
	address := c.listening(t)
	c.scope("a", "1")
	a := newAdapter(t, c).start()
	b := newRig(t, "", a.address).run(address)
	b.answers("a", "1")
	b.keeps(xds.RouteType, "a@1")
	c.refused("a", "2")
	if e := a.event(xds.Nacked); !strings.Contains(e.Words, "missing )") || e.Node.ID != "gw" {
		t.Errorf("the adapter heard %+v", e)
	}
	b.keeps(xds.RouteType, "a@1")
	c.scope("a", "3")
	b.answers("a", "3")
	b.keeps(xds.RouteType, "a@3")
	if got := a.count(); got["RouteConfiguration a@3~1"] != 1 {
		t.Errorf("sent: %v", got)
	}
}

// TestEnvoyMoves: from an adapter that dies to the other, and back, and nothing is sent again.
func TestEnvoyMoves(t *testing.T) {
	t.Parallel()
	c := newContent()
	address := c.listening(t)
	c.scope("a", "1")
	one, two := newAdapter(t, c).start(), newAdapter(t, c).start()
	b := newRig(t, "", one.address, two.address).run(address)
	b.answers("a", "1")
	b.live(1)
	for i, move := range []struct{ from, to *adapter }{{one, two}, {two, one}, {one, two}} {
		sent := move.to.count()
		move.from.kill()
		b.from(relay.FromAdapter, move.to.address)
		version := strconv.Itoa(i + 2)
		c.scope("a", version)
		b.answers("a", version)
		sent["RouteConfiguration a@"+version]++
		if got := move.to.count(); !maps.Equal(got, sent) {
			t.Errorf("sent %v, not %v", got, sent)
		}
		move.from.start()
	}
}

// TestMain is also the adapter that TestStoppedAdapter stops.
func TestMain(m *testing.M) {
	if address := os.Getenv("RELAY_TEST_ADAPTER"); address != "" {
		c := newContent()
		c.listeningAt(os.Getenv("RELAY_TEST_LISTENER"))
		c.scope("a", os.Getenv("RELAY_TEST_VERSION"))
		if err := serveForEver(c, address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// elsewhere is an adapter in a process of its own, whose one scope answers a version.
func elsewhere(t *testing.T, address, listener, version string) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RELAY_TEST_ADAPTER="+address, "RELAY_TEST_LISTENER="+listener, "RELAY_TEST_VERSION="+version)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process
}

// TestStoppedAdapter: an Envoy that starts again while the adapter hangs is served from disk within two seconds, and
// follows the adapter when it goes on.
func TestStoppedAdapter(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	listener := newContent().listening(t)
	adapter := "unix:" + filepath.Join(fixture.TempDir(t), "a.sock")
	process := elsewhere(t, adapter, listener, "1")
	b := newRig(t, "", adapter).run(listener)
	b.answers("a", "1")
	b.live(1)
	b.keeps(xds.RouteType, "a@1")
	for i := range 2 {
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		b.kill()
		killed := time.Now()
		b.answers("a", "1")
		t.Logf("from disk %v after the kill", time.Since(killed))
		b.from(relay.FromDisk, "")
		b.live(i + 2)
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		resumed := time.Now()
		b.from(relay.FromAdapter, adapter)
		t.Logf("followed %v after it went on", time.Since(resumed))
	}
	if got := b.answer("a"); got != "1" {
		t.Errorf("at last: %s", got)
	}
}
