package certificate_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter/certificate"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestExpiry: a certificate's end is a metric, and a warning in its last thirty days.
func TestExpiry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := fixture.NewAuthority(t).Issue(t, 40*24*time.Hour, "a.test")
	files := model.CertificateFiles{Name: "https/a.test", Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key")}
	c.Write(t, files.Cert, files.Key)
	for _, want := range []struct {
		in    time.Duration
		words string // in the log
	}{
		{0, ""},
		{-3 * time.Hour, "certificate is not good yet"},
		{11 * 24 * time.Hour, `msg="certificate expires soon" certificate=https/a.test`},
		{41 * 24 * time.Hour, "level=ERROR msg=\"certificate has expired"},
	} {
		var log bytes.Buffer
		metrics := prometheus.NewRegistry()
		_, err := certificate.Load(certificate.Options{
			Files: []model.CertificateFiles{files}, Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: metrics,
			Now: func() time.Time { return time.Now().Add(want.in) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if (want.words == "" && log.Len() > 0) || !strings.Contains(log.String(), want.words) {
			t.Errorf("in %v the log says %q, want %q", want.in, &log, want.words)
		}
		families, err := metrics.Gather()
		if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetGauge().GetValue() != float64(c.TLS.Leaf.NotAfter.Unix()) {
			t.Errorf("%v %v", families, err)
		}
	}
}

func TestOpenKeyIsWarnedOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := model.CertificateFiles{Name: "https/a.test", Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key")}
	fixture.NewAuthority(t).Issue(t, 40*24*time.Hour, "a.test").Write(t, files.Cert, files.Key)
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.Chmod(files.Key, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		_, err := certificate.Load(certificate.Options{Files: []model.CertificateFiles{files}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || strings.Contains(log.String(), "private key is open to every user of this machine; chmod 600 it") != want {
			t.Errorf("%o: %v, the log says %q", mode, err, &log)
		}
	}
}
