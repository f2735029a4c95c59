package git

import "github.com/prometheus/client_golang/prometheus"

// Sources are several of them, as metrics show them.
type Sources []*Source

var (
	lastSuccess = prometheus.NewDesc("postern_git_last_success_timestamp_seconds",
		"When a git source was last known to be served as its branch is, in Unix time; 0 is not since the start.", []string{"source"}, nil)
	commitInfo = prometheus.NewDesc("postern_git_commit_info",
		"Always 1: the commit that is served of a git source.", []string{"source", "commit"}, nil)
	failures = prometheus.NewDesc("postern_git_failures_total",
		"How often a git source could not be brought up to date: its repository did not answer, or its commit is refused.", []string{"source"}, nil)
)

// Describe is the collector's.
func (Sources) Describe(c chan<- *prometheus.Desc) {
	c <- lastSuccess
	c <- commitInfo
	c <- failures
}

// Collect is the collector's.
func (all Sources) Collect(c chan<- prometheus.Metric) {
	for _, s := range all {
		now := s.Status()
		at := 0.0
		if !now.At.IsZero() {
			at = float64(now.At.UnixMilli()) / 1000
		}
		c <- prometheus.MustNewConstMetric(lastSuccess, prometheus.GaugeValue, at, s.name)
		c <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(now.Failed), s.name)
		if now.Commit != "" {
			c <- prometheus.MustNewConstMetric(commitInfo, prometheus.GaugeValue, 1, s.name, now.Commit)
		}
	}
}
