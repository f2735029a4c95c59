// Package devcertificate makes the certificate that --dev shows on the https listener when none is configured: it is
// signed by itself, for this machine alone. It must not import adapter, enforcer or ratelimiter.
package devcertificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
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
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Postern development"},
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(ttl),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &private.PublicKey, private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cert), 0o700); err != nil {
		return err
	}
	// why the key first: who sees a new certificate will look for its key
	if err := put(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return put(cert, "CERTIFICATE", der, 0o644)
}

// put replaces a file in one step.
func put(path, kind string, content []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	err = pem.Encode(file, &pem.Block{Type: kind, Bytes: content})
	if err := errors.Join(err, file.Chmod(mode), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
