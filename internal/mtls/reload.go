package mtls

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

// material is what the files held at one moment.
type material struct {
	certificate tls.Certificate
	authorities *x509.CertPool
	identity    Identity

	cert, key, ca []byte // the files' own bytes
	digest        [sha256.Size]byte
}

// stamp tells whether files have changed without reading them. Links are followed, so a swap of links is a change.
type stamp struct {
	files  [3]fs.FileInfo
	newest time.Time
}

func stampOf(f Files) stamp {
	var s stamp
	for i, path := range []string{f.Cert, f.Key, cmp.Or(f.CA, f.Cert)} {
		info, err := os.Stat(path)
		if err != nil {
			continue // reading says so
		}
		s.files[i] = info
		if info.ModTime().After(s.newest) {
			s.newest = info.ModTime()
		}
	}
	return s
}

// settling is for how long a file may be written again without its time of change telling.
const settling = 2 * time.Second

func (s stamp) same(t stamp) bool {
	for i, a := range s.files {
		b := t.files[i]
		if a == nil || b == nil || !os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) {
			return false
		}
	}
	return time.Since(s.newest) > settling
}

// reload takes in what the files hold if they have changed. If it is of no use, what was there stays, and the log says so
// once. It costs three calls of stat where nothing has changed.
func (s *Set) reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := stampOf(s.files) // before reading: what is written meanwhile is seen the next time
	if found.same(s.seen) {
		return
	}
	m, err := s.read()
	if err != nil {
		if err.Error() != s.unhappy {
			s.unhappy = err.Error()
			s.log.Error("certificate files have changed and cannot be used; keeping what they were", "err", err)
		}
		return
	}
	s.seen, s.unhappy = found, ""
	if m.digest == s.now.Load().digest {
		return
	}
	s.now.Store(m)
	s.log.Info("certificate reloaded", "cert", s.files.Cert, "identity", m.identity.String(), "until", m.certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	s.warnOf(m)
}

// read reads and judges the files.
func (s *Set) read() (*material, error) {
	m := &material{}
	var noCert, noKey, noCA error
	m.cert, noCert = os.ReadFile(s.files.Cert)
	m.key, noKey = os.ReadFile(s.files.Key)
	if s.files.CA != "" {
		m.ca, noCA = os.ReadFile(s.files.CA)
	}
	err := errors.Join(noCert, noKey, noCA)
	if err != nil {
		return nil, err
	}
	m.digest = sha256.Sum256(bytes.Join([][]byte{m.cert, m.key, m.ca}, []byte{0}))
	if m.certificate, err = tls.X509KeyPair(m.cert, m.key); err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its private key: %s; name two that were made together, or make both anew, with `postern certs … --renew`",
			s.files.Cert, s.files.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if m.authorities, err = authorities(m.ca); err != nil && s.files.CA != "" {
		return nil, fmt.Errorf("%s: %w", s.files.CA, err)
	}
	if m.identity, err = IdentityOf(m.certificate.Leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", s.files.Cert, err)
	}
	if s.role != RoleNone {
		if err := m.identity.check([]string{s.role}); err != nil {
			return nil, fmt.Errorf("%s: %w", s.files.Cert, err)
		}
	}
	return m, nil
}

func authorities(text []byte) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		found = true
	}
	if !found {
		return pool, errors.New("there is no certificate in it: an authority's begins with -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}

// soon is when an end that nobody has prepared for should be known.
const soon = 7 * 24 * time.Hour

// warnOf says what will go wrong later.
func (s *Set) warnOf(m *material) {
	leaf := m.certificate.Leaf
	until := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch left := time.Until(leaf.NotAfter); {
	case left <= 0:
		s.log.Error("certificate has expired: nobody will accept it; "+renewal(leaf), "cert", s.files.Cert, "key", s.files.Key, "until", until)
	case left < soon:
		s.log.Warn("certificate expires soon; "+renewal(leaf), "cert", s.files.Cert, "until", until)
	}
	WarnOfOpenKey(s.log, s.files.Key)
}

// WarnOfOpenKey says so if a private key's file can be read or replaced by everybody.
func WarnOfOpenKey(log *slog.Logger, file string) {
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
		log.Warn("private key is open to every user of this machine; chmod 600 it", "key", file, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}
