package xds

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/test/fixture"
)

const listenerJSON = `{"name": "http", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
 "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  "stat_prefix": "http",
  "scoped_routes": {"name": "scopes",
   "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]},
   "rds_config_source": {"ads": {}, "resource_api_version": "V3"},
   "scoped_rds": {"scoped_rds_config_source": {"ads": {}, "resource_api_version": "V3"}}},
  "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`

// envoyRig is a rig that a real Envoy follows over a unix socket.
type envoyRig struct {
	*rig
	socket string
	envoy  *fixture.Envoy
}

func newEnvoyRig(t *testing.T) *envoyRig {
	t.Helper()
	fixture.EnvoyPath(t) // fails or skips before anything is started
	r := &envoyRig{
		rig:    &rig{t: t, events: make(chan Event, 1<<16), caches: map[string]*Cache{}},
		socket: filepath.Join(fixture.TempDir(t), "xds.sock"),
	}
	var l listenerv3.Listener
	if err := protojson.Unmarshal([]byte(listenerJSON), &l); err != nil {
		t.Fatal(err)
	}
	r.message(ListenerType, "http", "1", &l)
	return r
}

// message puts a resource.
func (r *envoyRig) message(typeURL, name, version string, m proto.Message) {
	r.t.Helper()
	res, err := Encode(name, version, m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cache(typeURL).Update([]*discoveryv3.Resource{res}, nil)
}

// scope puts a scope and its table, which answers with a word; an empty word is a table Envoy refuses.
func (r *envoyRig) scope(name, version, word string) {
	r.table(name, version, word)
	r.message(ScopeType, name, "1", &routev3.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: name,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{
			{Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name}},
		}},
	})
}

func (r *envoyRig) table(name, version, word string) {
	route := fmt.Sprintf(`{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": %q}}}`, word)
	if word == "" {
		route = `{"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 200}}`
	}
	var rc routev3.RouteConfiguration
	if err := protojson.Unmarshal(fmt.Appendf(nil, `{"name": %q, "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [%s]}]}`, name, route), &rc); err != nil {
		r.t.Fatal(err)
	}
	r.message(RouteType, name, version, &rc)
}

func (r *envoyRig) start() (stop func()) {
	r.t.Helper()
	_ = os.Remove(r.socket)
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	g := grpc.NewServer(GRPCOptions()...)
	NewServer(ServerOptions{Find: r.find, Notify: func(e Event) { r.events <- e }}).Register(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	stop = func() { g.Stop(); <-done }
	r.t.Cleanup(stop)
	if r.envoy == nil {
		r.envoy = fixture.StartEnvoy(r.t, fixture.EnvoyOptions{XDS: "unix:" + r.socket})
	}
	return stop
}

// get is what a scope answers.
func (r *envoyRig) get(scope string) string {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.envoy.Address(r.t, "http")+"/", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("x-scope", scope)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return string(body)
}

func (r *envoyRig) answers(scope, want string) {
	r.t.Helper()
	fixture.WaitFor(r.t, scope+" to answer "+want, func() bool { return strings.Contains(r.get(scope), want) })
}

// verdict waits for the verdict on one version of a resource.
func (r *envoyRig) verdict(kind EventKind, item Item) Event {
	r.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case e := <-r.events:
			if e.Kind != kind || e.Retried {
				continue
			}
			for _, got := range e.Resources {
				if got == item {
					return e
				}
			}
		case <-timeout:
			r.t.Fatalf("no verdict %d on %v", kind, item)
		}
	}
}

func TestEnvoyFollows(t *testing.T) {
	t.Parallel()
	r := newEnvoyRig(t)
	r.message(ClusterType, "c", "1", &clusterv3.Cluster{Name: "c"})
	r.scope("a", "1", "one")
	r.scope("b", "1", "two")
	stop := r.start()
	r.answers("a", "one")
	r.answers("b", "two")

	r.table("a", "2", "changed")
	r.verdict(Acked, Item{"a", "2"})
	r.answers("a", "changed")

	r.scope("late", "1", "late")
	r.verdict(Acked, Item{"late", "1"})
	r.answers("late", "late")

	r.remove(ScopeType, "b")
	r.answers("b", "404")
	r.remove(RouteType, "b")
	r.scope("b", "3", "again")
	r.answers("b", "again")

	// the server restarts: nothing that is equal is sent again, what vanished is named
	stop()
	for len(r.events) > 0 {
		<-r.events
	}
	r.table("a", "4", "after the restart")
	r.remove(ScopeType, "late")
	r.start()
	for confirmed := false; !confirmed; {
		e := r.event(Acked)
		if e.TypeURL == ListenerType {
			if fmt.Sprint(e.Resources) != "[{http 1}]" {
				t.Errorf("of listeners it has %v", e.Resources)
			}
			confirmed = true
		}
	}
	r.answers("a", "after the restart")
	r.answers("b", "again")
	r.answers("late", "404")
	if n := r.envoy.Stat(t, "listener_manager.listener_modified") + r.envoy.Stat(t, "listener_manager.listener_added"); n != 1 {
		t.Errorf("the listener was taken %d times", n)
	}
}

func TestEnvoyRefuses(t *testing.T) {
	t.Parallel()
	r := newEnvoyRig(t)
	const n = 8
	for i := range n {
		word := fmt.Sprint("word", i)
		if i == 3 {
			word = ""
		}
		r.scope(fmt.Sprint("s", i), "1", word)
	}
	r.start()
	e := r.verdict(Nacked, Item{"s3", "1"})
	if !strings.Contains(e.Words, "missing )") {
		t.Errorf("words %q", e.Words)
	}
	for i := range n {
		if i != 3 {
			r.answers(fmt.Sprint("s", i), fmt.Sprint("word", i)) // the good ones beside it are served
		}
	}
	r.table("s3", "0", "mended")
	r.verdict(Acked, Item{"s3", "0"})
	r.answers("s3", "mended")

	r.table("s3", "2", "")
	r.table("s4", "2", "fresh")
	r.verdict(Nacked, Item{"s3", "2"})
	r.answers("s4", "fresh")
	r.answers("s3", "mended") // its last good one stays
}
