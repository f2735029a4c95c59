// Package ratelimiter is Envoy's rate limit service (v3): it counts requests and says which are too many. It must not
// import the adapter or the enforcer; it knows limits only as they arrive over xDS, and counters only as a store.
package ratelimiter

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter/counter"
	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// Types are the resources the ratelimiter lives by, for xds.ClientOptions.
var Types = []string{posternv1.LimitsType}

// Store keeps the counts.
type Store interface {
	// Add finds, in one step, what was counted before each hit, and counts either all of them or, if one of them
	// refuses the request (limit.Refused), none. An error means that it cannot tell, and that nothing was counted.
	Add(ctx context.Context, hits []limit.Hit) ([]limit.Total, error)
	// Run does what has to be done beside requests until ctx is done.
	Run(ctx context.Context) error
}

// Options are what a Server needs. The zero value counts in memory and reports to nobody.
type Options struct {
	// Name tells the ratelimiters of one process apart, as the label "limiter" of their metrics; "" is "ratelimiter".
	Name       string
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Store      Store            // nil is the process's memory
	Now        func() time.Time // nil is time.Now
}

// Server answers Envoy. Limits come through Apply.
type Server struct {
	log     *slog.Logger
	metrics *metrics
	table   *table
	store   Store
	now     func() time.Time
	health  *health.Server
	ready   atomic.Bool
}

// New returns a Server without limits: until the first have come it could not tell about any.
func New(o Options) *Server {
	if o.Name == "" {
		o.Name = "ratelimiter"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Store == nil {
		o.Store = counter.NewMemory(counter.DefaultMaxCounters)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := newMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"limiter": o.Name}, o.Registerer))
	s := &Server{log: o.Log, metrics: m, table: newTable(m), store: o.Store, now: o.Now, health: health.NewServer()}
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return s
}

// Run works in the background until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	defer s.health.Shutdown()
	return s.store.Run(ctx)
}

// Ready says whether all limits have come that were there when this process connected.
func (s *Server) Ready() bool { return s.ready.Load() }

// Apply takes limits in and out; it is for one goroutine. An error means that nothing was changed: it is a NACK.
func (s *Server) Apply(u xds.Update) error {
	if u.TypeURL != posternv1.LimitsType {
		return fmt.Errorf("the ratelimiter asked for %s and got %s", posternv1.LimitsType, u.TypeURL)
	}
	if err := s.table.apply(u.Resources, u.Removed); err != nil {
		return err
	}
	if u.Complete && s.ready.CompareAndSwap(false, true) {
		s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
		s.log.Info("limits are complete", "resources", len(s.table.resources))
	}
	return nil
}

func (s *Server) setHealth(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(serviceName, status)
}

// answer decides about one request: 1 what it hits, 2 what was counted, 3 whether it passes, 4 what it is told.
// An error is "could not tell": Envoy then does what the limit's author wanted on failure.
func (s *Server) answer(ctx context.Context, r *request) (encoded, error) {
	now := s.now()
	var space [4]*rule
	rules, hits, err := s.resolve(r, now, space[:0])
	if err != nil {
		return nil, err
	}
	totals, err := s.store.Add(ctx, hits)
	if err != nil {
		s.metrics.errors.Inc()
		return nil, status.Errorf(codes.Unavailable, "the counters are away: %v", err)
	}
	out := response{refused: limit.Refused(hits, totals)}
	var verdicts [4]limit.Verdict
	out.verdicts = verdicts[:0]
	for i, h := range hits {
		v := limit.Judge(h, totals[i], out.refused, now)
		rules[i].count(v, out.refused)
		out.verdicts = append(out.verdicts, v)
	}
	if i := limit.Nearest(hits, out.verdicts, out.refused); i >= 0 {
		out.told, out.verdict = rules[i], out.verdicts[i]
	}
	return out.append(make([]byte, 0, 384)), nil
}

// resolve finds each descriptor's rule and hit, in the order of the descriptors.
func (s *Server) resolve(r *request, now time.Time, rules []*rule) ([]*rule, []limit.Hit, error) {
	if len(r.descriptors) == 0 {
		return nil, nil, status.Error(codes.InvalidArgument, "no descriptor: there is nothing to count by")
	}
	hits := make([]limit.Hit, 0, len(r.descriptors))
	for _, d := range r.descriptors {
		if len(d.entries) == 0 || d.entries[0].Key != posternv1.DescriptorLimit {
			s.metrics.unknown.Inc()
			return nil, nil, status.Errorf(codes.InvalidArgument, "a descriptor's first entry is not %q", posternv1.DescriptorLimit)
		}
		found, ok := s.table.find(d.entries[0].Value)
		if !ok {
			s.metrics.unknown.Inc()
			return nil, nil, status.Errorf(codes.Unavailable, "limit %q is not known here yet", d.entries[0].Value)
		}
		rules = append(rules, found)
		hits = append(hits, found.Hit(d.entries[1:], r.costOf(d), now))
	}
	return rules, hits, nil
}

// count reports what the rule said. A request that another limit refused counts as neither passed nor over here.
func (r *rule) count(v limit.Verdict, refused bool) {
	switch {
	case v.Over:
		r.over.Inc()
	case !refused:
		r.passed.Inc()
	}
}
