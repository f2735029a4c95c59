// Package xdstest is a gateway for tests: it takes delta xDS as an Envoy, an enforcer or a ratelimiter
// would, or refuses, stalls, leaves and lies as its Behaviour says. It must not import the adapter.
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
	"google.golang.org/grpc"
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
	// Behaviour is what else it does; Refuse and Silent go before it.
	Behaviour Behaviour
}

// Gateway is a connected gateway.
type Gateway struct {
	t      testing.TB
	node   xds.Node
	client discoveryv3.AggregatedDiscoveryServiceClient
	ctx    context.Context // until it is closed
	close  func()

	sending sync.Mutex // one request after the other
	turn    sync.Mutex // a response is taken and answered, and nobody sees one without the other
	running sync.WaitGroup

	mu         sync.Mutex
	behaviour  Behaviour
	session    *session
	unanswered []withheld
	versions   map[string]map[string]string // by type, by name
	log        []string
	bytes      int
	changed    chan struct{}
}

// session is one stream.
type session struct {
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
	ended  chan struct{}
}

// withheld is an answer that was not given.
type withheld struct {
	session *session
	answer  *discoveryv3.DeltaDiscoveryRequest
}

// Join connects a gateway that behaves like this to "unix:/path" or "host:port" until the test ends.
func Join(t testing.TB, address string, node xds.Node, b Behaviour) *Gateway {
	t.Helper()
	return Connect(t, address, Options{Node: node, Behaviour: b})
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
	g := &Gateway{
		t: t, node: o.Node, client: discoveryv3.NewAggregatedDiscoveryServiceClient(conn), ctx: ctx,
		behaviour: o.Behaviour, versions: map[string]map[string]string{}, changed: make(chan struct{}),
	}
	if o.Refuse != nil {
		g.behaviour.Refuse = o.Refuse
	}
	if o.Silent {
		g.behaviour.Stall = Always
	}
	for typeURL, have := range o.Have {
		g.versions[typeURL] = maps.Clone(have)
	}
	g.close = sync.OnceFunc(func() { cancel(); g.running.Wait(); _ = conn.Close() })
	t.Cleanup(g.close)
	if err := g.open(); err != nil {
		t.Fatal(err)
	}
	return g
}

// Close ends the connection for good.
func (g *Gateway) Close() { g.close() }

// Leave ends the stream. What the gateway has, it keeps.
func (g *Gateway) Leave() {
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	if s != nil {
		s.cancel()
		<-s.ended
	}
}

// Return leaves, if it has not, and opens a stream anew with what the gateway has, or says it has.
func (g *Gateway) Return() {
	g.t.Helper()
	g.Leave()
	if err := g.open(); err != nil {
		g.t.Fatal(err)
	}
}

// Become changes what the gateway does from now on.
func (g *Gateway) Become(b Behaviour) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.behaviour = b
}

// Answer gives the answers that were withheld on this stream.
func (g *Gateway) Answer() {
	g.mu.Lock()
	all := g.unanswered
	g.unanswered = nil
	g.mu.Unlock()
	for _, w := range all {
		g.send(w.session, w.answer)
	}
}

// open opens a stream and begins to follow it.
func (g *Gateway) open() error {
	ctx, cancel := context.WithCancel(g.ctx)
	stream, err := g.client.DeltaAggregatedResources(ctx)
	if err != nil {
		cancel()
		return err
	}
	s := &session{stream: stream, cancel: cancel, ended: make(chan struct{})}
	g.mu.Lock()
	g.session, g.unanswered = s, nil
	g.mu.Unlock()
	g.begin(s)
	g.running.Go(func() {
		defer close(s.ended)
		defer cancel()
		if g.follow(s) && g.ctx.Err() == nil {
			_ = g.open() // if it fails, it is not back, which is all a gateway can say
		}
	})
	return nil
}

func (g *Gateway) begin(s *session) {
	var types []string
	switch g.node.Role {
	case xds.RoleEnforcer:
		types = []string{posternv1.PolicyType, posternv1.IssuerType}
	case xds.RoleRateLimiter:
		types = []string{posternv1.LimitsType}
	case xds.RoleProber:
		types = []string{posternv1.ProbeType}
	default:
		types = []string{xds.ClusterType, xds.ListenerType, xds.ScopeType}
	}
	have := g.State()
	g.mu.Lock()
	if claim := g.behaviour.Claim; claim != nil {
		have = claim(have)
	}
	g.mu.Unlock()
	for i, typeURL := range types {
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, InitialResourceVersions: have[typeURL]}
		if i == 0 {
			r.Node = g.node.Proto()
		}
		g.send(s, r)
	}
	// why of the scopes: one may have been taken just before the connection ended, and its route table not
	if scopes := have[xds.ScopeType]; len(scopes) > 0 {
		g.send(s, &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: xds.RouteType, InitialResourceVersions: have[xds.RouteType],
			ResourceNamesSubscribe: slices.Sorted(maps.Keys(scopes)), // scopes and their routes have one name
		})
	}
}

func (g *Gateway) send(s *session, r *discoveryv3.DeltaDiscoveryRequest) {
	g.sending.Lock()
	defer g.sending.Unlock()
	_ = s.stream.Send(r) // a broken stream shows where it is read
}

// follow takes what comes until the stream ends; returns says that it is to be opened again.
func (g *Gateway) follow(s *session) (returns bool) {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return false
		}
		if left, returns := g.respond(s, m); left {
			return returns
		}
	}
}

// respond does with a response what the gateway does.
func (g *Gateway) respond(s *session, m *Response) (left, returns bool) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	b := g.behaviour
	g.mu.Unlock()
	if b.Leave != nil && b.Leave(m) {
		return true, b.Returns
	}
	answer := &Request{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
	words := b.refusal(m)
	if words != "" {
		answer.ErrorDetail = refused(words)
	} else {
		g.followScopes(s, m)
	}
	if b.Before != nil {
		g.sendAll(s, b.Before(m))
	}
	g.answer(s, b, m, answer)
	if b.After != nil {
		g.sendAll(s, b.After(m))
	}
	g.take(m, words == "")
	return false, false
}

func (g *Gateway) sendAll(s *session, all []*discoveryv3.DeltaDiscoveryRequest) {
	for _, r := range all {
		g.send(s, r)
	}
}

// answer answers now, later or never.
func (g *Gateway) answer(s *session, b Behaviour, m *discoveryv3.DeltaDiscoveryResponse, answer *discoveryv3.DeltaDiscoveryRequest) {
	switch {
	case b.Stall != nil && b.Stall(m):
		g.mu.Lock()
		g.unanswered = append(g.unanswered, withheld{s, answer})
		g.mu.Unlock()
	case b.Delay > 0:
		g.running.Go(func() {
			select {
			case <-time.After(b.Delay):
				g.send(s, answer)
			case <-g.ctx.Done():
			}
		})
	default:
		g.send(s, answer)
	}
}

// followScopes asks for the route tables of new scopes, and for those of gone ones no more.
func (g *Gateway) followScopes(s *session, m *discoveryv3.DeltaDiscoveryResponse) {
	if m.TypeUrl != xds.ScopeType {
		return
	}
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResourceNamesUnsubscribe: m.RemovedResources}
	for _, scope := range m.Resources {
		if g.version(xds.ScopeType, scope.Name) == "" {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, routesOf(scope))
		}
	}
	if len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) > 0 {
		g.send(s, r)
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
		if m.TypeUrl == xds.RouteType && g.versions[xds.ScopeType][r.Name] == "" {
			continue // it was on its way when its scope went: an Envoy passes over what it subscribes to no longer
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
	g.turn.Lock()
	defer g.turn.Unlock()
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
	g.turn.Lock()
	defer g.turn.Unlock()
	return g.version(typeURL, name)
}

func (g *Gateway) version(typeURL, name string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.versions[typeURL][name]
}

// Log is what happened, in order: "Cluster +a", "RouteConfiguration !b" (refused), "ScopedRouteConfiguration -c".
// Reset starts it anew.
func (g *Gateway) Log() []string {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.log)
}

// Reset empties the log and sets the count of bytes to 0.
func (g *Gateway) Reset() {
	g.turn.Lock() // why: what is being answered belongs to what was before
	defer g.turn.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log, g.bytes = nil, 0
}

// Bytes is the size of the responses received.
func (g *Gateway) Bytes() int {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bytes
}

// Wait waits until the condition, which what speaks of, holds for the versions the gateway has.
func (g *Gateway) Wait(what string, holds func(have map[string]map[string]string) bool) {
	g.t.Helper()
	timeout := time.After(Patience)
	for {
		g.turn.Lock()
		g.mu.Lock()
		ok, changed := holds(g.versions), g.changed
		g.mu.Unlock()
		g.turn.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			g.t.Fatalf("gateway %s: %s: not within %v; it has %v", g.node.ID, what, Patience, g.State())
		}
	}
}
