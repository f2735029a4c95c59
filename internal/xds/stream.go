package xds

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A first fill is sent in responses of about this many bytes: well below the 4 MiB that gRPC clients
// accept by default. A single resource larger than this travels alone.
const batchBytes = 1 << 20

// maxUnanswered is how many responses of a type may be without a verdict: more than one for each of 100,000 scopes or
// route tables, which are sent one by one. Who answers nothing at all must not fill our memory.
const maxUnanswered = 1 << 20

// partial in system_version_info, which is free text to everybody else, says that more of the first
// fill follows.
const partial = "partial"

// stream is one client's state. Only its own goroutine touches it.
type stream struct {
	server *Server
	ctx    context.Context
	send   func(*discoveryv3.DeltaDiscoveryResponse) error

	id     uint64 // later streams have greater ones
	node   Node
	known  bool          // the node
	wake   chan struct{} // a cache has changed
	grace  <-chan time.Time
	subs   []*subscription // by rank
	nonces uint64
}

func newStream(s *Server, ctx context.Context, send func(*discoveryv3.DeltaDiscoveryResponse) error) *stream {
	return &stream{server: s, ctx: ctx, send: send, wake: make(chan struct{}, 1)}
}

func (s *stream) close() {
	for _, sub := range s.subs {
		sub.cache.unwatch(sub.watch)
	}
	if s.known {
		s.notify(Event{Kind: Disconnected})
	}
}

func (s *stream) notify(e Event) {
	e.Node, e.Stream = s.node, s.id
	s.server.options.Notify(e)
}

// request takes in one message of the client: in this order the verdict on a response, and a change
// of what it wants.
func (s *stream) request(r *discoveryv3.DeltaDiscoveryRequest) error {
	if !s.known {
		if r.Node.GetId() == "" {
			return status.Error(codes.InvalidArgument, "the first request of a stream must carry its node and the node an id")
		}
		node := NodeOf(r.Node)
		if err := s.server.options.Authorize(s.ctx, node); err != nil {
			return err
		}
		if err := s.server.connect(s, node); err != nil {
			return err
		}
	}
	sub, first, err := s.subscription(r.TypeUrl)
	if err != nil {
		return err
	}
	if err := s.verdict(sub, r); err != nil {
		return err
	}
	if first {
		return s.firstFill(sub, r)
	}
	names := sub.unsubscribe(r.ResourceNamesUnsubscribe)
	names = append(names, sub.subscribe(r.ResourceNamesSubscribe)...)
	return s.fill(sub, names, false)
}

// subscription is the stream's for a type; first says that it was made just now.
func (s *stream) subscription(typeURL string) (sub *subscription, first bool, err error) {
	for _, sub := range s.subs {
		if sub.typeURL == typeURL {
			return sub, false, nil
		}
	}
	cache, err := s.server.find(s.ctx, s.node, typeURL)
	if err != nil {
		return nil, false, err
	}
	sub = newSubscription(typeURL, cache, s.wake, s.id)
	s.subs = append(s.subs, sub)
	slices.SortStableFunc(s.subs, func(a, b *subscription) int { return rank(a.typeURL) - rank(b.typeURL) })
	return sub, true, nil
}

// verdict takes in an ACK or a NACK. A nonce that is not in flight is stale, which delta xDS
// ignores: there is nothing left to decide.
func (s *stream) verdict(sub *subscription, r *discoveryv3.DeltaDiscoveryRequest) error {
	f, ok := sub.land(r.ResponseNonce)
	if !ok {
		return nil
	}
	if r.ErrorDetail == nil {
		sub.acked(f)
		s.notify(Event{Kind: Acked, TypeURL: sub.typeURL, Resources: f.items, Removed: f.removed})
		return nil
	}
	again := sub.nacked(f)
	s.notify(Event{
		Kind: Nacked, TypeURL: sub.typeURL, Resources: f.items, Removed: f.removed,
		Words: r.ErrorDetail.GetMessage(), Retried: len(f.items) > 1,
	})
	d := sub.collect(again)
	if err := s.oneByOne(sub, d.put); err != nil {
		return err
	}
	return s.remove(sub, d.removed)
}

// firstFill answers a type's first request: everything wanted that the client does not have, and the
// names of what it has and should not.
func (s *stream) firstFill(sub *subscription, r *discoveryv3.DeltaDiscoveryRequest) error {
	names := sub.begin(r)
	if sub.typeURL == ClusterType && !sub.cache.retains() {
		gone := sub.vanished()
		if len(gone) > 0 {
			// why: they may be in use until the routes that replace theirs have been answered too
			s.grace = time.After(s.server.options.Grace)
			names = slices.DeleteFunc(names, func(name string) bool {
				_, has := r.InitialResourceVersions[name]
				_, found := slices.BinarySearch(gone, name)
				return has && found // else it is only asked for
			})
		}
	}
	return s.fill(sub, names, true)
}

// graceOver tells the client about the clusters that vanished while it was away.
func (s *stream) graceOver() error {
	for _, sub := range s.subs {
		if sub.typeURL == ClusterType {
			return s.fill(sub, sub.vanished(), false)
		}
	}
	return nil
}

// fill answers a request about these names in as few responses as their size allows. A first fill is
// answered even when nothing is to be sent: a client waits for it.
func (s *stream) fill(sub *subscription, names []string, first bool) error {
	d := sub.collect(names)
	s.settled(sub, d)
	batches := batch(d.put)
	if len(batches) == 0 && (len(d.removed) > 0 || first && sub.wildcard) {
		batches = append(batches, nil)
	}
	for i, put := range batches {
		var removed []string
		if i == 0 {
			removed = d.removed // a response's removals are applied before what it puts
		}
		mark := ""
		if first && i < len(batches)-1 {
			mark = partial
		}
		if err := s.respond(sub, put, removed, mark); err != nil {
			return err
		}
	}
	return nil
}

// changed sends what the caches say has changed: what is referred to before what refers to it, and
// removals last, the other way round.
func (s *stream) changed() error {
	found := make([]difference, len(s.subs))
	for i, sub := range slices.Backward(s.subs) { // why: what refers to others changes after them, so that they are found, too
		names, foreign := sub.watch.take()
		if foreign {
			names = append(names, sub.vanished()...)
		}
		found[i] = sub.collect(names)
		s.settled(sub, found[i])
	}
	for i, sub := range s.subs {
		if err := s.deliver(sub, found[i].put); err != nil {
			return err
		}
	}
	for i, sub := range slices.Backward(s.subs) {
		if err := s.remove(sub, found[i].removed); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) deliver(sub *subscription, put []*discoveryv3.Resource) error {
	if alone(sub.typeURL) {
		return s.oneByOne(sub, put)
	}
	for _, put := range batch(put) {
		if err := s.respond(sub, put, nil, ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) oneByOne(sub *subscription, put []*discoveryv3.Resource) error {
	for i := range put {
		if err := s.respond(sub, put[i:i+1], nil, ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) remove(sub *subscription, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return s.respond(sub, nil, names, "")
}

// settled reports what the client has in the wanted version already, so that nobody waits for an ACK
// of something that is not sent.
func (s *stream) settled(sub *subscription, d difference) {
	if len(d.same) > 0 || len(d.absent) > 0 {
		s.notify(Event{Kind: Acked, TypeURL: sub.typeURL, Resources: d.same, Removed: d.absent, Known: true})
	}
}

func (s *stream) respond(sub *subscription, put []*discoveryv3.Resource, removed []string, mark string) error {
	if len(sub.flights) >= maxUnanswered {
		return status.Errorf(codes.ResourceExhausted, "%d responses about %s have no answer; connect again", len(sub.flights), sub.typeURL)
	}
	s.nonces++
	nonce := strconv.FormatUint(s.nonces, 10) + "." + strconv.FormatUint(rand.Uint64(), 36) // why: an answer given before the question is none
	return s.send(&discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: mark,
		TypeUrl:           sub.typeURL,
		Resources:         sub.takeOff(nonce, put, removed),
		RemovedResources:  removed,
		Nonce:             nonce,
	})
}

// batch splits resources by their size.
func batch(put []*discoveryv3.Resource) [][]*discoveryv3.Resource {
	var batches [][]*discoveryv3.Resource
	start, size := 0, 0
	for i, r := range put {
		n := len(r.Resource.GetValue()) + len(r.Name) + len(r.Version)
		if i > start && size+n > batchBytes {
			batches = append(batches, put[start:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(put) {
		batches = append(batches, put[start:])
	}
	return batches
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
