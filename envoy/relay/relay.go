// Package relay stands between Envoy and the adapters: it hands Envoy's delta ADS stream on to whichever adapter answers,
// message by message, keeps on disk what Envoy acknowledged, and serves that while no adapter answers. It must not import
// the adapter, the enforcer or the ratelimiter.
//
// Nothing is sent again when Envoy is moved: its stream is ended, Envoy comes back at once and says which versions it has,
// and versions are hashes of the content, the same at every adapter and on disk.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postern-gateway/postern/internal/xds"
)

// Store keeps what Envoy acknowledged last; lastgood.Store is one.
type Store interface {
	// Put must not wait for the disk.
	Put(typeURL string, put []*discoveryv3.Resource, remove []string)
	Load(typeURL string) (resources []*discoveryv3.Resource, known bool, err error)
	SavedAt() time.Time
	// Confirm notes that an adapter has the say at this moment. It must not wait for the disk.
	Confirm()
}

// Options of a Relay.
type Options struct {
	// Addresses of adapters, "unix:/path" or "host:port"; the first that answers is followed, until it does not.
	Addresses []string
	// Credentials of the connections to them; nil: none (for unix sockets and loopback).
	Credentials credentials.TransportCredentials
	// Store is what is served while no adapter answers; nil: nothing is.
	Store Store
	// Secrets are this process's own, which no adapter is to know: they are offered beside, to what of Envoy asks for
	// them; nil: there are none.
	Secrets *xds.Cache
	// Hold is how long Envoy's stream waits for an adapter, if there is nothing to serve, until it is ended; 0: 5 s.
	Hold time.Duration
	// Log is told when the source changes, and why; nil: slog.Default().
	Log *slog.Logger
	// Registerer of the metrics; nil: nobody's.
	Registerer prometheus.Registerer
}

// Sources of what Envoy is told.
const (
	FromAdapter = "adapter"
	FromDisk    = "disk"
	FromNowhere = "none"
)

// Status is where Envoy's configuration comes from.
type Status struct {
	Source  string
	Address string    // of the adapter that is followed, or was last
	Since   time.Time // when the source became this one
	// AsOf is when an adapter last had the say, as far as is known after a restart to a minute; zero: never.
	AsOf time.Time
	// Taken: the address of a listener that Envoy waits for, and who has it; nil: there is none.
	Taken error
}

// Relay is a delta ADS server for the Envoy of this process.
type Relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	options Options
	log     *slog.Logger
	ledger  *ledger
	links   []*link
	moves   prometheus.Counter
	ports   ports

	mu      sync.Mutex // of what follows
	current *session   // Envoy's newest stream
	first   int        // the link to begin with
	status  Status
	told    string // the source that the log was told of: an address, or disk, or none
	// reminded is when the log was told last that no adapter answers.
	reminded time.Time
}

// New returns a relay; it connects when Envoy does.
func New(o Options) (*Relay, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("relay: no address of an adapter (xds.addresses)")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.Hold == 0 {
		o.Hold = patient
	}
	l, err := newLedger(o.Store)
	if err != nil {
		return nil, err
	}
	r := &Relay{options: o, log: o.Log, ledger: l, status: Status{Source: FromNowhere, Since: time.Now()}, told: FromNowhere}
	if o.Store != nil {
		r.status.AsOf = o.Store.SavedAt()
	}
	for _, address := range o.Addresses {
		k, err := newLink(address, o.Credentials)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("xds.addresses: %s: %w", address, err)
		}
		r.links = append(r.links, k)
	}
	if err := r.register(o.Registerer); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Register puts the service on g, which should have been made with ServerOptions.
func (r *Relay) Register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, r)
	if secrets := r.options.Secrets; secrets != nil {
		xds.NewServer(xds.ServerOptions{Find: func(_ context.Context, _ xds.Node, typeURL string) (*xds.Cache, error) {
			if typeURL != xds.SecretType {
				return nil, nil
			}
			return secrets, nil
		}}).RegisterSecrets(g)
	}
}

// ServerOptions are what its gRPC server needs.
func (r *Relay) ServerOptions() []grpc.ServerOption { return xds.GRPCOptions() }

// Close ends the connections to the adapters.
func (r *Relay) Close() {
	for _, k := range r.links {
		k.close()
	}
}

// Status is where Envoy's configuration comes from now.
func (r *Relay) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Taken = r.ports.why()
	if s.Source == FromAdapter {
		s.AsOf = time.Now()
	}
	return s
}

// inTurn are the links, the one that was followed last in front.
func (r *Relay) inTurn() []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	turn := append([]*link{}, r.links[r.first:]...)
	return append(turn, r.links[:r.first]...)
}

// reachable: there is an adapter to try.
func (r *Relay) reachable() bool {
	found := false
	for _, k := range r.links { // why all of them: asking for the state of a connection keeps it up
		found = k.usable() || found
	}
	return found
}

// enter makes a stream the one that counts; it is Envoy's newest, and the others are of an Envoy that is gone.
func (r *Relay) enter(s *session) {
	r.mu.Lock()
	old := r.current
	r.current = s
	r.mu.Unlock()
	if old != nil {
		old.cancel(errReplaced)
	}
}

// leave says that a stream has ended, of which nothing else will come.
func (r *Relay) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == s {
		r.current = nil
		r.becomes(FromNowhere)
	}
}

// becomes changes the source. The caller holds r.mu.
func (r *Relay) becomes(source string) {
	if r.status.Source == source {
		return
	}
	now := time.Now()
	if r.status.Source == FromAdapter {
		r.status.AsOf = now
	}
	r.status.Source, r.status.Since = source, now
}

// followed: an adapter has answered on this stream.
func (r *Relay) followed(s *session, k *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != s {
		return
	}
	for i := range r.links {
		if r.links[i] == k {
			r.first = i
		}
	}
	if before := r.tell(k.address); before != k.address {
		r.log.Info("following an adapter", "address", k.address, "before", before)
	}
	r.status.Address = k.address
	r.becomes(FromAdapter)
}

// confirmEvery is how often it is kept on disk that an adapter has the say.
const confirmEvery = time.Minute

// confirm notes in the store, until ctx is done, that an adapter has the say.
func (r *Relay) confirm(ctx context.Context) {
	if r.options.Store == nil {
		return
	}
	defer r.options.Store.Confirm()
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	for {
		r.options.Store.Confirm()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lost: the adapter that was followed has ended the stream. The others are tried before it.
func (r *Relay) lost(s *session, k *link, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != s {
		return
	}
	r.first = (r.first + 1) % len(r.links)
	r.log.Warn("adapter lost; envoy keeps what it has", "address", k.address, "err", words(err))
}

// fromDisk: no adapter answers, and what is kept is served on this stream. It returns whether that is news.
func (r *Relay) fromDisk(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != s {
		return false
	}
	r.becomes(FromDisk)
	r.reminded = time.Now()
	return r.tell(FromDisk) != FromDisk
}

// nothing: no adapter answers, and nothing is kept.
func (r *Relay) nothing(s *session, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != s {
		return
	}
	if r.tell(FromNowhere); time.Since(r.reminded) > remindEvery {
		r.reminded = time.Now()
		r.log.Warn("no adapter answers, and there is no last good configuration to serve; envoy waits", "err", why)
	}
}

// remindEvery is how often the log is told again that no adapter answers, and why.
const remindEvery = time.Minute

// remind says that envoy is still served from disk, from time to time.
func (r *Relay) remind(s *session) {
	r.mu.Lock()
	due := r.current == s && r.status.Source == FromDisk && time.Since(r.reminded) > remindEvery
	if due {
		r.reminded = time.Now()
	}
	since := r.status.Since
	r.mu.Unlock()
	if due {
		r.log.Warn("no adapter answers still; serving from disk", "since", since.UTC().Format(time.RFC3339), "err", s.why())
	}
}

// tell returns what the log was told of before, and counts a move from one source to another. The caller holds r.mu.
func (r *Relay) tell(source string) (before string) {
	before, r.told = r.told, source
	if before != source && before != FromNowhere && source != FromNowhere {
		r.moves.Inc()
	}
	return before
}
