package certs

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
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

// write signs a certificate and puts it and its key where they belong: the key first, because who sees a new certificate
// will look for its key.
func write(w Written, template, issuer *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := put(w.Key, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return put(w.Cert, "CERTIFICATE", der, 0o644)
}

// put replaces a file in one step: nobody reads half of it, nor a key with the rights of another file.
func put(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
