package certificate

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// pair is a certificate that was read.
type pair struct {
	model.Certificate
	files model.CertificateFiles
	leaf  *x509.Certificate
}

// read reads a certificate and its key, which Envoy would take. Errors say where, and nothing of the key.
func read(f model.CertificateFiles) (pair, error) {
	fail := func(format string, args ...any) (pair, error) {
		err := fmt.Errorf(format, args...)
		if f.Origin != "" {
			err = fmt.Errorf("%s: %w", f.Origin, err)
		}
		return pair{}, err
	}
	chain, err := os.ReadFile(f.Cert)
	if err != nil {
		return fail("certificate: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return fail("private key: %w", err)
	}
	both, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fail("%s and %s are not a certificate and its private key: %s", f.Cert, f.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := usable(both.Leaf); err != nil {
		return fail("%s: %w", f.Cert, err)
	}
	for _, host := range f.Hosts {
		if !covers(both.Leaf, host) {
			return fail("%s is not good for %s, which hosts names: it is good for %s", f.Cert, host, names(both.Leaf))
		}
	}
	return pair{model.Certificate{Name: f.Name, Chain: chain, Key: key}, f, both.Leaf}, nil
}

// usable says what Envoy does not take.
func usable(leaf *x509.Certificate) error {
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits is too short; it takes 2048", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("an ECDSA key of %d bits is too short; it takes 256", bits)
		}
	default:
		return errors.New("its key is neither RSA nor ECDSA, and Envoy serves no other")
	}
	return nil
}

// covers says whether a certificate is good for a host, or for all that a wildcard stands for.
func covers(leaf *x509.Certificate, host string) bool {
	if strings.HasPrefix(host, "*.") {
		return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.EqualFold(name, host) })
	}
	return leaf.VerifyHostname(host) == nil
}

func names(leaf *x509.Certificate) string {
	all := slices.Clone(leaf.DNSNames)
	for _, address := range leaf.IPAddresses {
		all = append(all, address.String())
	}
	if len(all) == 0 {
		return "no host at all: it has no subject alternative names"
	}
	return strings.Join(all, ", ")
}
