// Package certificate reads the certificates of the https listener from files, and follows the files, so that a new
// certificate needs no restart. It must not import more of the adapter than model and source, and never tells a key.
package certificate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/internal/mtls"
)

// Options of a Set.
type Options struct {
	Files      []model.CertificateFiles
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil keeps the metrics nowhere
	Now        func() time.Time      // nil is time.Now
}

// soon is when a certificate that expires is warned of, once a day.
const soon = 30 * 24 * time.Hour

// Set is the certificates as they hold: as the files have them, or had them before they became unusable. Its methods are
// for one goroutine at a time.
type Set struct {
	options  Options
	current  []pair            // in the order of Options.Files
	complain map[string]string // by name: what was last said to be wrong
	notAfter *prometheus.GaugeVec
}

// Load reads all certificates. The error joins what is wrong with any.
func Load(o Options) (*Set, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Set{
		options: o, complain: map[string]string{},
		notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_certificate_not_after_timestamp_seconds",
			Help: "When a certificate of the https listener expires, in seconds since the epoch.",
		}, []string{"certificate"}),
	}
	var problems []error
	for _, f := range o.Files {
		p, err := read(f)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		s.current = append(s.current, p)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(s.notAfter); err != nil {
			return nil, err
		}
	}
	for _, p := range s.current {
		s.notAfter.WithLabelValues(p.Name).Set(float64(p.leaf.NotAfter.Unix()))
		s.warn(p)
	}
	return s, nil
}

// Certificates are what holds.
func (s *Set) Certificates() []model.Certificate {
	all := make([]model.Certificate, len(s.current))
	for i, p := range s.current {
		all[i] = p.Certificate
	}
	return all
}

// Follow calls changed whenever a certificate has been replaced, until ctx is done. Files of which nothing good can be
// read are told of in the log, and what was read before holds.
func (s *Set) Follow(ctx context.Context, changed func([]model.Certificate)) {
	if len(s.options.Files) == 0 {
		return
	}
	var paths []string
	for _, f := range s.options.Files {
		paths = append(paths, f.Cert, f.Key)
	}
	// why so quiet: a certificate and its key are two files, and one of them is written first
	changes := source.Watch(ctx, source.Options{Paths: paths, Quiet: 200 * time.Millisecond, Cap: 2 * time.Second, Log: s.options.Log})
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	look := func() {
		if s.reload() {
			changed(s.Certificates())
		}
	}
	look() // what changed before the files were watched
	for {
		select {
		case _, ok := <-changes:
			if !ok {
				return
			}
			look()
		case <-day.C:
			for _, p := range s.current {
				s.warn(p)
			}
		}
	}
}

// reload reads everything again and says whether anything is new.
func (s *Set) reload() bool {
	any := false
	for i, f := range s.options.Files {
		p, err := read(f)
		if err != nil {
			if s.complain[f.Name] != err.Error() {
				s.complain[f.Name] = err.Error()
				s.options.Log.Error("certificate cannot be used, keeping the one before", "certificate", f.Name, "err", err)
			}
			continue
		}
		delete(s.complain, f.Name)
		if old := s.current[i]; bytes.Equal(old.Chain, p.Chain) && bytes.Equal(old.Key, p.Key) {
			continue
		}
		s.current, any = slices.Clone(s.current), true
		s.current[i] = p
		s.notAfter.WithLabelValues(p.Name).Set(float64(p.leaf.NotAfter.Unix()))
		s.options.Log.Info("certificate replaced", "certificate", p.Name, "file", f.Cert, "until", p.leaf.NotAfter.UTC().Format(time.RFC3339))
		s.warn(p)
	}
	return any
}

// warn tells of a certificate that is about to expire, is not good yet, or has expired, and of a key that anybody can read.
func (s *Set) warn(p pair) {
	mtls.WarnOfOpenKey(s.options.Log, p.files.Key)
	now := s.options.Now()
	log := s.options.Log.With("certificate", p.Name, "file", p.files.Cert)
	switch {
	case now.Before(p.leaf.NotBefore):
		log.Warn("certificate is not good yet: clients refuse it", "from", p.leaf.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(p.leaf.NotAfter):
		log.Error("certificate has expired: clients refuse it", "at", p.leaf.NotAfter.UTC().Format(time.RFC3339))
	case p.leaf.NotAfter.Sub(now) < soon:
		log.Warn("certificate expires soon", "at", p.leaf.NotAfter.UTC().Format(time.RFC3339), "days", int(p.leaf.NotAfter.Sub(now).Hours()/24))
	}
}
