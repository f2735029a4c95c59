package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/envoy/probe"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
)

// listener stands for Envoy's: it answers with headers of ours.
func listener(t *testing.T, answer func(*http.Request) (status int, operation, api, policy, cluster string)) (address string) {
	t.Helper()
	path := filepath.Join(fixture.TempDir(t), "probe.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, operation, api, policy, cluster := answer(r)
		for name, value := range map[string]string{
			posternv1.ProbeOperation: operation, posternv1.ProbeAPI: api, posternv1.ProbePolicy: policy, posternv1.ProbeCluster: cluster,
		} {
			if value != "" {
				w.Header().Set(name, value)
			}
		}
		w.WriteHeader(status)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return "unix:" + path
}

func prober(t *testing.T, o probe.Options) *probe.Prober {
	t.Helper()
	p, err := probe.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pets is a probe of some operations.
func pets(operations ...string) *posternv1.Probe {
	p := &posternv1.Probe{Api: "pets/1"}
	for _, id := range operations {
		method, path, _ := strings.Cut(id, " ")
		p.Checks = append(p.Checks, &posternv1.Check{
			Operation: id, Method: method, Host: "probe.invalid", Path: "/pets" + path, Policy: "0123456789abcdef", Clusters: []string{"a", "b"},
		})
	}
	return p
}

func TestWordsOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	const op, policy = "GET /x", "0123456789abcdef"
	for _, c := range []struct {
		status                          int
		operation, api, policy, cluster string
		words                           string
	}{
		{200, op, "pets/1", policy, "a", ""},
		{200, op, "pets/1", policy, "b", ""},
		{400, "", "", "", "", "was answered 400"},
		{200, "", "", "", "", "found no route table (404)"},
		{200, "", "pets/1", policy, "", "found no route (404)"},
		{200, "", "others/1", policy, "", "found no route (404) in others/1"},
		{200, "", "pets/1", policy, posternv1.NotFoundCluster, "found no operation (404)"},
		{200, "", "others/1", policy, posternv1.NotFoundCluster, "found no operation (404) in others/1"},
		{200, "", "pets/1", policy, posternv1.MethodNotAllowedCluster, "found no such method (405)"},
		{200, "GET /{id}", "pets/1", policy, "a", "led to GET /{id} of pets/1"},
		{200, op, "others/1", policy, "a", "led to GET /x of others/1"},
		{200, op, "pets/1", "fedcba9876543210", "a", "found policy fedcba987654, not 0123456789ab"},
		{200, op, "pets/1", "", "a", "found policy none, not 0123456789ab"},
		{200, op, "pets/1", policy, "c", "goes to cluster c, not a or b"},
		{200, op, "pets/1", policy, "", "goes to cluster none, not a or b"},
	} {
		t.Run(c.words, func(t *testing.T) {
			t.Parallel()
			address := listener(t, func(*http.Request) (int, string, string, string, string) {
				return c.status, c.operation, c.api, c.policy, c.cluster
			})
			err := prober(t, probe.Options{Address: address, Patience: 20 * time.Millisecond}).Ask(t.Context(), pets(op))
			switch {
			case c.words == "" && err != nil:
				t.Error(err)
			case c.words != "" && (err == nil || err.Error() != "probe of pets/1: GET /x: GET http://probe.invalid/pets/x "+c.words):
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestManyFailuresAreSummarised(t *testing.T) {
	t.Parallel()
	address := listener(t, func(r *http.Request) (int, string, string, string, string) {
		if r.URL.Path == "/pets/7" {
			return 200, "GET /7", "pets/1", "0123456789abcdef", "a"
		}
		return 200, "", "pets/1", "", posternv1.NotFoundCluster
	})
	var operations []string
	for i := range 30 {
		operations = append(operations, fmt.Sprintf("GET /%d", i))
	}
	err := prober(t, probe.Options{Address: address, Patience: time.Millisecond}).Ask(t.Context(), pets(operations...))
	if err == nil || len(err.Error()) > 500 || !strings.Contains(err.Error(), "; GET /3 found no operation (404)") ||
		strings.Contains(err.Error(), "GET /7 ") || !strings.HasSuffix(err.Error(), "… (29 operations)") {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	err := prober(t, probe.Options{Address: "unix:/nowhere/probe.sock", Patience: time.Millisecond}).Ask(t.Context(), pets("GET /x", "GET /y"))
	if want := "probe of pets/1: envoy does not answer: dial unix /nowhere/probe.sock: connect: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestWorkersLag: what is wrong for a moment is not wrong.
func TestWorkersLag(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	address := listener(t, func(*http.Request) (int, string, string, string, string) {
		if asked.Add(1) < 5 {
			return 200, "", "pets/1", "", posternv1.NotFoundCluster
		}
		return 200, "GET /x", "pets/1", "0123456789abcdef", "a"
	})
	if err := prober(t, probe.Options{Address: address}).Ask(t.Context(), pets("GET /x")); err != nil {
		t.Error(err)
	}
}

func TestRequestsAreSentAsTheyStand(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[http.Request]
	address := listener(t, func(r *http.Request) (int, string, string, string, string) {
		got.Store(r)
		return 200, "HEAD /x", "pets/1", "0123456789abcdef", "a"
	})
	p := pets("HEAD /x")
	p.Checks[0].Path = "/pets/%C3%A9/a%20b;c=(1)/$&+,:@~%7B"
	if err := prober(t, probe.Options{Address: address}).Ask(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if r := got.Load(); r.RequestURI != p.Checks[0].Path || r.Host != "probe.invalid" || r.Method != "HEAD" {
		t.Errorf("%s %s on %s", r.Method, r.RequestURI, r.Host)
	}
}

// TestAnswersOverXDS: an adapter puts probes, and reads in ACK and NACK what came of them.
func TestAnswersOverXDS(t *testing.T) {
	t.Parallel()
	address := listener(t, func(r *http.Request) (int, string, string, string, string) {
		return 200, r.Method + " " + strings.TrimPrefix(r.URL.Path, "/pets"), "pets/1", "0123456789abcdef", "a"
	})
	cache, events := xds.NewCache(), make(chan xds.Event, 100)
	server := grpc.NewServer(xds.GRPCOptions()...)
	xds.NewServer(xds.ServerOptions{
		Find: func(_ context.Context, n xds.Node, typeURL string) (*xds.Cache, error) {
			if n.Role != xds.RoleProber || n.ID != "gw/prober" || typeURL != posternv1.ProbeType {
				t.Errorf("%+v asks for %s", n, typeURL)
			}
			return cache, nil
		},
		Notify: func(e xds.Event) { events <- e },
	}).Register(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	registry := prometheus.NewRegistry()
	p := prober(t, probe.Options{Address: address, Patience: 30 * time.Millisecond, Registerer: registry})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- p.Run(ctx, xds.ClientOptions{Addresses: []string{l.Addr().String()}, Node: "gw/prober", Label: xds.DefaultLabel})
	}()
	put := func(version string, m *posternv1.Probe) xds.Event {
		t.Helper()
		r, err := xds.Encode("pets/1", version, m)
		if err != nil {
			t.Fatal(err)
		}
		cache.Update(nil, []string{"pets/1"})
		cache.Update([]*discoveryv3.Resource{r}, nil)
		timeout := time.After(fixture.Patience)
		for {
			select {
			case e := <-events:
				if len(e.Resources) > 0 && e.Resources[0].Version == version {
					return e
				}
			case <-timeout:
				t.Fatal("no answer")
			}
		}
	}
	if e := put("1", &posternv1.Probe{Api: "pets/1"}); e.Kind != xds.Acked {
		t.Errorf("%+v", e)
	}
	bad := pets("GET /x")
	bad.Checks[0].Operation = "GET /else"
	if e := put("2", bad); e.Kind != xds.Nacked || e.Words != "probe of pets/1: GET /else: GET http://probe.invalid/pets/x led to GET /x of pets/1" {
		t.Errorf("%+v", e)
	}
	if e := put("3", &posternv1.Probe{Api: "pets/1", Requires: []string{"bodies"}}); e.Kind != xds.Nacked || !strings.Contains(e.Words, `requires ["bodies"]`) {
		t.Errorf("%+v", e)
	}
	if got := counts(t, registry); got != "failed 1, passed 1" { // what is not understood is not asked
		t.Errorf("counted %s", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func counts(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		if f.GetName() != "postern_probes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			all = append(all, fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetCounter().GetValue()))
		}
	}
	return strings.Join(all, ", ")
}
