package xds

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/test/fixture"
)

// eventually waits until ok.
func eventually(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what())
		}
	}
}

// unwilling refuses everybody.
type unwilling struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
}

func (unwilling) DeltaAggregatedResources(discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return status.Error(codes.PermissionDenied, "nobody knows you")
}

// TestClientSaysWhyItGetsNothing: each reason once, as a warning, in plain words.
func TestClientSaysWhyItGetsNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log fixture.Log
	followWith(t, "", ClientOptions{Addresses: []string{address}, Log: log.Logger()})
	says := func(text string) {
		t.Helper()
		eventually(t, log.String, func() bool { return strings.Contains(log.String(), text) })
	}
	says("connection refused")
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, unwilling{})
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	says("PermissionDenied: nobody knows you")
	text := log.String()
	if strings.Contains(text, "rpc error") || strings.Contains(text, "desc =") {
		t.Errorf("not in plain words:\n%s", text)
	}
	if n := strings.Count(text, "connection refused"); n != 1 || !strings.Contains(text, "level=WARN msg=\"waiting for a configuration source\"") {
		t.Errorf("the first reason is told %d times:\n%s", n, text)
	}
}

func TestClientRepeatsItselfEachMinute(t *testing.T) {
	t.Parallel()
	var log fixture.Log
	c := &client{options: ClientOptions{Log: log.Logger(), Source: NewSource("enforcer")}, told: map[string]time.Time{}}
	for range 3 {
		c.wait([]string{"a: no", "b: never"})
		c.wait([]string{"a: no", "b: not now"})
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	c.told["a: no; b: never"] = time.Now().Add(-remindEvery)
	c.wait([]string{"a: no", "b: never"})
	if n := strings.Count(log.String(), "never"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}

// TestSource follows where the configuration comes from, over a restart without a server.
func TestSource(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, address: l.Addr().String(), events: make(chan Event, 1<<16), caches: map[string]*Cache{}}
	r.serve(l)
	r.put(ownType, Item{"a", "1"})
	store, source := newShelf(), NewSource("enforcer")
	if from, asOf := source.Now(); from != FromNowhere || !asOf.IsZero() {
		t.Errorf("at first %s of %v", from, asOf)
	}
	from := func(s *Source, want string) {
		t.Helper()
		now := func() string { got, _ := s.Now(); return got }
		eventually(t, now, func() bool { return now() == want })
	}
	f := followWith(t, "", ClientOptions{Store: store, Addresses: []string{r.address}, Source: source})
	f.expect("+a@1 complete")
	from(source, FromServer)
	expectMetric(t, source, "adapter", 0)
	if store.SavedAt().IsZero() {
		t.Error("the server's say is not confirmed")
	}
	f.stop()
	from(source, FromDisk)

	store.mu.Lock()
	store.confirmed = time.Now().Add(-time.Hour)
	store.mu.Unlock()
	var log fixture.Log
	again := NewSource("enforcer")
	f = followWith(t, "", ClientOptions{Store: store, Addresses: []string{"127.0.0.1:1"}, Source: again, Log: log.Logger()})
	f.expect("+a@1 complete")
	from(again, FromDisk)
	eventually(t, log.String, func() bool { return strings.Contains(log.String(), "going on from what was told last") })
	expectMetric(t, again, "disk", time.Hour.Seconds())
}

// expectMetric: the source is this, so old, to a minute.
func expectMetric(t *testing.T, s *Source, source string, age float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s, NewSource("another"))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			value := m.GetGauge().GetValue()
			switch {
			case labels["service"] != "enforcer":
			case family.GetName() == "postern_configuration_age_seconds":
				if seen++; value < age || value > age+60 {
					t.Errorf("age %v, want %v", value, age)
				}
			case (value == 1) != (labels["source"] == source):
				t.Errorf("%v is %v, want %s", labels, value, source)
			default:
				seen++
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d metrics", seen)
	}
}
