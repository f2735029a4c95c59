package git

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are several of them, as people and metrics see them.
type Sources []*Source

// enough is how many attempts may fail before it is worth a note: a repository that is away for a moment is not.
const enough = 3

// Missing are, in words, those of which no commit was ever fetched: nothing of them is served.
func (all Sources) Missing() []string {
	var words []string
	for _, s := range all {
		now := s.Status()
		switch {
		case now.Commit != "":
		case now.Err == nil:
			words = append(words, now.Source+" has not been fetched yet")
		default:
			words = append(words, fmt.Sprintf("%s has not been fetched yet: %v", now.Source, now.Err))
		}
	}
	return words
}

// Stale are, in words, those of which an earlier commit is served than the branch has, or has perhaps.
func (all Sources) Stale() []string {
	var words []string
	for _, s := range all {
		now := s.Status()
		if now.Commit == "" || now.Err == nil || now.Failures < enough && !errors.Is(now.Err, errRefused) {
			continue
		}
		asOf := "from disk"
		if !now.At.IsZero() {
			asOf = "as of " + now.At.UTC().Format(time.RFC3339)
		}
		words = append(words, fmt.Sprintf("%s is served at commit %s, %s: %v", now.Source, now.Commit, asOf, now.Err))
	}
	return words
}

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
		name := s.name + s.pathShown()
		c <- prometheus.MustNewConstMetric(lastSuccess, prometheus.GaugeValue, at, name)
		c <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(now.Failed), name)
		if now.Commit != "" {
			c <- prometheus.MustNewConstMetric(commitInfo, prometheus.GaugeValue, 1, name, now.Commit)
		}
	}
}

// pathShown tells sources of one branch apart.
func (s *Source) pathShown() string {
	if s.options.Path == "" {
		return ""
	}
	return ":" + s.options.Path
}
