package adapter

import "github.com/prometheus/client_golang/prometheus"

// served reads what is served when it is asked, so that no series outlives its label.
type served struct{ adapter *Adapter }

var (
	adapterInfo = prometheus.NewDesc("postern_adapter_info", "Always 1: an adapter, with its version.", []string{"version"}, nil)
	apisServed  = prometheus.NewDesc(
		"postern_apis",
		"APIs of a label, by what became of them: live (what the source has is served), stale (an earlier revision is served), rejected (nothing is served).",
		[]string{"label", "state"}, nil)
	scopeOperations = prometheus.NewDesc(
		"postern_route_scope_operations",
		"Operations in one route scope, of the scopes with more than 200: a change of one of their APIs sends all of them to every Envoy.",
		[]string{"label", "scope"}, nil)
)

// Describe is the collector's.
func (served) Describe(c chan<- *prometheus.Desc) {
	c <- adapterInfo
	c <- apisServed
	c <- scopeOperations
}

// Collect is the collector's.
func (s served) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.MustNewConstMetric(adapterInfo, prometheus.GaugeValue, 1, s.adapter.options.Version)
	for _, l := range s.adapter.known() {
		l.board.collect(l.name, c)
	}
}

func (b *board) collect(label string, c chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, state := range []State{Live, Stale, Rejected} {
		c <- prometheus.MustNewConstMetric(apisServed, prometheus.GaugeValue, float64(b.states[state]), label, string(state))
	}
	for scope, n := range b.scopes {
		c <- prometheus.MustNewConstMetric(scopeOperations, prometheus.GaugeValue, float64(n), label, scope)
	}
}
