package ratelimiter

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// Outcomes of one limit's look at one request.
const (
	outcomePassed  = "passed"  // it fitted
	outcomeOver    = "over"    // it did not, and was refused
	outcomeShadow  = "shadow"  // it did not, and passed, because the limit is a shadow
	outcomeUnknown = "unknown" // nobody could tell: the limit's onFailure decides
)

// metrics counts what limits do. Label values are resolved when a rule arrives, not for every request.
type metrics struct {
	limits  *prometheus.CounterVec
	unknown prometheus.Counter
	errors  prometheus.Counter
	used    map[labels]int // rules that count under these labels: two revisions of an API share them
}

type labels struct{ api, limit string }

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_limits_total",
			Help: "Requests by what a limit said: passed, over, shadow (over, but it only watches), unknown (no such limit here). A further label, limiter, tells the limiters of one process apart.",
		}, []string{"api", "limit", "outcome"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_limits_store_errors_total",
			Help: "Requests whose counters could not be read or changed.",
		}),
		used: map[labels]int{},
	}
	m.unknown = m.limits.WithLabelValues("", "", outcomeUnknown)
	registerer.MustRegister(m.limits, m.errors)
	return m
}

// use returns a rule's counters: of requests it let pass, and of those that were over.
func (m *metrics) use(r *limit.Rule) (passed, over prometheus.Counter) {
	l := labels{r.API, r.Name}
	m.used[l]++
	outcome := outcomeOver
	if r.Shadow {
		outcome = outcomeShadow
	}
	return m.limits.WithLabelValues(l.api, l.limit, outcomePassed), m.limits.WithLabelValues(l.api, l.limit, outcome)
}

// drop forgets the counters of a rule unless another rule uses them: what is not served is not reported for ever.
func (m *metrics) drop(r *limit.Rule) {
	l := labels{r.API, r.Name}
	if m.used[l]--; m.used[l] > 0 {
		return
	}
	delete(m.used, l)
	m.limits.DeletePartialMatch(prometheus.Labels{"api": l.api, "limit": l.limit})
}
