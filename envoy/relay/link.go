package relay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/xds"
)

// An adapter that answers connections but not Envoy is left alone for this long, growing from the one to the other.
const (
	firstRest = time.Second
	lastRest  = 30 * time.Second
	// A stream that an adapter ended sooner than this, by a decision and not because it went away, was of no use.
	useful = 5 * time.Second
)

// link is a connection to one adapter. While Envoy has a stream it is kept up also to those that are not followed, so that
// one that comes back is noticed within a second.
type link struct {
	address     string
	credentials credentials.TransportCredentials

	mu    sync.Mutex
	conn  *grpc.ClientConn
	rest  time.Duration
	until time.Time // it rests
	words string    // why it was last left alone
}

func newLink(address string, c credentials.TransportCredentials) (*link, error) {
	k := &link{address: address, credentials: c}
	conn, err := k.dial()
	k.conn = conn
	return k, err
}

func (k *link) dial() (*grpc.ClientConn, error) {
	target := k.address
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target // why: the name is looked up for each connection, not once in half a minute
	}
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(k.credentials),
		grpc.WithNoProxy(), // the parts of one gateway talk directly
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(xds.MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 800 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}))
}

func (k *link) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.conn.Close()
}

// state is that of the connection, which is started if it is not; resting is whether the adapter is left alone.
func (k *link) state() (s connectivity.State, resting bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s = k.conn.GetState(); s == connectivity.Idle {
		k.conn.Connect()
	}
	return s, time.Now().Before(k.until)
}

// usable: a stream could be opened now.
func (k *link) usable() bool {
	s, resting := k.state()
	return s == connectivity.Ready && !resting
}

// open opens a stream.
func (k *link) open(ctx context.Context) (discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	k.mu.Lock()
	conn := k.conn
	k.mu.Unlock()
	return discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
}

// why is what keeps the connection from being there.
func (k *link) why(ctx context.Context) string {
	if _, resting := k.state(); resting {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.words
	}
	return xds.Reason(ctx, k.address, k.credentials, k.fault())
}

// fault is what gRPC says of the connection.
func (k *link) fault() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // why: it says at once what it knows, or is connecting still
	defer cancel()
	if _, err := k.open(ctx); err != nil && status.Code(err) == unavailable {
		return words(err)
	}
	return "it does not answer"
}

// failed: the adapter took a stream and gave nothing, or soon ended it. silent says that it may be stopped altogether:
// then the connection is begun anew, and stands again when the adapter does, which the first time is reason enough to try.
func (k *link) failed(log *slog.Logger, err error, silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if text := words(err); text != k.words {
		k.words = text
		log.Warn("adapter gives envoy nothing, leaving it alone for a while", "address", k.address, "err", text)
	}
	if !silent || k.rest > 0 {
		k.until = time.Now().Add(max(k.rest, firstRest))
	}
	k.rest = min(max(2*k.rest, firstRest), lastRest)
	if !silent {
		return
	}
	if conn, err := k.dial(); err == nil {
		_ = k.conn.Close()
		k.conn = conn
	}
}

// served: the adapter has answered.
func (k *link) served() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rest, k.until, k.words = 0, time.Time{}, ""
}

// words are those of whoever ended a stream, or kept a connection from being there.
func words(err error) string { return xds.Words(err) }
