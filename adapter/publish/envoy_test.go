package publish

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
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

// town is a real Envoy and a pretended one, and a backend that all APIs have.
type town struct {
	*rig
	envoy   *fixture.Envoy
	address string
	backend *fixture.Backend
}

func newTown(t *testing.T) *town {
	t.Helper()
	fixture.EnvoyPath(t) // fails or skips before anything is started
	w := &town{rig: newRig(t, Options{}), backend: fixture.StartBackend(t, "all", fixture.BackendOptions{})}
	listener := &listenerv3.Listener{}
	decode(t, listener, listenerJSON)
	if err := w.Replace(xds.ListenerType, []translate.Resource{{Name: "http", Version: "1", Message: listener}}); err != nil {
		t.Fatal(err)
	}
	w.envoy = fixture.StartEnvoy(t, fixture.EnvoyOptions{XDS: w.rig.address})
	w.address = w.envoy.Address(t, "http")
	w.connect("pretended", xds.RoleEnvoy, xdstest.Options{})
	w.until("Envoy to have everything", func() bool { return w.state("test") == Serving })
	return w
}

func decode(t *testing.T, m proto.Message, format string, arguments ...any) {
	t.Helper()
	if err := protojson.Unmarshal(fmt.Appendf(nil, format, arguments...), m); err != nil {
		t.Fatal(err)
	}
}

// api is the nth version of an API: a scope whose table says so in a header, and leads to a cluster of that version. Of
// every fifth, Envoy refuses the table.
func (w *town) api(name string, version, before int) translate.Delta {
	var cluster clusterv3.Cluster
	cluster.Name = fmt.Sprintf("%s-%d", name, version)
	decode(w.t, &cluster, `{"name": %q, "connect_timeout": "1s", "load_assignment": {"cluster_name": "x", "endpoints": [{"lb_endpoints": [
		{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %d}}}}]}]}}`, cluster.Name, w.backend.Host, w.backend.Port)
	match := `"prefix": "/"`
	if version%5 == 0 {
		match = `"safe_regex": {"regex": "("}`
	}
	var table routev3.RouteConfiguration
	decode(w.t, &table, `{"name": %q, "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [{"match": {%s}, "route": {"cluster": %q},
		"response_headers_to_add": [{"header": {"key": "x-version", "value": "%d"}}]}]}]}`, name, match, cluster.Name, version)
	scope := &routev3.ScopedRouteConfiguration{}
	decode(w.t, scope, `{"name": %q, "route_configuration_name": %q, "key": {"fragments": [{"string_key": %q}]}}`, name, name, name)
	one := func(name string, m proto.Message) translate.Changes {
		return translate.Changes{Put: []translate.Resource{{Name: name, Version: posternv1.ContentHash(m), Message: m, APIs: []string{name + "/1"}}}}
	}
	d := translate.Delta{Clusters: one(cluster.Name, &cluster), Routes: one(name, &table)}
	if before == 0 {
		d.Scopes = one(name, scope)
	} else {
		d.Clusters.Remove = []string{fmt.Sprintf("%s-%d", name, before)}
	}
	return d
}

// get is the version that answers for an API, or what else comes of a request.
func (w *town) get(ctx context.Context, address, name string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return err.Error()
	}
	r.Header.Set("x-scope", name)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.Status, " ", err)
	}
	return res.Header.Get("x-version")
}

// TestManyRolloutsAtOnceOnEnvoy: what rollouts say of a real Envoy is what it answers, whether they are kept or taken
// back, and no request is ever without a route or a cluster.
func TestManyRolloutsAtOnceOnEnvoy(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithCancel(t.Context())
	var pushers, clients sync.WaitGroup
	for i := range 6 {
		name := fmt.Sprintf("api%d", i)
		first := w.Begin(strict)
		wantMet(t, first.Publish(ctx, w.api(name, 1, 0)), true)
		first.Commit()
		w.answers(w.address, name, 1)
		pushers.Go(func() { w.push(ctx, name, 11) })
		clients.Go(func() {
			for ctx.Err() == nil {
				got := w.get(ctx, w.address, name)
				if ctx.Err() == nil && (strings.Contains(got, " ") || got == "") {
					t.Errorf("a request to %s came to %q", name, got)
				}
			}
		})
	}
	pushers.Wait()
	cancel()
	clients.Wait()
}

// push brings out versions of an API that has one, one after the other.
func (w *town) push(ctx context.Context, name string, versions int) {
	was := 1
	for version := 2; version <= versions; version++ {
		rollout := w.Begin(strict)
		result := rollout.Publish(ctx, w.api(name, version, was))
		if bad := version%5 == 0; result.Met == bad || bad && result.Rejections[0].Gateway != "test" {
			w.t.Errorf("%s %d: %+v", name, version, result)
		}
		if result.Met {
			w.answers(w.address, name, version)
		}
		if !result.Met || rand.IntN(3) == 0 {
			wantMet(w.t, rollout.Rollback(ctx), true)
		} else {
			rollout.Commit()
			was = version
		}
		w.answers(w.address, name, was)
		w.advance(time.Minute)
	}
}

// answers: Envoy's workers may still be taking up what its main thread has acknowledged.
func (w *town) answers(address, name string, version int) {
	w.t.Helper()
	fixture.WaitFor(w.t, fmt.Sprintf("%s to be %d", name, version), func() bool {
		return w.get(w.t.Context(), address, name) == fmt.Sprint(version)
	})
}

// TestAnEnvoyThatJoinsServesWhatIsCommitted, and what is kept from then on.
func TestAnEnvoyThatJoinsServesWhatIsCommitted(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.publish(w.api("a", 1, 0))
	rollout := w.Begin(strict)
	wantMet(t, rollout.Publish(t.Context(), merge(w.api("a", 2, 1), w.api("b", 2, 0))), true)
	w.answers(w.address, "a", 2)
	w.answers(w.address, "b", 2)

	joined := fixture.StartEnvoy(t, fixture.EnvoyOptions{XDS: w.rig.address, Node: "joined"}).Address(t, "http")
	w.until("it to have everything", func() bool { return w.state("joined") == Serving })
	w.answers(joined, "a", 1)
	if got := w.get(t.Context(), joined, "b"); !strings.HasPrefix(got, "404") {
		t.Errorf("what is not committed comes to %q", got)
	}
	rollout.Commit()
	w.until("it to have what is kept", w.Serving)
	w.answers(joined, "a", 2)
	w.answers(joined, "b", 2)
}
