package publish

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// rig is a Publisher behind a real server.
type rig struct {
	*Publisher
	t       *testing.T
	address string
	metrics *prometheus.Registry

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{t: t, metrics: prometheus.NewRegistry(), now: time.Now()}
	metrics, err := NewMetrics(r.metrics, func() []Gateway { return r.Gateways() })
	if err != nil {
		t.Fatal(err)
	}
	o.Metrics, o.Now = metrics, r.clock
	p := New(o)
	r.Publisher = p
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	g := grpc.NewServer(xds.GRPCOptions()...)
	xds.NewServer(xds.ServerOptions{Find: p.Find, Notify: p.Notify, Grace: 100 * time.Millisecond}).Register(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.Tick()
}

// connect connects a gateway and waits until it is known.
func (r *rig) connect(id, role string, o xdstest.Options) *xdstest.Gateway {
	r.t.Helper()
	o.Node = xds.Node{ID: id, Label: xds.DefaultLabel, Role: role}
	return r.join(o, func(y party) bool { return r.describe(y.peer).State != Pending || o.Silent })
}

// join connects a node and waits until what it is known as is so. What is known of an older stream of it is not looked at.
func (r *rig) join(o xdstest.Options, so func(party) bool) *xdstest.Gateway {
	r.t.Helper()
	r.Publisher.mu.Lock()
	before := r.last
	r.Publisher.mu.Unlock()
	g := xdstest.Connect(r.t, r.address, o)
	r.until(o.Node.ID+" connected", func() bool {
		r.Publisher.mu.Lock()
		defer r.Publisher.mu.Unlock()
		return slices.ContainsFunc(r.parties(), func(y party) bool { return y.stream > before && y.node.ID == o.Node.ID && so(y) })
	})
	return g
}

// until waits for events until the condition holds.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	timeout := time.After(xdstest.Patience)
	for {
		r.Publisher.mu.Lock()
		stir := r.stir
		r.Publisher.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-stir:
		case <-timeout:
			r.t.Fatalf("%s: not in time; %+v", what, r.Gateways())
		}
	}
}

func (r *rig) state(id string) State {
	for _, g := range r.Gateways() {
		if g.ID == id {
			return g.State
		}
	}
	return ""
}

// samples are a metric's "label label value" lines.
func (r *rig) samples(name string) []string {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			line := ""
			for _, l := range m.Label {
				line += l.GetValue() + " "
			}
			lines = append(lines, line+fmt.Sprint(m.Counter.GetValue()+m.Gauge.GetValue()))
		}
	}
	return lines
}

// api is what an API named n comes to in its nth version: one resource of each type.
func api(n string, version int) translate.Delta {
	v := fmt.Sprintf("%s-%d", n, version)
	id := n + "/1"
	res := func(name string, m proto.Message) translate.Resource {
		return translate.Resource{Name: name, Version: posternv1.ContentHash(m), Message: m, APIs: []string{id}}
	}
	return translate.Delta{
		Policies: translate.Changes{Put: []translate.Resource{res("policy-"+v, &posternv1.Policy{Api: v})}},
		Limits:   translate.Changes{Put: []translate.Resource{res("limits-"+v, &posternv1.Limits{Api: v})}},
		Clusters: translate.Changes{Put: []translate.Resource{res("cluster-"+v, &clusterv3.Cluster{Name: v})}},
		Scopes:   translate.Changes{Put: []translate.Resource{res(n, &routev3.ScopedRouteConfiguration{Name: n, RouteConfigurationName: n})}},
		Routes: translate.Changes{Put: []translate.Resource{res(n, &routev3.RouteConfiguration{
			Name: n, VirtualHosts: []*routev3.VirtualHost{{Name: v, Domains: []string{"*"}}},
		})}},
	}
}

// edit is the step from one version of an API to another.
func edit(n string, from, to int) translate.Delta {
	d := api(n, to)
	old := fmt.Sprintf("%s-%d", n, from)
	d.Scopes = translate.Changes{}
	d.Policies.Remove = []string{"policy-" + old}
	d.Limits.Remove = []string{"limits-" + old}
	d.Clusters.Remove = []string{"cluster-" + old}
	return d
}

// removal is the step from a version to nothing.
func removal(n string, from int) translate.Delta {
	d := edit(n, from, 0)
	d.Policies.Put, d.Limits.Put, d.Clusters.Put, d.Routes.Put = nil, nil, nil, nil
	d.Scopes.Remove, d.Routes.Remove = []string{n}, []string{n}
	return d
}

func merge(all ...translate.Delta) translate.Delta {
	var d translate.Delta
	add := func(to *translate.Changes, c translate.Changes) {
		to.Put, to.Remove = append(to.Put, c.Put...), append(to.Remove, c.Remove...)
	}
	for _, one := range all {
		add(&d.Policies, one.Policies)
		add(&d.Limits, one.Limits)
		add(&d.Clusters, one.Clusters)
		add(&d.Scopes, one.Scopes)
		add(&d.Routes, one.Routes)
	}
	return d
}

// publish publishes and commits what nobody refuses.
func (r *rig) publish(d translate.Delta) Result {
	r.t.Helper()
	rollout := r.Begin(Terms{})
	result := rollout.Publish(context.Background(), d)
	if len(result.Rejections) > 0 {
		r.t.Fatalf("refused: %+v", result.Rejections)
	}
	rollout.Commit()
	return result
}

func refuse(name, words string) func(string, *discoveryv3.Resource) string {
	return func(_ string, r *discoveryv3.Resource) string {
		if strings.HasPrefix(r.Name, name) {
			return words
		}
		return ""
	}
}

func wantLog(t *testing.T, g *xdstest.Gateway, want ...string) {
	t.Helper()
	if got := g.Log(); !slices.Equal(got, want) {
		t.Errorf("the gateway saw\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}
