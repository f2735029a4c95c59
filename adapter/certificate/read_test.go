package certificate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/certificate"
	"github.com/postern-gateway/postern/adapter/model"
)

// TestKeys: what Envoy does not take is refused before it gets there.
func TestKeys(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	narrow, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for name, c := range map[string]struct {
		key  crypto.Signer
		want string
	}{
		"RSA 1024": {short, "an RSA key of 1024 bits is too short; it takes 2048"},
		"RSA 2048": {long, ""},
		"Ed25519":  {edwards, "its key is neither RSA nor ECDSA, and Envoy serves no other"},
		"P-224":    {narrow, "an ECDSA key of 224 bits is too short; it takes 256"},
		"P-384":    {wide, ""},
	} {
		f := write(t, c.key)
		_, err := certificate.Load(certificate.Options{Files: []model.CertificateFiles{f}, Log: slog.New(slog.DiscardHandler)})
		if (c.want == "" && err != nil) || (c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), f.Cert+": "+c.want))) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// write makes a certificate of a key that signs itself.
func write(t *testing.T, key crypto.Signer) model.CertificateFiles {
	t.Helper()
	dir := t.TempDir()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(90 * 24 * time.Hour), DNSNames: []string{"a.test"}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	f := model.CertificateFiles{Name: "https/a.test", Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key")}
	must(t, os.WriteFile(f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
