// Package xdstest is a gateway for tests: it takes delta xDS as an Envoy, an enforcer or a ratelimiter
// would, and does to each resource what the test says. It must not import the adapter.
package xdstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Patience is how long a Wait waits.
const Patience = 20 * time.Second

// Options of a Gateway.
type Options struct {
	// Node is who connects; label and role as in package xds.
	Node xds.Node
	// Refuse returns the words of a NACK, "" to accept. nil accepts everything.
	Refuse func(typeURL string, r *discoveryv3.Resource) string
	// Silent gateways take everything and never answer.
	Silent bool
	// Have is what the gateway has from an earlier life, as its State.
	Have map[string]map[string]string
}

// Gateway is a connected gateway.
type Gateway struct {
	t       testing.TB
	options Options
	stream  discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	close   func()

	mu       sync.Mutex
	stalled  bool
	versions map[string]map[string]string // by type, by name
	log      []string
	bytes    int
	changed  chan struct{}
}

// Connect connects a gateway to "unix:/path" or "host:port" until the test ends.
func Connect(t testing.TB, address string, o Options) *Gateway {
	t.Helper()
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{t: t, options: o, stream: stream, versions: map[string]map[string]string{}, changed: make(chan struct{})}
	for typeURL, have := range o.Have {
		g.versions[typeURL] = maps.Clone(have)
	}
	done := make(chan struct{})
	g.close = sync.OnceFunc(func() { cancel(); <-done; _ = conn.Close() })
	g.begin()
	go func() { defer close(done); g.run() }()
	t.Cleanup(g.close)
	return g
}

// Close ends the connection.
func (g *Gateway) Close() { g.close() }

func (g *Gateway) begin() {
	var types []string
	switch g.options.Node.Role {
	case xds.RoleEnforcer:
		types = []string{posternv1.PolicyType, posternv1.IssuerType}
	case xds.RoleRateLimiter:
		types = []string{posternv1.LimitsType}
	default:
		types = []string{xds.ClusterType, xds.ListenerType, xds.ScopeType}
	}
	for i, typeURL := range types {
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, InitialResourceVersions: g.versions[typeURL]}
		if i == 0 {
			r.Node = g.options.Node.Proto()
		}
		g.send(r)
	}
	// why of the scopes: one may have been taken just before the connection ended, and its route table not
	if scopes := g.versions[xds.ScopeType]; len(scopes) > 0 {
		g.send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: xds.RouteType, InitialResourceVersions: g.versions[xds.RouteType],
			ResourceNamesSubscribe: slices.Sorted(maps.Keys(scopes)), // scopes and their routes have one name
		})
	}
}

func (g *Gateway) send(r *discoveryv3.DeltaDiscoveryRequest) {
	_ = g.stream.Send(r) // a broken stream shows where it is read
}

func (g *Gateway) run() {
	for {
		m, err := g.stream.Recv()
		if err != nil {
			return
		}
		answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
		words := g.refusal(m)
		if words != "" {
			answer.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: words}
		}
		// why before: who sees the state may rely on everything having been sent
		if words == "" {
			g.followScopes(m)
		}
		if !g.options.Silent && !g.stalls() {
			g.send(answer)
		}
		g.take(m, words == "")
	}
}

// Stall makes the gateway take everything and answer nothing, or answer again what comes from now on.
func (g *Gateway) Stall(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled = on
}

func (g *Gateway) stalls() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stalled
}

func (g *Gateway) refusal(m *discoveryv3.DeltaDiscoveryResponse) string {
	var all []string
	for _, r := range m.Resources {
		if g.options.Refuse == nil {
			break
		}
		if words := g.options.Refuse(m.TypeUrl, r); words != "" {
			all = append(all, words)
		}
	}
	return strings.Join(all, "\n")
}

// followScopes asks for the route tables of new scopes, and for those of gone ones no more.
func (g *Gateway) followScopes(m *discoveryv3.DeltaDiscoveryResponse) {
	if m.TypeUrl != xds.ScopeType {
		return
	}
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResourceNamesUnsubscribe: m.RemovedResources}
	for _, scope := range m.Resources {
		if g.Version(xds.ScopeType, scope.Name) == "" {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, routesOf(scope))
		}
	}
	if len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) > 0 {
		g.send(r)
	}
}

func (g *Gateway) take(m *discoveryv3.DeltaDiscoveryResponse, accepted bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += proto.Size(m)
	short := m.TypeUrl[strings.LastIndexByte(m.TypeUrl, '.')+1:]
	have := g.versions[m.TypeUrl]
	if have == nil {
		have = map[string]string{}
		g.versions[m.TypeUrl] = have
	}
	for _, r := range m.Resources {
		if !accepted {
			g.log = append(g.log, fmt.Sprintf("%s !%s", short, r.Name))
			continue
		}
		g.log = append(g.log, fmt.Sprintf("%s +%s", short, r.Name))
		have[r.Name], _, _ = strings.Cut(r.Version, "~")
	}
	for _, name := range m.RemovedResources {
		g.log = append(g.log, fmt.Sprintf("%s -%s", short, name))
		delete(have, name)
		if m.TypeUrl == xds.ScopeType { // scopes and their routes have one name
			delete(g.versions[xds.RouteType], name)
		}
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

func routesOf(r *discoveryv3.Resource) string {
	var scope routev3.ScopedRouteConfiguration
	if err := r.Resource.UnmarshalTo(&scope); err != nil || scope.RouteConfigurationName == "" {
		return r.Name
	}
	return scope.RouteConfigurationName
}

// State is what the gateway has: versions by type and name.
func (g *Gateway) State() map[string]map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	state := map[string]map[string]string{}
	for typeURL, have := range g.versions {
		state[typeURL] = maps.Clone(have)
	}
	return state
}

// Version is what the gateway has of one resource, "" for none.
func (g *Gateway) Version(typeURL, name string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.versions[typeURL][name]
}

// Log is what happened, in order: "Cluster +a", "RouteConfiguration !b" (refused), "ScopedRouteConfiguration -c".
// Reset starts it anew.
func (g *Gateway) Log() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.log)
}

// Reset empties the log and sets the count of bytes to 0.
func (g *Gateway) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log, g.bytes = nil, 0
}

// Bytes is the size of the responses received.
func (g *Gateway) Bytes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bytes
}

// Wait waits until the condition, which what speaks of, holds for the versions the gateway has.
func (g *Gateway) Wait(what string, holds func(have map[string]map[string]string) bool) {
	g.t.Helper()
	timeout := time.After(Patience)
	for {
		g.mu.Lock()
		ok, changed := holds(g.versions), g.changed
		g.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			g.t.Fatalf("gateway %s: %s: not within %v; it has %v", g.options.Node.ID, what, Patience, g.State())
		}
	}
}
