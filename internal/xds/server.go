package xds

import (
	"context"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// EventKind is what happened on a stream.
type EventKind int

// What happens on a stream.
const (
	Connected    EventKind = iota + 1 // its first request came, with its node
	Disconnected                      // it ended; nothing else comes from it
	Acked                             // Resources are in use there, Removed are not any more
	Nacked                            // Resources were refused, for the reason in Words
)

// Item is one version of one resource. The version is the cache's, without what a repetition adds.
type Item struct{ Name, Version string }

// Event is one thing that happened on one stream.
type Event struct {
	Kind   EventKind
	Node   Node
	Stream uint64 // tells two streams of one node apart; of two streams of a server, the later has the greater number

	TypeURL   string
	Resources []Item
	Removed   []string
	// Known: of an Acked, that nothing was sent for it; the client had confirmed the same before.
	Known bool
	// Words are the client's own. Retried: the response held several resources, and now each is sent
	// again by itself; the verdict on each is still to come.
	Words   string
	Retried bool
}

// ServerOptions of a Server.
type ServerOptions struct {
	// Authorize is asked once a stream, before anything else is told of it. An error, which should be a gRPC status, ends
	// the stream. nil: everybody is admitted.
	Authorize func(ctx context.Context, n Node) error
	// Find names the cache of a type for a node. No cache and no error: there are none of this type
	// (yet), which is no fault, so that older servers and newer clients get along. An error, which
	// should be a gRPC status, ends the stream. It must be cheap.
	Find func(ctx context.Context, n Node, typeURL string) (*Cache, error)
	// Notify is told every event, by the stream's own goroutine; it must not block. nil: nobody is.
	Notify func(Event)
	// Grace is for how long a client that connects keeps clusters that are gone meanwhile, until the
	// routes that do without them have surely followed. Zero: 5 s.
	Grace time.Duration
}

// Server is the delta ADS server. Each stream has its own goroutine, and none waits for another.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	options ServerOptions
	none    *Cache

	connecting sync.Mutex
	streams    uint64
}

// NewServer returns a server; Register puts it on a gRPC server.
func NewServer(o ServerOptions) *Server {
	if o.Authorize == nil {
		o.Authorize = func(context.Context, Node) error { return nil }
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	return &Server{options: o, none: NewCache()}
}

// Register puts the service on g, which should have been made with GRPCOptions.
func (s *Server) Register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// RegisterSecrets puts the service of secrets alone on g: what Envoy asks beside its stream for everything else, when a
// cluster or listener says so.
func (s *Server) RegisterSecrets(g *grpc.Server) {
	secretv3.RegisterSecretDiscoveryServiceServer(g, secrets{server: s})
}

// MaxMessage is how many bytes a message may have. Requests name what a client has: with 100,000 resources that is some 10 MB.
const MaxMessage = 64 << 20

// GRPCOptions are what a gRPC server that carries a Server needs: requests of any honest size, and
// keepalive, which ends the stream of a client that is gone without a word.
func GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// DeltaAggregatedResources serves one client for as long as its stream lasts.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(g)
}

// wire is a client's stream, whatever the service.
type wire interface {
	Context() context.Context
	Recv() (*discoveryv3.DeltaDiscoveryRequest, error)
	Send(*discoveryv3.DeltaDiscoveryResponse) error
}

func (s *Server) serve(g wire) error {
	ctx := g.Context()
	requests, failed := receive(ctx, g.Recv)
	st := newStream(s, ctx, g.Send)
	defer st.close()
	for {
		var err error
		select {
		case r := <-requests:
			err = st.request(r)
		case <-st.wake:
			err = st.changed()
		case <-st.grace:
			err = st.graceOver()
		case err := <-failed:
			return err
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		if err != nil {
			return err
		}
	}
}

// connect numbers a stream and tells that it is there, in one order for all. A client that has left its stream for another
// one before we came to look at it was never there: else its end would pass for that of the other one.
func (s *Server) connect(st *stream, n Node) error {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if err := st.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	s.streams++
	st.node, st.known, st.id = n, true, s.streams
	st.notify(Event{Kind: Connected})
	return nil
}

// receive turns blocking reads into channels; its goroutine ends with the stream's context.
func receive[T any](ctx context.Context, recv func() (T, error)) (<-chan T, <-chan error) {
	messages, failed := make(chan T), make(chan error, 1)
	go func() {
		for {
			m, err := recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages, failed
}

// find is Find with an empty cache for a type nobody has.
func (s *Server) find(ctx context.Context, n Node, typeURL string) (*Cache, error) {
	if typeURL == "" {
		return nil, status.Error(codes.InvalidArgument, "a request must name its type_url")
	}
	c, err := s.options.Find(ctx, n, typeURL)
	if c == nil {
		c = s.none
	}
	return c, err
}

// secrets is the service of secrets: the same streams, for that type alone.
type secrets struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	server *Server
}

// DeltaSecrets serves one client for as long as its stream lasts.
func (s secrets) DeltaSecrets(g secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.server.serve(onlySecrets{g})
}

// onlySecrets is a stream that is about secrets, whatever its requests say or leave out.
type onlySecrets struct{ wire }

func (o onlySecrets) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	r, err := o.wire.Recv()
	switch {
	case err != nil:
		return nil, err
	case r.TypeUrl == "":
		r.TypeUrl = SecretType
	case r.TypeUrl != SecretType:
		return nil, status.Errorf(codes.InvalidArgument, "this service knows secrets, not %s", r.TypeUrl)
	}
	return r, nil
}
