package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

const unavailable = codes.Unavailable

// Why a stream ends that neither side ended.
var (
	errReplaced = errors.New("envoy has opened a newer stream")
	errSilent   = errors.New("it takes connections and does not answer")
	errBack     = errors.New("an adapter answers again")
)

// How long an adapter is waited for.
const (
	// headStart of an adapter before those behind it in the list.
	headStart = 200 * time.Millisecond
	// hurried: Envoy has nothing, and something is kept on disk.
	hurried = time.Second
	// patient: Envoy has what it needs, or there is nothing else to give it.
	patient = 5 * time.Second
	// lookEvery is how often an adapter is looked for while Envoy is served from disk.
	lookEvery = 100 * time.Millisecond
	pollEvery = 2 * time.Millisecond
	// leastWait is how long even the last one of several is waited for.
	leastWait = 300 * time.Millisecond
)

type (
	request    = discoveryv3.DeltaDiscoveryRequest
	response   = discoveryv3.DeltaDiscoveryResponse
	downstream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	upstream   = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
)

// session is one stream of Envoy's.
type session struct {
	relay    *Relay
	stream   downstream
	ctx      context.Context
	cancel   context.CancelCauseFunc
	requests <-chan *request
	ended    <-chan error // Envoy's end of the stream
	early    []*request   // what Envoy said before anybody answered
	until    time.Time    // adapters are waited for
}

// DeltaAggregatedResources serves Envoy from the first adapter that answers, or else from disk. When that source is lost,
// or there is a better one, the stream ends, and Envoy comes again.
func (r *Relay) DeltaAggregatedResources(g downstream) error {
	s := &session{relay: r}
	s.ctx, s.cancel = context.WithCancelCause(g.Context())
	defer s.cancel(nil)
	s.stream = careful{g, s.ctx, r}
	s.requests, s.ended = receive(s.ctx, s.stream)
	r.enter(s)
	defer r.leave(s)
	select {
	case first := <-s.requests:
		s.early = append(s.early, first)
	case err := <-s.ended:
		return err
	case <-s.ctx.Done():
		return s.over()
	}
	for refuse := time.Now().Add(r.options.Hold); ; {
		if s.fromAdapter() || s.ctx.Err() != nil {
			return s.over()
		}
		if r.ledger.sufficient() {
			return s.fromDisk()
		}
		r.nothing(s, s.why())
		if !s.await(refuse) {
			return status.Error(unavailable, "no adapter answers, and there is no last good configuration to serve")
		}
	}
}

// fromAdapter follows the first adapter that answers, if there is one, until it is lost.
func (s *session) fromAdapter() (answered bool) {
	s.until = time.Now().Add(s.patience())
	for tried := map[*link]bool{}; ; {
		k := s.pick(tried)
		if k == nil {
			return false
		}
		tried[k] = true
		if answered := s.follow(k); answered || s.ctx.Err() != nil {
			return answered
		}
	}
}

// await waits for an adapter, in vain if it returns false.
func (s *session) await(until time.Time) bool {
	for time.Now().Before(until) {
		if s.relay.reachable() {
			return true
		}
		select {
		case <-time.After(lookEvery):
		case <-s.ctx.Done():
			return false
		}
	}
	return false
}

// over is what Envoy is told at the end: always something that it does not take for a fault.
func (s *session) over() error {
	if why := context.Cause(s.ctx); why != nil {
		return status.Error(unavailable, why.Error())
	}
	return status.Error(unavailable, "the adapter is lost")
}

// receive turns blocking reads into channels; its goroutine ends with the session.
func receive(ctx context.Context, g downstream) (<-chan *request, <-chan error) {
	requests, ended := make(chan *request), make(chan error, 1)
	go func() {
		for {
			m, err := g.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests, ended
}

// patience is how long an adapter is waited for.
func (s *session) patience() time.Duration {
	if s.relay.ledger.sufficient() && len(s.early[0].GetInitialResourceVersions()) == 0 {
		return hurried
	}
	return patient
}

// pick waits for an adapter that can be reached and was not tried on this stream; nil: there is none.
func (s *session) pick(tried map[*link]bool) *link {
	begun := time.Now()
	turn := s.relay.inTurn()
	for {
		var best *link
		hope := false // of one that is better, or the first
		for _, k := range turn {
			state, resting := k.state()
			switch {
			case tried[k] || resting:
			case state == connectivity.Ready && best == nil:
				best = k
			case best == nil && (state == connectivity.Connecting || state == connectivity.Idle):
				hope = true
			}
		}
		switch {
		case best != nil && (!hope || time.Since(begun) > headStart):
			return best
		case best == nil && (!hope || time.Now().After(s.until)):
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-s.ctx.Done():
			return nil
		}
	}
}

// follow hands messages on, both ways, for as long as the adapter lasts. answered says that the adapter ever said
// anything; if not, Envoy has noticed nothing, and another can be tried.
func (s *session) follow(k *link) (answered bool) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	begun := time.Now()
	var heard atomic.Bool
	silence := time.AfterFunc(max(time.Until(s.until), leastWait), func() { cancel(errSilent) })
	defer silence.Stop()
	up, err := k.open(ctx)
	if err == nil {
		b := s.relay.ledger.open()
		down := make(chan error, 1)
		go func() {
			down <- s.down(up, b, func() {
				silence.Stop()
				if heard.CompareAndSwap(false, true) {
					k.served()
					s.relay.followed(s, k)
					go s.relay.confirm(ctx)
				}
			})
		}()
		err = s.up(up, b, down, &heard)
		b.close()
	}
	silent := errors.Is(context.Cause(ctx), errSilent)
	if silent && !heard.Load() {
		err = errSilent
	}
	switch {
	case s.ctx.Err() != nil:
	case heard.Load():
		s.relay.lost(s, k, err)
		if time.Since(begun) < useful && status.Code(err) != unavailable {
			k.failed(s.relay.log, err, false)
		}
	default:
		k.failed(s.relay.log, err, silent)
	}
	return heard.Load()
}

// down brings the adapter's responses to Envoy.
func (s *session) down(up upstream, b *book, heard func()) error {
	for {
		m, err := up.Recv()
		if err != nil {
			return err
		}
		heard()
		b.response(m)
		if err := s.stream.Send(m); err != nil {
			return err
		}
	}
}

// up brings Envoy's requests to the adapter, until the stream ends; it returns only when down has
// ended: nothing may be sent to Envoy when its stream is over.
func (s *session) up(up upstream, b *book, down <-chan error, heard *atomic.Bool) error {
	send := func(r *request) error { return up.Send(b.request(r)) }
	var err error
	for _, r := range s.early {
		if err = send(r); err != nil {
			break
		}
	}
	for err == nil {
		select {
		case r := <-s.requests:
			if heard.Load() {
				s.early = nil
			} else {
				s.early = append(s.early, r)
			}
			err = send(r)
		case err := <-down:
			return err
		case err := <-s.ended:
			s.cancel(fmt.Errorf("envoy has ended its stream: %w", err))
		case <-s.ctx.Done(): // which ends the adapter's stream, too
			<-down
			return context.Cause(s.ctx)
		}
	}
	return <-down // why: the reason is the stream's, not Send's EOF
}

// why no adapter answers.
func (s *session) why() error {
	var reasons []string
	for _, k := range s.relay.inTurn() {
		reasons = append(reasons, k.address+": "+k.why(s.ctx))
	}
	return errors.New(strings.Join(reasons, "; "))
}
