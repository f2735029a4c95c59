package xds

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	patience = 10 * time.Second       // for what must happen
	quiet    = 100 * time.Millisecond // for what must not
)

// ownType stands for Postern's own types: not one of Envoy's.
const (
	ownType     = "type.googleapis.com/test.Own"
	nobodysType = "type.googleapis.com/test.Nobodys"
	refusedType = "type.googleapis.com/test.Refused"
)

// stranger is the node that is not admitted.
const stranger = "stranger"

// rig is a server with a cache for each type, and what it reported.
type rig struct {
	t       testing.TB
	address string
	events  chan Event
	server  *Server

	mu     sync.Mutex
	caches map[string]*Cache
}

func newRig(t testing.TB) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, address: l.Addr().String(), events: make(chan Event, 1<<16), caches: map[string]*Cache{}}
	r.serve(l)
	return r
}

func (r *rig) serve(l net.Listener) {
	s := NewServer(ServerOptions{
		Authorize: func(_ context.Context, n Node) error {
			if n.ID == stranger {
				return status.Error(codes.PermissionDenied, "nobody knows you")
			}
			return nil
		},
		Find:   r.find,
		Notify: func(e Event) { r.events <- e },
		Grace:  50 * time.Millisecond,
	})
	r.server = s
	g := grpc.NewServer(GRPCOptions()...)
	s.Register(g)
	s.RegisterSecrets(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	r.t.Cleanup(func() { g.Stop(); <-done })
}

func (r *rig) find(_ context.Context, _ Node, typeURL string) (*Cache, error) {
	switch typeURL {
	case nobodysType:
		return nil, nil
	case refusedType:
		return nil, status.Error(codes.PermissionDenied, "not for you")
	}
	return r.cache(typeURL), nil
}

func (r *rig) cache(typeURL string) *Cache {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.caches[typeURL]
	if !ok {
		c = NewCache()
		r.caches[typeURL] = c
	}
	return c
}

// last is the stream that connected last.
func (s *Server) last() uint64 {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	return s.streams
}

// put stores "name@version" items whose content is the version.
func (r *rig) put(typeURL string, items ...Item) {
	r.cache(typeURL).Update(resources(items...), nil)
}

func (r *rig) remove(typeURL string, names ...string) { r.cache(typeURL).Update(nil, names) }

func resources(items ...Item) []*discoveryv3.Resource {
	var out []*discoveryv3.Resource
	for _, item := range items {
		out = append(out, resource(item.Name, item.Version, []byte(item.Version)))
	}
	return out
}

func resource(name, version string, content []byte) *discoveryv3.Resource {
	a, err := anypb.New(wrapperspb.Bytes(content))
	if err != nil {
		panic(err)
	}
	return &discoveryv3.Resource{Name: name, Version: version, Resource: a}
}

// event waits for the next event of a kind, passing over others.
func (r *rig) event(kind EventKind) Event {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			r.t.Fatalf("no event of kind %d", kind)
		}
	}
}

// rawClient speaks delta xDS message by message.
type rawClient struct {
	t      testing.TB
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	got    chan *discoveryv3.DeltaDiscoveryResponse
	failed chan error
	cancel context.CancelFunc
}

func (r *rig) dial() *rawClient {
	r.t.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &rawClient{t: r.t, stream: stream, cancel: cancel, got: make(chan *discoveryv3.DeltaDiscoveryResponse, 1<<16), failed: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := stream.Recv()
			if err != nil {
				c.failed <- err
				return
			}
			c.got <- m
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done; _ = conn.Close() })
	return c
}

// connect opens a stream as "gw-1".
func (r *rig) connect(first *discoveryv3.DeltaDiscoveryRequest) *rawClient {
	c := r.dial()
	first.Node = Node{ID: "gw-1", Label: "default", Role: RoleEnvoy}.Proto()
	c.request(first)
	return c
}

func (c *rawClient) request(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) subscribe(typeURL string, names ...string) {
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (c *rawClient) unsubscribe(typeURL string, names ...string) {
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
}

func (c *rawClient) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
}

func (c *rawClient) nack(r *discoveryv3.DeltaDiscoveryResponse, words string) {
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: &rpcstatus.Status{Code: 3, Message: words}})
}

// sync returns when the server has taken in all that was sent before.
func (c *rawClient) sync() {
	c.subscribe(SecretType, "none")
	c.ack(c.expect("-none"))
}

func (c *rawClient) next() *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case m := <-c.got:
		return m
	case err := <-c.failed:
		c.t.Fatalf("stream ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("no response")
	}
	return nil
}

func (c *rawClient) nothing() {
	c.t.Helper()
	select {
	case m := <-c.got:
		c.t.Fatalf("unexpected response: %s", show(m))
	case err := <-c.failed:
		c.t.Fatalf("stream ended: %v", err)
	case <-time.After(quiet):
	}
}

// expect is the next response, which must be this: "+name@version" and "-name".
func (c *rawClient) expect(want string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	m := c.next()
	if got := show(m); got != want {
		c.t.Fatalf("response %q, want %q", got, want)
	}
	return m
}

func show(m *discoveryv3.DeltaDiscoveryResponse) string {
	s := ""
	for _, r := range m.Resources {
		s += fmt.Sprintf("+%s@%s ", r.Name, r.Version)
	}
	for _, name := range m.RemovedResources {
		s += fmt.Sprintf("-%s ", name)
	}
	if s == "" {
		return ""
	}
	return s[:len(s)-1]
}
