package store

import (
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one store. The file collects them.
type metrics struct {
	commits *prometheus.HistogramVec
}

var (
	storedProjects  = prometheus.NewDesc("postern_store_projects", "Projects in the store that are deployed.", nil, nil)
	storedRevisions = prometheus.NewDesc("postern_store_revisions", "Revisions of projects in the store, those included that undeployed one.", nil, nil)
	storeBytes      = prometheus.NewDesc("postern_store_bytes", "Size of the store's file, with what is free in it.", nil, nil)
)

func newMetrics() *metrics {
	return &metrics{commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "postern_store_commit_duration_seconds",
		Help:    "What it took to put one transaction on disk, which may hold the writes of several pushes, by outcome: ok or error.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	}, []string{"outcome"})}
}

func (m *metrics) wrote(took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.commits.WithLabelValues(outcome).Observe(took.Seconds())
}

// Describe is the collector's.
func (f *File) Describe(c chan<- *prometheus.Desc) {
	c <- storedProjects
	c <- storedRevisions
	c <- storeBytes
	f.metrics.commits.Describe(c)
}

// Collect is the collector's.
func (f *File) Collect(c chan<- prometheus.Metric) {
	counts := *f.counts.Load()
	c <- prometheus.MustNewConstMetric(storedProjects, prometheus.GaugeValue, float64(counts[projects]))
	c <- prometheus.MustNewConstMetric(storedRevisions, prometheus.GaugeValue, float64(counts[revisions]))
	if info, err := os.Stat(f.options.Path); err == nil {
		c <- prometheus.MustNewConstMetric(storeBytes, prometheus.GaugeValue, float64(info.Size()))
	}
	f.metrics.commits.Collect(c)
}
