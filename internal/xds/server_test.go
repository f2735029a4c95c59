package xds

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestWildcard(t *testing.T) {
	for _, c := range []struct {
		name      string
		subscribe []string
	}{{"legacy", nil}, {"explicit", []string{"*"}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
			gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResourceNamesSubscribe: c.subscribe})
			gw.ack(gw.expect("+a@1 +b@1"))
			r.put(ClusterType, Item{"c", "1"}, Item{"a", "1"})
			gw.ack(gw.expect("+c@1"))
			r.put(ClusterType, Item{"b", "2"})
			gw.ack(gw.expect("+b@2"))
			r.remove(ClusterType, "a")
			gw.ack(gw.expect("-a"))
			gw.nothing()
		})
	}
}

func TestEmptyFirstFillIsAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ListenerType})
	gw.ack(gw.expect(""))
	gw.nothing()
}

func TestByName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(RouteType, Item{"a", "1"}, Item{"b", "1"}, Item{"c", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType}) // an empty one asks for nothing
	gw.nothing()
	gw.subscribe(RouteType, "a", "b")
	gw.ack(gw.expect("+a@1 +b@1"))
	r.put(RouteType, Item{"c", "2"})
	gw.nothing()
	r.put(RouteType, Item{"b", "2"})
	gw.ack(gw.expect("+b@2"))
	gw.unsubscribe(RouteType, "b")
	gw.sync()
	r.put(RouteType, Item{"b", "3"})
	gw.nothing()
	gw.subscribe(RouteType, "b")
	gw.ack(gw.expect("+b@3"))
	gw.subscribe(RouteType, "b") // asked for again: the client may have dropped it
	gw.ack(gw.expect("+b@3"))
}

func TestNamesThatAreNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"late"}})
	gw.ack(gw.expect("-late"))
	r.put(RouteType, Item{"late", "1"})
	gw.ack(gw.expect("+late@1"))
}

func TestUnsubscribeUnderWildcard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"a", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType, ResourceNamesSubscribe: []string{"*", "a", "b"}})
	gw.ack(gw.expect("+a@1 -b"))
	gw.unsubscribe(ownType, "a", "b")
	gw.ack(gw.expect("+a@1 -b"))
	gw.unsubscribe(ownType, "*")
	gw.sync()
	r.put(ownType, Item{"a", "2"})
	gw.nothing()
	gw.subscribe(ownType, "*")
	gw.ack(gw.expect("+a@2"))
}

func TestRoutesAndScopesTravelAlone(t *testing.T) {
	t.Parallel()
	for _, typeURL := range []string{RouteType, ScopeType} {
		r := newRig(t)
		r.put(typeURL, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}})
		gw.ack(gw.expect("+a@1 +b@1"))
		r.put(typeURL, Item{"a", "2"}, Item{"b", "2"})
		first, second := gw.expect("+a@2"), gw.expect("+b@2")
		gw.ack(first)
		gw.ack(second)
	}
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ScopeType, Item{"same", "1"}, Item{"changed", "2"}, Item{"new", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                 ScopeType,
		InitialResourceVersions: map[string]string{"same": "1", "changed": "1", "gone": "1"},
	})
	gw.ack(gw.expect("+changed@2 +new@1 -gone"))

	again := r.connect(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                 ScopeType,
		InitialResourceVersions: map[string]string{"same": "1~3", "changed": "2", "new": "1"},
	})
	again.ack(again.expect(""))
	again.request(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a"}, InitialResourceVersions: map[string]string{"a": "1"},
	})
	again.ack(again.expect("-a"))
	r.put(RouteType, Item{"a", "1"})
	again.ack(again.expect("+a@1"))
}

func TestReconnectReportsWhatTheClientHas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(RouteType, Item{"a", "1"}, Item{"b", "1"})
	r.connect(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: map[string]string{"a": "1", "b": "1"},
	}).nothing()
	e := r.event(Acked)
	if fmt.Sprint(e.Resources) != "[{a 1} {b 1}]" {
		t.Errorf("confirmed %v, want a and b", e.Resources)
	}
}

func TestClustersOutliveAReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ClusterType, Item{"new", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, InitialResourceVersions: map[string]string{"old": "1"}})
	gw.ack(gw.expect("+new@1"))
	gw.ack(gw.expect("-old")) // after the grace
}

// TestRetainedClustersOutliveTheGrace: the time after which others are told of clusters that are gone is not for these.
func TestRetainedClustersOutliveTheGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ClusterType, Item{"b", "1"})
	r.cache(ClusterType).Retain(true)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, InitialResourceVersions: map[string]string{"a": "1"}})
	gw.ack(gw.expect("+b@1"))
	gw.nothing() // for twice the grace
	r.cache(ClusterType).Retain(false)
	gw.ack(gw.expect("-a"))
}

func TestRetainedResourcesOutliveAReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cache(ownType).Retain(true)
	r.put(ownType, Item{"new", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType, InitialResourceVersions: map[string]string{"old": "1"}})
	gw.ack(gw.expect("+new@1"))
	gw.nothing()
	r.cache(ownType).Retain(false)
	gw.ack(gw.expect("-old"))
}

func TestVerdictsAreReported(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"a", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType})
	if e := r.event(Connected); e.Node != (Node{ID: "gw-1", Label: "default", Role: RoleEnvoy}) {
		t.Errorf("node %+v", e.Node)
	}
	gw.ack(gw.expect("+a@1"))
	if e := r.event(Acked); fmt.Sprint(e.TypeURL, e.Resources, e.Removed) != ownType+"[{a 1}] []" {
		t.Errorf("acked %+v", e)
	}
	r.remove(ownType, "a")
	gw.ack(gw.expect("-a"))
	if e := r.event(Acked); fmt.Sprint(e.Resources, e.Removed) != "[] [a]" {
		t.Errorf("acked %+v", e)
	}
	r.put(ownType, Item{"b", "1"})
	gw.nack(gw.expect("+b@1"), "no such thing")
	if e := r.event(Nacked); fmt.Sprintf("%v %s %v", e.Resources, e.Words, e.Retried) != "[{b 1}] no such thing false" {
		t.Errorf("nacked %+v", e)
	}
	gw.nothing() // the bad one waits for a change
	gw.cancel()
	r.event(Disconnected)
}

func TestStaleNonce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"a", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType})
	m := gw.expect("+a@1")
	gw.ack(m)
	r.event(Acked)
	gw.nack(m, "too late")
	m.Nonce = "never-sent"
	gw.nack(m, "what is this")
	gw.nothing()
	select {
	case e := <-r.events:
		t.Errorf("a stale nonce was reported: %+v", e)
	default:
	}
}

func TestNackOfSeveralSendsEachAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ClusterType, Item{"bad", "1"}, Item{"good", "1"}, Item{"fine", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType})
	gw.nack(gw.expect("+bad@1 +fine@1 +good@1"), "one of them")
	if e := r.event(Nacked); !e.Retried {
		t.Errorf("not retried: %+v", e)
	}
	gw.nack(gw.expect("+bad@1~1"), "this one")
	gw.ack(gw.expect("+fine@1~1"))
	gw.ack(gw.expect("+good@1~1"))
	if e := r.event(Nacked); e.Retried || e.Resources[0] != (Item{"bad", "1"}) {
		t.Errorf("nacked %+v", e)
	}
	if e := r.event(Acked); e.Resources[0] != (Item{"fine", "1"}) {
		t.Errorf("acked %+v", e)
	}
	r.put(ClusterType, Item{"bad", "0"}) // the last good one
	gw.ack(gw.expect("+bad@0~2"))
	gw.sync()
	r.put(ClusterType, Item{"bad", "2"})
	gw.ack(gw.expect("+bad@2"))
}

func TestNackedAndRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType})
	m := gw.expect("+a@1 +b@1")
	r.remove(ClusterType, "b")
	gw.ack(gw.expect("-b"))
	gw.nack(m, "one of them")
	gw.ack(gw.expect("+a@1~1"))
	gw.nothing()
}

// TestRemovalBesideABadOne: a client that was away is told again what is gone, if what came with it was refused.
func TestRemovalBesideABadOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ScopeType, Item{"bad", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ScopeType, InitialResourceVersions: map[string]string{"gone": "1"}})
	gw.nack(gw.expect("+bad@1 -gone"), "this one")
	m := gw.expect("-gone")
	gw.nack(m, "not this either") // and no more of it
	gw.nothing()
}

func TestChangedBeforeTheVerdict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType})
	old := gw.expect("+a@1 +b@1")
	r.put(ClusterType, Item{"a", "2"})
	gw.ack(gw.expect("+a@2"))
	gw.nack(old, "one of them")
	gw.ack(gw.expect("+b@1~1")) // a is newer already
	gw.nothing()
}

func TestThereAndBackAgainIsConfirmed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"a", "1"})
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType})
	gw.ack(gw.expect("+a@1"))
	r.event(Acked)
	c := r.cache(ownType)
	for w := range c.watches { // as if both changes came before the stream woke
		w.mark([]string{"a"})
	}
	if e := r.event(Acked); fmt.Sprint(e.Resources) != "[{a 1}]" {
		t.Errorf("acked %+v", e)
	}
	gw.nothing()
}

func TestLargeSetsTravelInBatches(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []*discoveryv3.Resource
	for i := range 40 {
		all = append(all, resource(fmt.Sprintf("r%02d", i), "1", make([]byte, 256<<10)))
	}
	r.cache(ownType).Update(all, nil)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType}) // gRPC's default limit: 4 MiB
	seen, more := 0, true
	for more {
		m := gw.next()
		gw.ack(m)
		seen += len(m.Resources)
		more = m.SystemVersionInfo == partial
		if n := len(m.Resources); n > 4 {
			t.Errorf("%d resources of 256 KiB in one response", n)
		}
	}
	if seen != len(all) {
		t.Errorf("%d resources before the fill was said to be complete, want %d", seen, len(all))
	}
}

func TestASilentClientBlocksNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	silent, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := silent.Send(&discoveryv3.DeltaDiscoveryRequest{Node: Node{ID: "silent"}.Proto(), TypeUrl: ownType}); err != nil {
		t.Fatal(err)
	}
	r.event(Connected) // and from now on it reads nothing
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType})
	gw.ack(gw.expect(""))
	for i := range 100 {
		r.cache(ownType).Update([]*discoveryv3.Resource{resource("big", fmt.Sprint(i), make([]byte, 512<<10))}, nil)
		gw.ack(gw.expect(fmt.Sprintf("+big@%d", i)))
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, first := range map[string]*discoveryv3.DeltaDiscoveryRequest{
		"no node": {TypeUrl: ownType},
		"no type": {Node: Node{ID: "gw"}.Proto()},
	} {
		gw := r.dial()
		gw.request(first)
		select {
		case err := <-gw.failed:
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Errorf("%s: no answer", name)
		}
	}
}

func TestATypeWithoutCacheIsEmpty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: nobodysType})
	gw.ack(gw.expect(""))
}

func TestARefusedNodeIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: refusedType})
	select {
	case err := <-gw.failed:
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Error("no answer")
	}
}

func TestWhoIsNotAdmitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gw := r.dial()
	gw.request(&discoveryv3.DeltaDiscoveryRequest{Node: Node{ID: stranger}.Proto(), TypeUrl: ownType})
	select {
	case err := <-gw.failed:
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Error("no answer")
	}
	select {
	case e := <-r.events:
		t.Errorf("a stranger was reported: %+v", e)
	default:
	}
}

func TestNode(t *testing.T) {
	for _, n := range []Node{
		{ID: "gw-1", Label: "edge", Role: RoleEnforcer},
		{ID: "gw-1", Label: "edge", Role: RoleEnforcer, Version: "v1.2.3"},
	} {
		if got := NodeOf(n.Proto()); got != n {
			t.Errorf("NodeOf(Proto()) = %+v, want %+v", got, n)
		}
	}
	if got := NodeOf(nil); got != (Node{Label: DefaultLabel, Role: RoleEnvoy}) {
		t.Errorf("NodeOf(nil) = %+v", got)
	}
	build := &corev3.BuildVersion{Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40, Patch: 2}}
	envoy := &corev3.Node{Id: "gw", UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: build}}
	if got := NodeOf(envoy).Version; got != "1.40.2" {
		t.Errorf("Envoy's version is %q", got)
	}
	long := Node{ID: "gw", Version: strings.Repeat("é", 500)}
	if got := NodeOf(long.Proto()).Version; len(got) > maxVersion || got == "" {
		t.Errorf("a long version is %q", got)
	}
}

// TestWhoHasLeftBeforeItWasSeenWasNeverThere: its client may be back on another stream, whose peer it would pass for.
func TestWhoHasLeftBeforeItWasSeenWasNeverThere(t *testing.T) {
	t.Parallel()
	s := NewServer(ServerOptions{
		Find:   func(context.Context, Node, string) (*Cache, error) { return NewCache(), nil },
		Notify: func(e Event) { t.Errorf("reported: %+v", e) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := newStream(s, ctx, func(*discoveryv3.DeltaDiscoveryResponse) error { return nil })
	if err := st.request(&discoveryv3.DeltaDiscoveryRequest{Node: Node{ID: "gw"}.Proto(), TypeUrl: ownType}); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	st.close()
}
