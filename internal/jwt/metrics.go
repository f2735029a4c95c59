package jwt

import "github.com/prometheus/client_golang/prometheus"

// metrics are about keys and tokens; the issuers are few, so their names are labels.
type metrics struct {
	refreshes    *prometheus.CounterVec
	hits, misses prometheus.Counter
}

func newMetrics(r prometheus.Registerer, v *Verifier) *metrics {
	m := &metrics{refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_jwks_refresh_total",
		Help: "Fetches of an issuer's keys, by outcome: changed, unchanged, failed.",
	}, []string{"issuer", "outcome"})}
	cache := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_token_cache_total",
		Help: "Tokens judged, by whether the judgement was known already: hit, miss.",
	}, []string{"outcome"})
	m.hits, m.misses = cache.WithLabelValues("hit"), cache.WithLabelValues("miss")
	if r != nil {
		r.MustRegister(m.refreshes, cache, ages{v})
	}
	return m
}

// forget drops the series of an issuer that is gone.
func (m *metrics) forget(issuer string) {
	m.refreshes.DeletePartialMatch(prometheus.Labels{"issuer": issuer})
}

// ages reports, when asked, how old the keys of each issuer are that come from a URL.
type ages struct{ verifier *Verifier }

var ageDesc = prometheus.NewDesc("postern_jwks_age_seconds",
	"Time since an issuer's keys were last known to be up to date; absent until they were first fetched.", []string{"issuer"}, nil)

// Describe is part of prometheus.Collector.
func (a ages) Describe(ch chan<- *prometheus.Desc) { ch <- ageDesc }

// Collect is part of prometheus.Collector.
func (a ages) Collect(ch chan<- prometheus.Metric) {
	now := a.verifier.now()
	for name, i := range a.verifier.issuers.All() {
		if i.source == nil {
			continue
		}
		i.source.mu.Lock()
		fetched := i.source.fetched
		i.source.mu.Unlock()
		if !fetched.IsZero() {
			ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, now.Sub(fetched).Seconds(), name)
		}
	}
}
