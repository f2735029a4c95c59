package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register makes the relay known.
func (r *Relay) register(to prometheus.Registerer) error {
	r.moves = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "postern_relay_moves_total",
		Help: "How often the source of Envoy's configuration has changed: from an adapter to another, to disk, or back.",
	})
	if to == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{r.moves, &gauges{
		relay: r,
		source: prometheus.NewDesc("postern_relay_source",
			"1 for where Envoy's configuration comes from: adapter, disk (no adapter answers), none (Envoy is not connected, or waits); 0 for the others.",
			[]string{"source"}, nil),
		address: prometheus.NewDesc("postern_relay_address",
			"1 for the adapter that Envoy follows; absent while it follows none.",
			[]string{"address"}, nil),
		age: prometheus.NewDesc("postern_relay_config_age_seconds",
			"Time since an adapter last had the say over what Envoy serves; 0 while one has.",
			nil, nil),
	}} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// gauges read the status when they are asked.
type gauges struct {
	relay                *Relay
	source, address, age *prometheus.Desc
}

func (g *gauges) Describe(c chan<- *prometheus.Desc) {
	c <- g.source
	c <- g.address
	c <- g.age
}

func (g *gauges) Collect(c chan<- prometheus.Metric) {
	s := g.relay.Status()
	for _, source := range []string{FromAdapter, FromDisk, FromNowhere} {
		value := 0.0
		if source == s.Source {
			value = 1
		}
		c <- prometheus.MustNewConstMetric(g.source, prometheus.GaugeValue, value, source)
	}
	switch {
	case s.Source == FromAdapter:
		c <- prometheus.MustNewConstMetric(g.address, prometheus.GaugeValue, 1, s.Address)
		c <- prometheus.MustNewConstMetric(g.age, prometheus.GaugeValue, 0)
	case !s.AsOf.IsZero():
		c <- prometheus.MustNewConstMetric(g.age, prometheus.GaugeValue, max(0, time.Since(s.AsOf).Seconds()))
	}
}
