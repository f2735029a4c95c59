package ratelimiter

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// clock is a clock that tests set.
type clock struct{ nanos atomic.Int64 }

func (c *clock) set(t time.Time)     { c.nanos.Store(t.UnixNano()) }
func (c *clock) now() time.Time      { return time.Unix(0, c.nanos.Load()) }
func (c *clock) add(d time.Duration) { c.nanos.Add(int64(d)) }

// fixture is a Server on a unix socket and Envoy's client of it.
type fixture struct {
	*Server
	clock  *clock
	client ratelimitv3.RateLimitServiceClient
	conn   *grpc.ClientConn
}

func start(t testing.TB, o Options) *fixture {
	t.Helper()
	c := &clock{}
	c.set(time.Date(2026, 11, 21, 10, 0, 18, 500, time.UTC)) // 42 seconds before the minute ends
	if o.Now == nil {
		o.Now = c.now
	}
	s := New(o)
	dir, err := os.MkdirTemp("", "p") // why: a test's own directory makes paths that are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("unix:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &fixture{Server: s, clock: c, client: ratelimitv3.NewRateLimitServiceClient(conn), conn: conn}
}

// limits makes a resource of an API's rules and returns the ids they got.
func limits(t testing.TB, rules ...*posternv1.LimitRule) (*discoveryv3.Resource, []string) {
	t.Helper()
	return named(t, &posternv1.Limits{Api: "petstore/1.0.0", Rules: rules, Requires: []string{posternv1.RequiresFixedWindow}})
}

func named(t testing.TB, m *posternv1.Limits) (*discoveryv3.Resource, []string) {
	t.Helper()
	name := posternv1.NameLimits(m)
	r, err := xds.Encode(name, name, m)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(m.GetRules()))
	for i, rule := range m.GetRules() {
		ids[i] = rule.GetId()
	}
	return r, ids
}

func put(t testing.TB, s *Server, resources ...*discoveryv3.Resource) {
	t.Helper()
	if err := s.Apply(xds.Update{TypeURL: posternv1.LimitsType, Resources: resources, Complete: true}); err != nil {
		t.Fatal(err)
	}
}

func gold(change ...func(*posternv1.LimitRule)) *posternv1.LimitRule {
	r := &posternv1.LimitRule{Name: "gold", Counter: "petstore/1.0.0 gold", Limit: 3, WindowSeconds: 60, Code: "900800"}
	for _, f := range change {
		f(r)
	}
	return r
}

// ask sends a request with one descriptor for each rule id.
func (f *fixture) ask(t testing.TB, ids ...string) *ratelimitv3.RateLimitResponse {
	t.Helper()
	out, err := f.client.ShouldRateLimit(t.Context(), question(ids...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func question(ids ...string) *ratelimitv3.RateLimitRequest {
	in := &ratelimitv3.RateLimitRequest{Domain: "postern"}
	for _, id := range ids {
		in.Descriptors = append(in.Descriptors, &commonv3.RateLimitDescriptor{
			Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: posternv1.DescriptorLimit, Value: id}},
		})
	}
	return in
}

// headers are the response's headers by name.
func headers(r *ratelimitv3.RateLimitResponse) map[string]string {
	out := map[string]string{}
	for _, h := range r.GetResponseHeadersToAdd() {
		if _, twice := out[h.GetKey()]; twice {
			out[h.GetKey()] += " twice"
			continue
		}
		out[h.GetKey()] = h.GetValue()
	}
	return out
}
