package xds

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Where a client's configuration comes from.
const (
	FromServer  = "adapter"
	FromDisk    = "disk"
	FromNowhere = "none"
)

// Source tells where a client's configuration comes from. It is a collector of metrics, too.
type Source struct {
	kinds, age *prometheus.Desc

	mu   sync.Mutex
	from string
	asOf time.Time
}

// NewSource is that of the client of a service.
func NewSource(service string) *Source {
	of := prometheus.Labels{"service": service}
	return &Source{
		from: FromNowhere,
		kinds: prometheus.NewDesc("postern_configuration_source",
			"1 for where the configuration of an enforcer or ratelimiter comes from: adapter, disk (no adapter answers, and what was told last serves on), none; 0 for the others. A further label, service, tells the services of one process apart.",
			[]string{"source"}, of),
		age: prometheus.NewDesc("postern_configuration_age_seconds",
			"Time since an adapter last had the say over what an enforcer or ratelimiter serves; 0 while one has. A further label, service, tells the services of one process apart.",
			nil, of),
	}
}

// Now is where the configuration comes from, and when a server last had the say over it; the zero time: never.
func (s *Source) Now() (from string, asOf time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from == FromServer {
		return s.from, time.Now()
	}
	return s.from, s.asOf
}

func (s *Source) becomes(from string, asOf time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.asOf = from, asOf
}

// Describe is of prometheus.Collector.
func (s *Source) Describe(c chan<- *prometheus.Desc) {
	c <- s.kinds
	c <- s.age
}

// Collect is of prometheus.Collector.
func (s *Source) Collect(c chan<- prometheus.Metric) {
	from, asOf := s.Now()
	for _, kind := range []string{FromServer, FromDisk, FromNowhere} {
		value := 0.0
		if kind == from {
			value = 1
		}
		c <- prometheus.MustNewConstMetric(s.kinds, prometheus.GaugeValue, value, kind)
	}
	if !asOf.IsZero() {
		c <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, max(0, time.Since(asOf).Seconds()))
	}
}
