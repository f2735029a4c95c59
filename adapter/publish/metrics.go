package publish

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of all the publishers of one adapter.
type Metrics struct {
	pushes   *prometheus.HistogramVec
	verdicts *prometheus.CounterVec
}

// NewMetrics makes them. The registerer, if there is one, takes them, together with those about the gateways, who are
// asked for each time somebody reads the metrics.
func NewMetrics(r prometheus.Registerer, gateways func() []Gateway) (*Metrics, error) {
	m := &Metrics{
		pushes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postern_push_duration_seconds",
			Help:    "From the first resource published for a change to its end, by label and outcome: serving, pending (not every gateway answered), unseen (no gateway connected), rejected or silent (taken back, for too few answered).",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"label", "outcome"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_xds_total",
			Help: "Answers to xDS responses, by the gateway's label, resource type and outcome (ack, nack).",
		}, []string{"label", "type", "outcome"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.pushes, m.verdicts, gatewayMetrics{gateways}} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Forget removes the series of a label that is gone.
func (m *Metrics) Forget(label string) {
	m.pushes.DeletePartialMatch(prometheus.Labels{"label": label})
	m.verdicts.DeletePartialMatch(prometheus.Labels{"label": label})
}

func (m *Metrics) verdict(label, typeURL, outcome string) {
	m.verdicts.WithLabelValues(label, typeURL[strings.LastIndexByte(typeURL, '.')+1:], outcome).Inc()
}

// gatewayMetrics reads the gateways when it is asked, so that no series outlives its gateway.
type gatewayMetrics struct{ gateways func() []Gateway }

var (
	gatewayInfo = prometheus.NewDesc(
		"postern_gateway_info",
		"Always 1: an Envoy, enforcer or ratelimiter that is connected, or an Envoy that was lately, with the version it says it is.",
		[]string{"gateway", "role", "label", "version"}, nil)
	gatewayState = prometheus.NewDesc(
		"postern_gateway_state",
		"1 for the state a gateway is in, 0 for the others: serving (it has everything), pending (something is on its way), rejected (it refused something), lagging (it was silent twice; pushes do not wait for it), lost (not connected).",
		[]string{"gateway", "role", "label", "state"}, nil)
	gatewayAge = prometheus.NewDesc(
		"postern_gateway_config_age_seconds",
		"For how long a gateway has lacked something that was published, or has been away; 0 when it has everything.",
		[]string{"gateway", "role", "label"}, nil)
)

// Describe is the collector's.
func (gatewayMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{gatewayInfo, gatewayState, gatewayAge} {
		c <- d
	}
}

// Collect is the collector's.
func (m gatewayMetrics) Collect(c chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, g := range m.gateways() {
		tell(gatewayInfo, 1, g.ID, g.Role, g.Label, g.Version)
		tell(gatewayAge, g.Behind.Seconds(), g.ID, g.Role, g.Label)
		for _, state := range States {
			value := 0.0
			if state == g.State {
				value = 1
			}
			tell(gatewayState, value, g.ID, g.Role, g.Label, string(state))
		}
	}
}
