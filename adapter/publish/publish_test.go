package publish

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	enforcer := r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	limiter := r.connect("rl", xds.RoleRateLimiter, xdstest.Options{})

	result := r.publish(api("a", 1))
	if result.Pending || result.Unseen || len(result.Gateways) != 3 {
		t.Errorf("result %+v", result)
	}
	wantLog(t, enforcer, "Policy +policy-a-1")
	wantLog(t, limiter, "Limits +limits-a-1")
	wantLog(t, envoy, "Cluster +cluster-a-1", "ScopedRouteConfiguration +a", "RouteConfiguration +a")

	envoy.Reset()
	r.publish(edit("a", 1, 2))
	wantLog(t, envoy, "Cluster +cluster-a-2", "RouteConfiguration +a")
	wantLog(t, enforcer, "Policy +policy-a-1", "Policy +policy-a-2")
	r.advance(2 * time.Minute)
	envoy.Wait("the old cluster gone", func(have map[string]map[string]string) bool { return len(have[xds.ClusterType]) == 1 })
	enforcer.Wait("the old policy gone", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) == 1 })

	envoy.Reset()
	r.publish(removal("a", 2))
	r.advance(2 * time.Minute)
	envoy.Wait("all gone", func(have map[string]map[string]string) bool { return len(have[xds.ClusterType]) == 0 })
	wantLog(t, envoy, "ScopedRouteConfiguration -a", "Cluster -cluster-a-2")
	r.until("serving", func() bool { return r.Serving() && r.state("gw") == Serving })
}

func TestPolicyIsTakenBeforeRoutesAreSent(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.connect("enf", xds.RoleEnforcer, xdstest.Options{Refuse: refuse("policy-a", `unknown word "dpop"`)})
	rollout := r.Begin(Terms{})
	result := rollout.Publish(t.Context(), api("a", 1))
	if len(result.Rejections) != 1 || result.Rejections[0].Words != `unknown word "dpop"` || result.Rejections[0].APIs[0] != "a/1" {
		t.Fatalf("rejections %+v", result.Rejections)
	}
	rollout.Rollback(t.Context())
	wantLog(t, envoy)
	if !r.Serving() {
		t.Errorf("not serving after the rollback: %+v", r.Gateways())
	}
}

func TestRejectedRoutesAreTakenBackAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	bad := ""
	var mu sync.Mutex
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, res *discoveryv3.Resource) string {
		mu.Lock()
		defer mu.Unlock()
		if typeURL == xds.RouteType && res.Name == bad && strings.Contains(string(res.Resource.Value), "-2") {
			return "Proto constraint validation failed: name: \"b\"\n} \nonly one of these may be set"
		}
		return ""
	}})
	r.publish(merge(api("a", 1), api("b", 1)))
	good := envoy.Version(xds.RouteType, "b")
	mu.Lock()
	bad = "b"
	mu.Unlock()

	rollout := r.Begin(Terms{})
	result := rollout.Publish(t.Context(), merge(edit("a", 1, 2), edit("b", 1, 2)))
	if len(result.Rejections) != 1 || result.Rejections[0].Words != "only one of these may be set" || !slices.Equal(result.Rejections[0].APIs, []string{"b/1"}) {
		t.Fatalf("rejections %+v", result.Rejections)
	}
	if s := r.state("gw"); s != Rejected {
		t.Errorf("state %s", s)
	}
	envoy.Reset()
	result = rollout.Publish(t.Context(), edit("a", 1, 2))
	if len(result.Rejections) != 0 || result.Pending {
		t.Fatalf("second wave: %+v", result)
	}
	rollout.Commit()
	wantLog(t, envoy, "RouteConfiguration +b")
	if got := envoy.Version(xds.RouteType, "b"); got != good {
		t.Errorf("b is at %s, want its last good %s", got, good)
	}
	if !r.Serving() {
		t.Errorf("not serving: %+v", r.Gateways())
	}
	if got := r.samples("postern_xds_total"); !slices.Contains(got, "default nack RouteConfiguration 1") {
		t.Errorf("counted %v", got)
	}
}

func TestRejectedNewClusterLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refuse("cluster-b", "no hosts")})
	r.publish(api("a", 1))
	rollout := r.Begin(Terms{})
	if result := rollout.Publish(t.Context(), api("b", 1)); len(result.Rejections) != 1 {
		t.Fatalf("rejections %+v", result.Rejections)
	}
	rollout.Rollback(t.Context())
	r.until("serving again", func() bool { return r.state("gw") == Serving && r.Serving() })
	if envoy.Version(xds.ScopeType, "b") != "" {
		t.Error("a scope without its cluster was published")
	}
}

func TestNobodyConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	result := r.publish(api("a", 1))
	if !result.Unseen || result.Pending || r.Serving() || r.Proven("a/1") {
		t.Errorf("result %+v, serving %v, proven %v", result, r.Serving(), r.Proven("a/1"))
	}
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	envoy.Wait("the routes", func(have map[string]map[string]string) bool { return have[xds.RouteType]["a"] != "" })
	r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	r.connect("rl", xds.RoleRateLimiter, xdstest.Options{})
	r.until("serving", r.Serving)
	if !r.Proven("a/1") {
		t.Error("not proven")
	}
}

func TestRejectedAfterItWasCommittedUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.publish(merge(api("a", 1), api("b", 1)))
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, res *discoveryv3.Resource) string {
		if typeURL == xds.RouteType && res.Name == "b" {
			return "bad regex"
		}
		return ""
	}})
	select {
	case <-r.Late():
	case <-time.After(xdstest.Patience):
		t.Fatal("no late rejection")
	}
	late := r.TakeLate()
	if len(late) != 1 || late[0].Words != "bad regex" || !slices.Equal(late[0].APIs, []string{"b/1"}) {
		t.Errorf("late %+v", late)
	}
	r.publish(removal("b", 1))
	r.until("everything but the parts that do not exist", func() bool { return r.state("gw") == Serving })
}

func TestOneOddGatewayUndoesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("good", xds.RoleEnvoy, xdstest.Options{})
	r.publish(api("a", 1))
	r.connect("odd", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, _ *discoveryv3.Resource) string {
		if typeURL == xds.RouteType {
			return "too old for this"
		}
		return ""
	}})
	r.until("odd's words", func() bool { return r.state("odd") == Rejected })
	if late := r.TakeLate(); len(late) != 0 {
		t.Errorf("late %+v", late)
	}
	if r.state("good") != Serving {
		t.Errorf("good is %s", r.state("good"))
	}
}

func TestSilentGatewaysAreWaitedForTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Wait: 50 * time.Millisecond})
	r.connect("quiet", xds.RoleEnvoy, xdstest.Options{Silent: true})
	good := r.connect("good", xds.RoleEnvoy, xdstest.Options{})
	for i, want := range []State{Pending, Lagging, Lagging} {
		result := r.publish(api(fmt.Sprint("api", i), 1))
		if !result.Pending {
			t.Errorf("%d: not pending", i)
		}
		if got := r.state("quiet"); got != want {
			t.Errorf("%d: state %s, want %s", i, got, want)
		}
		good.Wait("what the silent one does not take", func(have map[string]map[string]string) bool {
			return have[xds.RouteType][fmt.Sprint("api", i)] != ""
		})
	}
}

func TestPoliciesOutliveAbsentGateways(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	enforcer := r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	away := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.publish(api("a", 1))
	memory := away.State()
	away.Close()
	r.until("lost", func() bool { return r.state("gw") == Lost })

	r.publish(edit("a", 1, 2))
	r.advance(time.Hour)
	if enforcer.Version(posternv1.PolicyType, "policy-a-1") == "" || r.caches[posternv1.PolicyType].Len() != 2 {
		t.Fatal("the policy of an absent gateway's routes is gone")
	}
	back := r.connect("gw", xds.RoleEnvoy, xdstest.Options{Have: memory})
	back.Wait("the new routes", func(have map[string]map[string]string) bool { return have[xds.ClusterType]["cluster-a-2"] != "" })
	r.until("serving", func() bool { return r.state("gw") == Serving })
	r.advance(2 * time.Minute)
	enforcer.Wait("the old policy gone", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) == 1 })
}

func TestForgottenGatewaysHoldNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.publish(api("a", 1))
	gw.Close()
	r.until("lost", func() bool { return r.state("gw") == Lost })
	r.publish(edit("a", 1, 2))
	r.advance(25 * time.Hour)
	if n := r.caches[posternv1.PolicyType].Len(); n != 1 || r.state("gw") != "" {
		t.Errorf("%d policies, gateway %q", n, r.state("gw"))
	}
}

func TestRestartedAdapterSendsNothingTwice(t *testing.T) {
	t.Parallel()
	first := newRig(t, Options{})
	gw := first.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	first.publish(merge(api("a", 1), api("b", 1)))
	memory := gw.State()
	gw.Close()

	second := newRig(t, Options{})
	second.publish(merge(api("a", 1), api("b", 1)))
	again := second.connect("gw", xds.RoleEnvoy, xdstest.Options{Have: memory})
	second.until("serving", second.Serving)
	wantLog(t, again)
}

func TestReconnectBeforeTheOldStreamDied(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{Silent: true})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	if result := r.publish(api("a", 1)); result.Pending || len(result.Gateways) != 1 {
		t.Errorf("result %+v", result)
	}
	if got := r.samples("postern_gateway_config_age_seconds"); !slices.Equal(got, []string{"gw default envoy 0"}) {
		t.Errorf("ages %v", got)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	issuer := func(name string) translate.Resource {
		m := &posternv1.Issuer{Issuer: name}
		return translate.Resource{Name: name, Version: posternv1.ContentHash(m), Message: m}
	}
	listener := &listenerv3.Listener{Name: "http"}
	if err := r.Replace(xds.ListenerType, []translate.Resource{{Name: "http", Version: "1", Message: listener}}); err != nil {
		t.Fatal(err)
	}
	for _, set := range [][]string{{"a", "b"}, {"b", "c"}, {}} {
		var all []translate.Resource
		for _, name := range set {
			all = append(all, issuer(name))
		}
		if err := r.Replace(posternv1.IssuerType, all); err != nil {
			t.Fatal(err)
		}
		enforcer := r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
		enforcer.Wait(fmt.Sprint(set), func(have map[string]map[string]string) bool { return len(have[posternv1.IssuerType]) == len(set) })
		enforcer.Close()
	}
	bad := &posternv1.Issuer{Issuer: "\xff"}
	if err := r.Replace(posternv1.IssuerType, []translate.Resource{{Name: "bad", Message: bad}}); err == nil {
		t.Error("what cannot be marshalled was published")
	}
}

func TestUnfitResourceIsARejection(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	d := api("a", 1)
	d.Clusters.Put[0].Message = &clusterv3.Cluster{Name: "\xff"}
	rollout := r.Begin(Terms{})
	result := rollout.Publish(t.Context(), d)
	rollout.Rollback(t.Context())
	if len(result.Rejections) != 1 || !slices.Equal(result.Rejections[0].APIs, []string{"a/1"}) {
		t.Errorf("rejections %+v", result.Rejections)
	}
}

func TestOthersLabelsAndTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	if _, err := r.Find(t.Context(), xds.Node{Label: "other", Role: xds.RoleEnvoy}, xds.ClusterType); err == nil {
		t.Error("a node of another label is served")
	}
	for _, role := range []string{xds.RoleEnvoy, xds.RoleRateLimiter, "nobody"} {
		if c, err := r.Find(t.Context(), xds.Node{Label: xds.DefaultLabel, Role: role}, posternv1.IssuerType); c != nil || err != nil {
			t.Errorf("%s gets issuers", role)
		}
	}
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{
		"one":              "one",
		"a\nb\n":           "b",
		"":                 "",
		"dump {\n}\n why ": "why",
	} {
		if got := lastLine(in); got != want {
			t.Errorf("lastLine(%q) = %q, want %q", in, got, want)
		}
	}
	if got := lastLine(strings.Repeat("é", 400)); len(got) > 510 {
		t.Errorf("%d bytes", len(got))
	}
}
