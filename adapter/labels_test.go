package adapter

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// envoys connects an Envoy of each label and waits until it has its listener.
func (p *site) envoys(labels ...string) map[string]*xdstest.Gateway {
	p.t.Helper()
	all := map[string]*xdstest.Gateway{}
	for _, label := range labels {
		gw := p.gateway("gw-"+label, xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: label}})
		gw.Wait("its listener", func(have map[string]map[string]string) bool { return len(have[xds.ListenerType]) == 1 })
		all[label] = gw
	}
	return all
}

// scopes waits until a gateway has these scopes and no others.
func scopes(gw *xdstest.Gateway, want ...string) {
	gw.Wait(fmt.Sprint("the scopes ", want), func(have map[string]map[string]string) bool {
		return slices.Equal(slices.Sorted(maps.Keys(have[xds.ScopeType])), want)
	})
}

func TestEachLabelIsServedItsProjects(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("ours", "pets", "/pets", "/x")
	p.api("theirs", "pets", "/pets", "/y") // the same name and base path: another label, no conflict
	p.labels("theirs", "partner")
	p.api("both", "shop", "/shop", "/x")
	p.labels("both", "partner", "default")
	p.start(nil, "ours", "theirs", "both")
	gw := p.envoys("default", "partner")
	scopes(gw["default"], "pets", "shop")
	scopes(gw["partner"], "pets", "shop")
	p.until("serving", p.Serving)
	ours, theirs := p.of("ours", "pets/1.0.0"), p.of("theirs", "pets/1.0.0")
	if ours.Label != "default" || theirs.Label != "partner" || ours.State != Live || theirs.State != Live {
		t.Errorf("status %+v %+v", ours, theirs)
	}
	if all := p.ofAll("both", "shop/1.0.0"); len(all) != 2 || all["default"].Revision != all["partner"].Revision {
		t.Errorf("an API of two labels: %+v", all)
	}

	p.api("theirs", "pets", "/shop", "/y") // claims hold within a label
	if s := p.untilState("theirs", "pets/1.0.0", Stale); !strings.Contains(s.Words, "shop/1.0.0") {
		t.Errorf("status %+v", s)
	}
	p.labels("both", "default")
	p.untilState("theirs", "pets/1.0.0", Live)
	scopes(gw["partner"], "shop")
	scopes(gw["default"], "pets", "shop")
}

func TestProjectsMoveBetweenLabels(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "shop", "/shop", "/x")
	p.api("rest", "rest", "/rest", "/x")
	p.labels("rest", "a", "b")
	p.labels("shop", "a")
	p.start(nil, "shop", "rest")
	gw := p.envoys("a", "b")
	scopes(gw["a"], "rest", "shop")
	scopes(gw["b"], "rest")
	p.until("serving", p.Serving)
	gw["a"].Reset()

	p.labels("shop", "b")
	scopes(gw["b"], "rest", "shop")
	scopes(gw["a"], "rest")
	for _, line := range gw["a"].Log() {
		if strings.Contains(line, "+") {
			t.Errorf("the label it left was sent %s", line)
		}
	}
	p.write("shop/project.yaml", "labels: [\n") // what it is for now nobody knows: it stays
	p.until("the project is stale", func() bool {
		return slices.ContainsFunc(p.Status().Projects, func(s ProjectStatus) bool { return s.Path == p.path("shop") && s.State == Stale })
	})
	scopes(gw["b"], "rest", "shop")
	p.labels("shop", "a", "b")
	scopes(gw["a"], "rest", "shop")
	p.until("it is live for both", func() bool {
		all := p.ofAll("shop", "shop/1.0.0")
		return all["a"].State == Live && all["b"].State == Live && all["a"].Revision == all["b"].Revision
	})
}

// TestListenersNeverChange: whatever is pushed to whomever, each label's listener stays the one it began with.
func TestListenersNeverChange(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x")
	p.start(func(o *Options) { o.Issuers = []*posternv1.Issuer{{Issuer: "https://a"}} }, "shop", "late")
	gw := p.envoys("default", "b", "c")
	p.gateway("enf", xds.RoleEnforcer, xdstest.Options{Node: xds.Node{Label: "b"}})
	versions := map[string]bool{}
	for _, g := range gw {
		for _, version := range g.State()[xds.ListenerType] {
			versions[version] = true
		}
	}
	push := func(what string, state State, change func()) {
		t.Helper()
		change()
		p.untilState("shop", "a/1.0.0", state)
		p.until(what, p.Serving)
	}
	push("an edit", Live, func() { p.api("shop", "a", "/a", "/x", "/y") })
	push("another base path", Live, func() { p.api("shop", "a", "/b", "/x") })
	push("more APIs", Live, func() { p.api("shop", "b", "/c", "/x"); p.api("shop", "c", "/d", "/x") })
	push("another label", Live, func() { p.labels("shop", "b") })
	push("all labels", Live, func() { p.labels("shop", "default", "b", "c") })
	push("a mistake", Stale, func() { p.write("shop/api_definitions/a.yaml", "{") })
	push("its correction", Live, func() { p.unasked("shop", "a") })
	push("another project", Live, func() {
		p.api("late", "late", "/late", "/x")
		p.labels("late", "c")
		p.untilState("late", "late/1.0.0", Live)
	})
	push("new issuers", Live, func() {
		if err := p.SetIssuers([]*posternv1.Issuer{{Issuer: "https://b"}}); err != nil {
			t.Error(err)
		}
	})
	push("fewer APIs", Live, func() { p.remove("shop/api_definitions/b.yaml") })
	gw["late"] = p.envoys("late")["late"]
	for label, g := range gw {
		for _, version := range g.State()[xds.ListenerType] {
			versions[version] = true
		}
		sent := slices.DeleteFunc(g.Log(), func(line string) bool { return !strings.HasPrefix(line, "Listener ") })
		if len(sent) != 1 {
			t.Errorf("label %s was sent its listeners %d times: %v", label, len(sent), sent)
		}
	}
	if len(versions) != 1 {
		t.Errorf("listeners had the versions %v", versions)
	}
}

// unasked writes a definition of which nobody is asked for a credential.
func (p *site) unasked(project, name string) {
	p.t.Helper()
	text := definition(name, "/"+name, "/x")
	p.write(project+"/api_definitions/"+name+".yaml", strings.Replace(text, "paths:", "x-wso2-disable-security: true\npaths:", 1))
}

func TestALabelBeginsAndEndsWithItsGateways(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "shop", "/shop", "/x")
	registry := prometheus.NewRegistry()
	p.start(func(o *Options) {
		o.Registerer = registry
		o.Publish.Linger, o.Publish.Remember = 200*time.Millisecond, 200*time.Millisecond // why not less: its gateway has as long to connect
	}, "shop")
	gw := p.envoys("edge")["edge"]
	if n := len(gw.State()[xds.ClusterType]); n == 0 {
		t.Error("a label without projects has no clusters for enforcer and ratelimiter")
	}
	p.until("serving nothing", p.Serving)
	series := func() int { return len(seriesOf(t, registry, "edge")) }
	if series() == 0 {
		t.Error("the label is in no metric")
	}
	p.labels("shop", "edge")
	scopes(gw, "shop")
	p.labels("shop", "default")
	scopes(gw)
	gw.Close()
	ended := func() bool { return p.lookup("edge") == nil }
	p.until("the label ends", ended)
	if n := series(); n != 0 {
		t.Errorf("%d series outlive their label: %v", n, seriesOf(t, registry, "edge"))
	}
	again := p.gateway("gw-edge", xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: "edge"}, Have: gw.State()})
	p.labels("shop", "edge")
	scopes(again, "shop")
	p.until("serving again", p.Serving)
}

// seriesOf are the series that name a label.
func seriesOf(t *testing.T, r *prometheus.Registry, label string) []string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "label" && l.GetValue() == label {
					found = append(found, f.GetName()+" "+m.String())
				}
			}
		}
	}
	return found
}

func TestWhoMayBringALabel(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "shop", "/shop", "/x")
	p.start(nil, "shop")
	p.until("started", p.Started)
	at := func(addr net.Addr, auth credentials.AuthInfo) context.Context {
		return peer.NewContext(t.Context(), &peer.Peer{Addr: addr, AuthInfo: auth})
	}
	elsewhere := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	local := at(&net.UnixAddr{}, nil)
	for _, c := range []struct {
		name  string
		ctx   context.Context
		label string
		want  codes.Code
	}{
		{"a known label needs nothing", at(elsewhere, nil), "default", codes.OK},
		{"from elsewhere", at(elsewhere, nil), "new", codes.PermissionDenied},
		{"with a certificate", at(elsewhere, credentials.TLSInfo{State: tls.ConnectionState{}}), "tls", codes.OK},
		{"a socket", local, "socket", codes.OK},
		{"loopback", at(&net.TCPAddr{IP: net.IPv6loopback}, nil), "loopback", codes.OK},
		{"no label", local, "no label", codes.InvalidArgument},
	} {
		if got := status.Code(p.admit(c.ctx, xds.Node{ID: "gw", Role: xds.RoleEnvoy, Label: c.label})); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := status.Code(p.admit(local, xds.Node{ID: strings.Repeat("x", 1000), Label: "default"})); got != codes.InvalidArgument {
		t.Errorf("an endless id: %v", got)
	}
	var last error
	for i := range maxLabelsOfGateways {
		last = p.admit(local, xds.Node{ID: "gw", Label: fmt.Sprint("l", i)})
	}
	if status.Code(last) != codes.ResourceExhausted {
		t.Errorf("after %d labels: %v", maxLabelsOfGateways, last)
	}
	if log := p.log.String(); strings.Count(log, "gateways of 100 others") != 1 {
		t.Errorf("the log does not tell once:\n%s", log)
	}
}

func TestOneLabelAlone(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("mine", "a", "/a", "/x")
	p.api("theirs", "b", "/b", "/x")
	p.labels("theirs", "partner", "edge")
	p.start(func(o *Options) { o.Label = xds.DefaultLabel }, "mine", "theirs")
	p.untilState("mine", "a/1.0.0", Live)
	if s := p.of("theirs", "b/1.0.0"); s != (APIStatus{}) {
		t.Errorf("served for another label: %+v", s)
	}
	words := "project theirs is for labels [edge, partner]; this gateway serves label default"
	told := func() int { return strings.Count(p.log.String(), words) }
	if told() != 1 || p.Status().Projects[1].Words != words {
		t.Errorf("told %d times: %+v", told(), p.Status().Projects)
	}
	xdstest.Join(t, "unix:"+p.socket, xds.Node{ID: "gw", Label: "edge", Role: xds.RoleEnvoy}, xdstest.Honest)
	p.until("it is refused", func() bool { return strings.Contains(p.log.String(), "this adapter serves label") })

	p.api("theirs", "b", "/b", "/x", "/y")
	p.labels("theirs", "partner", "edge", "default")
	p.untilState("theirs", "b/1.0.0", Live)
	if told() != 1 {
		t.Errorf("told %d times", told())
	}
	p.labels("theirs", "partner")
	p.until("it is gone", func() bool { return p.of("theirs", "b/1.0.0") == APIStatus{} })
}

// TestAChangeConcernsItsLabelsAlone: however many labels there are, others are not sent a byte.
func TestAChangeConcernsItsLabelsAlone(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	var folders, labels []string
	for i := range 30 {
		label := fmt.Sprint("l", i)
		p.api(label, "api", "/api", "/x")
		p.labels(label, label)
		folders, labels = append(folders, label), append(labels, label)
	}
	p.start(nil, folders...)
	gw := p.envoys(labels...)
	p.until("serving", p.Serving)
	for _, g := range gw {
		g.Reset()
	}
	old := gw["l7"].Version(xds.RouteType, "api")
	p.api("l7", "api", "/api", "/x", "/y")
	gw["l7"].Wait("the edit", func(have map[string]map[string]string) bool { return have[xds.RouteType]["api"] != old })
	p.until("serving", p.Serving)
	for label, g := range gw {
		if n := g.Bytes(); label != "l7" && n > 0 {
			t.Errorf("label %s was sent %d bytes: %v", label, n, g.Log())
		}
	}
}

func TestGatewaysOfAllLabelsAreListed(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "shop", "/shop", "/x")
	p.start(nil, "shop")
	p.envoys("default")
	p.gateway("gw-edge", xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: "edge", Version: "v0.9.0"}, Refuse: func(string, *discoveryv3.Resource) string { return "no" }})
	p.until("both are judged", func() bool {
		all := map[string]publish.Gateway{}
		for _, g := range p.Status().Gateways {
			all[g.ID] = g
		}
		edge := all["gw-edge"]
		return all["gw-default"].State == publish.Serving && edge.State == publish.Rejected && edge.Label == "edge" && edge.Version == "v0.9.0"
	})
}

func TestACrowdedScopeIsHintedAt(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	paths := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("/x", i))
		}
		return all
	}
	p.api("shop", "a", "/api/a", paths(ManyOperations-1)...)
	p.api("shop", "b", "/api/b", paths(1)...)
	registry := prometheus.NewRegistry()
	p.start(func(o *Options) { o.Registerer = registry }, "shop")
	p.untilState("shop", "b/1.0.0", Live)
	hint := func() string {
		for _, line := range seriesOf(t, registry, "default") {
			if strings.HasPrefix(line, "postern_route_scope_operations") {
				return line
			}
		}
		return ""
	}
	if got := hint(); got != "" {
		t.Errorf("a hint at %s", got)
	}
	p.api("shop", "b", "/api/b", paths(2)...)
	p.until("a hint", func() bool { return strings.Contains(hint(), `"api"`) && strings.Contains(hint(), "value:201") })
	p.api("shop", "b", "/elsewhere", paths(2)...)
	p.until("no hint", func() bool { return hint() == "" })
}
