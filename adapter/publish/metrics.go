package publish

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	pushes   *prometheus.HistogramVec
	verdicts *prometheus.CounterVec
	age      *configAge
}

func newMetrics(p *Publisher) metrics {
	return metrics{
		pushes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postern_push_duration_seconds",
			Help:    "From the first resource published for a change to its end, by outcome: serving, pending (not every gateway answered), unseen (no gateway connected) or rejected.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"outcome"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_xds_total",
			Help: "Answers to xDS responses, by resource type and outcome (ack, nack).",
		}, []string{"type", "outcome"}),
		age: &configAge{publisher: p, desc: prometheus.NewDesc(
			"postern_config_age_seconds",
			"For how long a gateway has lacked something that was published; 0 when it has everything.",
			[]string{"gateway", "role"}, nil)},
	}
}

func (m metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.pushes, m.verdicts, m.age} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m metrics) verdict(typeURL, outcome string) {
	m.verdicts.WithLabelValues(typeURL[strings.LastIndexByte(typeURL, '.')+1:], outcome).Inc()
}

// configAge reads the gateways when it is asked.
type configAge struct {
	publisher *Publisher
	desc      *prometheus.Desc
}

func (a *configAge) Describe(c chan<- *prometheus.Desc) { c <- a.desc }

func (a *configAge) Collect(c chan<- prometheus.Metric) {
	for _, g := range a.publisher.Gateways() {
		c <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, g.Behind.Seconds(), g.ID, g.Role)
	}
}
