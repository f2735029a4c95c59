// Package devcertificate makes the certificate that --dev shows on the https listener when none is configured: it is
// signed by itself, for this machine alone. It must not import adapter, enforcer or ratelimiter.
package devcertificate

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-gateway/postern/toolkit/certs"
)

// Names of the files in the data folder.
const (
	CertFile = "dev-https.pem"
	KeyFile  = "dev-https.key"
)

// A certificate is good for a year, and a new one is made when less than a month of it is left.
const (
	ttl  = 365 * 24 * time.Hour
	rest = 30 * 24 * time.Hour
)

// Open returns the files of the certificate in a data folder, which it makes where there is none that is good for a while.
func Open(dir string, now time.Time) (cert, key string, err error) {
	cert, key = filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err == nil && now.Before(pair.Leaf.NotAfter.Add(-rest)) {
		return cert, key, nil
	}
	if err := create(cert, key, now); err != nil {
		return "", "", fmt.Errorf("development certificate: %w", err)
	}
	return cert, key, nil
}

func create(cert, key string, now time.Time) error {
	private, serial, err := certs.NewKey()
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Postern development"},
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(ttl),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if err := os.MkdirAll(filepath.Dir(cert), 0o700); err != nil {
		return err
	}
	return certs.Write(cert, key, leaf, leaf, private, private)
}
