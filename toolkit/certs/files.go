package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/whole"
)

// authority is what signs.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// open reads the authority in dir.
func open(dir string, now time.Time) (authority, error) {
	cert := filepath.Join(dir, AuthorityFile)
	pair, err := tls.LoadX509KeyPair(cert, filepath.Join(dir, authorityKey))
	if errors.Is(err, fs.ErrNotExist) {
		return authority{}, fmt.Errorf("there is no authority in %s; `postern certs init --dir %s` makes one: %w", dir, dir, err)
	}
	if err != nil {
		return authority{}, fmt.Errorf("%s: %w", cert, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	switch {
	case !ok || !pair.Leaf.IsCA:
		return authority{}, fmt.Errorf("%s is not an authority that `postern certs init` has made", cert)
	case !now.Before(pair.Leaf.NotAfter):
		return authority{}, fmt.Errorf("%s expired at %s; make a new authority in another folder", cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return authority{pair.Leaf, key}, nil
}

// copyTo puts the authority's certificate beside that of a leaf, unless it is there.
func (a authority) copyTo(path string) error {
	if there, err := os.ReadFile(path); err == nil {
		if block, _ := pem.Decode(there); block != nil && bytes.Equal(block.Bytes, a.certificate.Raw) {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return put(path, "CERTIFICATE", a.certificate.Raw, 0o644)
}

// Write signs a certificate of a key and puts both where they belong, as PEM, each in one step: the key first, because who sees
// a new certificate will look for its key, and with rights for its owner alone. The folder must be there.
func Write(certFile, keyFile string, template, issuer *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := put(keyFile, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return put(certFile, "CERTIFICATE", der, 0o644)
}

// put replaces a file: nobody reads half of it, nor a key with the rights of another file.
func put(path, kind string, der []byte, mode fs.FileMode) error {
	return whole.Write(path, mode, func(w io.Writer) error { return pem.Encode(w, &pem.Block{Type: kind, Bytes: der}) })
}

// anothers says whether a certificate that is there has another role or name.
func (l Leaf) anothers(cert string) bool {
	text, err := os.ReadFile(cert)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	who, err := mtls.IdentityOf(c)
	return err == nil && who.String() != l.String()
}

// good says whether a certificate that is there is what was asked for, and until when.
func (l Leaf) good(w Written, a authority, now time.Time) (time.Time, bool) {
	pair, err := tls.LoadX509KeyPair(w.Cert, w.Key)
	if err != nil {
		return time.Time{}, false
	}
	there := pair.Leaf
	who, err := mtls.IdentityOf(there)
	var named []string
	for _, address := range there.IPAddresses {
		named = append(named, address.String())
	}
	left, life := there.NotAfter.Sub(now), there.NotAfter.Sub(there.NotBefore)
	return there.NotAfter, err == nil && slices.Equal(who.Labels, l.Labels) &&
		same(append(named, there.DNSNames...), l.Hosts) && there.CheckSignatureFrom(a.certificate) == nil && left > life/3
}

func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
