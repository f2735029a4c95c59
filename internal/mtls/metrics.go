package mtls

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// register puts the metrics of a Set where its process shows them, by the file of its certificate. Two Sets of one file
// have the same.
func (s *Set) register(r prometheus.Registerer) error {
	s.refusals.count = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "postern_mtls_refused_total", Help: "Connections, and gateways on them, refused for want of a good certificate, by the certificate they were shown.",
	})
	if r == nil {
		return nil
	}
	r = prometheus.WrapRegistererWith(prometheus.Labels{"certificate": s.files.Cert}, r)
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_mtls_certificate_not_after_timestamp_seconds",
		Help: "When a certificate that parts of the gateway show each other expires, in seconds since the epoch, by its file.",
	}, func() float64 { return float64(s.NotAfter().Unix()) })
	var twice prometheus.AlreadyRegisteredError
	if err := r.Register(expiry); err != nil && !errors.As(err, &twice) {
		return err
	}
	err := r.Register(s.refusals.count)
	if !errors.As(err, &twice) {
		return err
	}
	s.refusals.count = twice.ExistingCollector.(prometheus.Counter)
	return nil
}
