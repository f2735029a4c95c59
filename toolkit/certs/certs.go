// Package certs makes an authority and the certificates of a gateway's parts, as files, for development and for compose:
// its key lies beside them, so it is no replacement for an authority that is kept apart. It must not import a service.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/mtls"
)

// For how long certificates are good unless somebody says otherwise.
const (
	AuthorityTTL = 10 * 365 * 24 * time.Hour
	LeafTTL      = 365 * 24 * time.Hour
)

// Names of the authority's files in a folder.
const (
	AuthorityFile = "ca.pem"
	authorityKey  = "ca.key"
)

// early is how far the clocks of two machines may differ.
const early = 5 * time.Minute

// HTTPS is in the place of a role for the certificate that consumers see. It names no part of the gateway, so that nobody
// becomes one by having its key, as every Envoy does.
const HTTPS = "https"

// Leaf is a certificate to be made.
type Leaf struct {
	mtls.Identity
	Hosts []string // names and addresses, for clients that compare them; Postern's own do not
	TTL   time.Duration
	// Apart: in a folder of its own that is called as it is, as tls.crt, tls.key and ca.crt, to be given away alone.
	Apart bool
}

// String is whom it names.
func (l Leaf) String() string {
	if l.Role == HTTPS {
		return mtls.Identity{}.String()
	}
	return l.Identity.String()
}

// files are where it belongs.
func (l Leaf) files(dir string) Written {
	w := Written{Cert: filepath.Join(dir, l.Name+".pem"), Key: filepath.Join(dir, l.Name+".key"), CA: filepath.Join(dir, AuthorityFile)}
	if l.Apart {
		dir = filepath.Join(dir, l.Name)
		w = Written{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt")}
	}
	w.Identity = l.Identity
	return w
}

// Written is a certificate that lies in a folder.
type Written struct {
	Cert, Key, CA string
	Identity      mtls.Identity // zero for an authority
	NotAfter      time.Time
	Kept          bool // it was there before
}

// Existing is what becomes of a certificate that is there already.
type Existing int

// What may become of it.
const (
	Refuse  Existing = iota // it stays, and that is an error
	Replace                 // it is renewed
	Keep                    // it stays if it is what was asked for and has a third of its life before it, else it is renewed
)

// Init makes an authority in dir unless there is one, which it never replaces.
func Init(dir string, ttl time.Duration, now time.Time) (Written, error) {
	w := Written{Cert: filepath.Join(dir, AuthorityFile), Key: filepath.Join(dir, authorityKey), CA: filepath.Join(dir, AuthorityFile)}
	there, err := both(w.Cert, w.Key)
	if err != nil {
		return Written{}, err
	}
	if there {
		a, err := open(dir, now)
		if err != nil {
			return Written{}, err
		}
		w.Kept, w.NotAfter = true, a.certificate.NotAfter
		return w, nil
	}
	key, serial, err := NewKey()
	if err != nil {
		return Written{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// why a part of the serial: two authorities of one name would be hard to tell apart in a log
		Subject:   pkix.Name{CommonName: "Postern authority " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore: now.Add(-early), NotAfter: now.Add(ttl),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Written{}, err
	}
	w.NotAfter = template.NotAfter
	return w, Write(w.Cert, w.Key, template, template, key, key)
}

// Issue makes a certificate in dir, with the authority there.
func Issue(dir string, l Leaf, existing Existing, now time.Time) (Written, error) {
	if err := l.check(); err != nil {
		return Written{}, err
	}
	a, err := open(dir, now)
	if err != nil {
		return Written{}, err
	}
	w := l.files(dir)
	if l.Apart {
		if err := a.copyTo(w.CA); err != nil {
			return Written{}, err
		}
	}
	there, err := both(w.Cert, w.Key)
	switch {
	case err != nil && existing != Replace:
		return Written{}, err
	case there && l.anothers(w.Cert):
		return Written{}, fmt.Errorf("%s is not of %s; choose another name, or remove it", w.Cert, l)
	case there && existing == Refuse:
		return Written{}, fmt.Errorf("%s is there already; --renew makes it anew, with a key of its own", w.Cert)
	case there && existing == Keep:
		if w.NotAfter, w.Kept = l.good(w, a, now); w.Kept {
			return w, nil
		}
	}
	key, serial, err := NewKey()
	if err != nil {
		return Written{}, err
	}
	template := l.template(serial, now)
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter // nothing outlives what vouches for it
	}
	w.NotAfter = template.NotAfter
	return w, Write(w.Cert, w.Key, template, a.certificate, key, a.key)
}

// hosts are names, with a wildcard in front maybe, and addresses.
var hosts = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

func (l Leaf) check() error {
	who := l.Identity
	if l.Role == HTTPS {
		if who.Role = mtls.RoleClient; len(l.Hosts) == 0 { // the name is to be checked all the same
			return errors.New("a certificate for HTTPS needs the hosts that consumers call")
		}
	}
	if err := who.Check(); err != nil {
		return err
	}
	if l.Name+".pem" == AuthorityFile {
		return fmt.Errorf("%q is the name of the authority's files; choose another", l.Name)
	}
	for _, host := range l.Hosts {
		if net.ParseIP(host) == nil && !hosts.MatchString(host) {
			return fmt.Errorf("%q is no host: write a name or an address, without a port", host)
		}
	}
	for _, label := range l.Labels {
		if !model.ValidLabel(label) {
			return fmt.Errorf("%q cannot be a label; use up to 63 letters, digits and . _ -, a letter or digit first and last", label)
		}
	}
	if l.TTL <= 0 {
		return fmt.Errorf("%s: a certificate must live for some time", l.TTL)
	}
	return nil
}

func (l Leaf) template(serial *big.Int, now time.Time) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: l.Name[:min(len(l.Name), 64)], OrganizationalUnit: []string{l.Role}},
		NotBefore: now.Add(-early), NotAfter: now.Add(l.TTL),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: usages[l.Role],
	}
	if l.Role != HTTPS {
		c.URIs = l.URIs()
	}
	for _, host := range l.Hosts {
		if address := net.ParseIP(host); address != nil {
			c.IPAddresses = append(c.IPAddresses, address)
		} else {
			c.DNSNames = append(c.DNSNames, host)
		}
	}
	return c
}

// usages: an enforcer and a ratelimiter are called by Envoys, and follow the adapter.
var usages = map[string][]x509.ExtKeyUsage{
	mtls.RoleAdapter:     {x509.ExtKeyUsageServerAuth},
	mtls.RoleEnvoy:       {x509.ExtKeyUsageClientAuth},
	mtls.RoleEnforcer:    {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	mtls.RoleRateLimiter: {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	mtls.RoleClient:      {x509.ExtKeyUsageClientAuth},
	HTTPS:                {x509.ExtKeyUsageServerAuth},
}

// NewKey makes a key (ECDSA on P-256), and a serial number for its certificate.
func NewKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)          // it never fails
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of the same length always (RFC 5280 §4.1.2.2)
	return key, new(big.Int).SetBytes(serial), nil
}

// both says whether two files are there; one without the other is an error.
func both(cert, key string) (bool, error) {
	_, noCert := os.Lstat(cert)
	_, noKey := os.Lstat(key)
	switch {
	case noCert == nil && noKey == nil:
		return true, nil
	case errors.Is(noCert, fs.ErrNotExist) && errors.Is(noKey, fs.ErrNotExist):
		return false, nil
	case noCert == nil:
		return false, fmt.Errorf("%s is there and %s is not: put it back, or choose another folder", cert, key)
	}
	return false, fmt.Errorf("%s is there and %s is not: put it back, or choose another folder", key, cert)
}

// Set makes an authority and certificates, as far as they are not there and good.
func Set(dir string, leaves []Leaf, now time.Time) ([]Written, error) {
	w, err := Init(dir, AuthorityTTL, now)
	if err != nil {
		return nil, err
	}
	made := []Written{w}
	for _, l := range leaves {
		w, err := Issue(dir, l, Keep, now)
		if err != nil {
			return made, err
		}
		made = append(made, w)
	}
	return made, nil
}
