package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/xds"
)

// fromDisk serves what is kept until an adapter can be reached.
func (s *session) fromDisk() error {
	news := s.relay.fromDisk(s)
	looking, stop := context.WithCancel(s.ctx)
	defer stop()
	go s.look(looking, news)
	caches := map[string]*xds.Cache{}
	server := xds.NewServer(xds.ServerOptions{
		Find: func(_ context.Context, _ xds.Node, typeURL string) (*xds.Cache, error) {
			c, ok := caches[typeURL]
			if !ok {
				var err error
				if c, err = s.cache(typeURL); err != nil {
					return nil, err
				}
				caches[typeURL] = c
			}
			return c, nil
		},
		Notify: func(e xds.Event) {
			if e.Kind == xds.Nacked && !e.Retried {
				s.relay.log.Warn("envoy refuses what it once accepted", "type", e.TypeURL, "resources", e.Resources, "err", e.Words)
			}
		},
	})
	err := server.DeltaAggregatedResources(&local{downstream: s.stream, s: s, b: s.relay.ledger.openLocal()})
	if s.ctx.Err() == nil && err != nil {
		return err
	}
	return s.over()
}

// cache is filled with what is kept of a type.
func (s *session) cache(typeURL string) (*xds.Cache, error) {
	resources, _, err := s.relay.options.Store.Load(typeURL)
	if err != nil {
		s.relay.log.Error("the last good configuration cannot be read", "err", err)
		return nil, status.Error(unavailable, err.Error())
	}
	c := xds.NewCache()
	c.Update(resources, nil)
	c.Retain(true) // why: what Envoy has beyond what is kept came from an adapter, whose say it is
	return c, nil
}

// look ends the session when there is an adapter. First it tells why there is none, if that is news.
func (s *session) look(ctx context.Context, news bool) {
	if news {
		s.relay.log.Warn("no adapter answers; serving the last good configuration from disk", "as_of", s.relay.Status().AsOf.UTC().Format(time.RFC3339), "err", s.why())
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
		s.relay.remind(s)
		if s.relay.reachable() {
			s.cancel(errBack)
			return
		}
	}
}

// local is Envoy's stream, as the local server sees it.
type local struct {
	downstream
	s *session
	b *book
}

func (l *local) Context() context.Context { return l.s.ctx }

// Recv returns what was said early first.
func (l *local) Recv() (*request, error) {
	if len(l.s.early) > 0 {
		r := l.s.early[0]
		l.s.early = l.s.early[1:]
		return l.b.request(r), nil
	}
	select {
	case r := <-l.s.requests:
		return l.b.request(r), nil
	case err := <-l.s.ended:
		if err == nil {
			err = errors.New("no reason")
		}
		l.s.cancel(fmt.Errorf("envoy has ended its stream: %w", err))
		return nil, err
	case <-l.s.ctx.Done():
		return nil, l.s.ctx.Err()
	}
}
