package enforcer

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/puzpuzpuz/xsync/v4"

	"github.com/postern-gateway/postern/enforcer/policy"
)

// metrics count decisions. Which series there can be is settled when policies arrive: for each API the schemes its
// definition names times the reasons; a series appears with its first decision and goes with its API.
type metrics struct {
	durations prometheus.Histogram
	decisions *prometheus.CounterVec
	unknown   prometheus.Counter // the policy is not known, nor so is the API

	apis *xsync.Map[string, *apiCounters]
	mu   sync.Mutex // of policies coming and going
}

// apiCounters are the series of one API, which several policies may be of at a time.
type apiCounters struct {
	policies int
	schemes  atomic.Pointer[map[string]*schemeCounters] // never changed, but for another; "" is for decisions without a scheme
}

type schemeCounters [policy.Reasons]atomic.Pointer[prometheus.Counter]

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postern_check_duration_seconds",
			Help: "Time to decide one check, from the decoded request to the decision.",
			// From a cached token to keys that had to be fetched.
			Buckets: []float64{2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1},
		}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_decisions_total",
			Help: "Decisions, by API, by the security scheme that decided, and by reason.",
		}, []string{"api", "scheme", "reason"}),
		apis: xsync.NewMap[string, *apiCounters](),
	}
	m.unknown = m.decisions.WithLabelValues("", "", policy.NotKnown.String())
	if r != nil {
		r.MustRegister(m.durations, m.decisions)
	}
	return m
}

// decided counts one decision.
func (m *metrics) decided(d *policy.Decision, took time.Duration) {
	m.durations.Observe(took.Seconds())
	m.counter(d).Inc()
}

func (m *metrics) counter(d *policy.Decision) prometheus.Counter {
	api, ok := m.apis.Load(d.API)
	if !ok {
		return m.unknown
	}
	scheme, ok := (*api.schemes.Load())[d.Scheme]
	if !ok {
		return m.unknown
	}
	if c := scheme[d.Reason].Load(); c != nil {
		return *c
	}
	c := m.decisions.WithLabelValues(d.API, d.Scheme, d.Reason.String())
	scheme[d.Reason].Store(&c)
	return c
}

// serve makes room for the decisions of a policy.
func (m *metrics) serve(p *policy.Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	api, known := m.apis.Load(p.API)
	schemes := map[string]*schemeCounters{"": new(schemeCounters)}
	if known {
		maps.Copy(schemes, *api.schemes.Load())
	} else {
		api = new(apiCounters)
	}
	for _, scheme := range p.Schemes {
		if schemes[scheme] == nil {
			schemes[scheme] = new(schemeCounters)
		}
	}
	api.policies++
	api.schemes.Store(&schemes)
	m.apis.Store(p.API, api)
}

// forget drops the series of an API with its last policy.
func (m *metrics) forget(p *policy.Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	api, ok := m.apis.Load(p.API)
	if !ok {
		return
	}
	if api.policies--; api.policies > 0 {
		return
	}
	m.apis.Delete(p.API)
	for scheme := range *api.schemes.Load() {
		for reason := range policy.Reason(policy.Reasons) {
			m.decisions.DeleteLabelValues(p.API, scheme, reason.String())
		}
	}
}
