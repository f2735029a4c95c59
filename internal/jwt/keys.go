package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

const (
	maxKeys    = 100  // in one set
	maxTried   = 8    // keys a token without a kid is tried with
	minRSABits = 2048 // RFC 7518 §3.3
)

// algorithms are all this build verifies: the asymmetric ones of RFC 7518 §3.1, RFC 8037 and RFC 9864. None and the
// HMAC ones are not among them, so no issuer, key or token can ask for them.
var algorithms = map[string]jwa.SignatureAlgorithm{
	"RS256": jwa.RS256(), "RS384": jwa.RS384(), "RS512": jwa.RS512(),
	"PS256": jwa.PS256(), "PS384": jwa.PS384(), "PS512": jwa.PS512(),
	"ES256": jwa.ES256(), "ES384": jwa.ES384(), "ES512": jwa.ES512(),
	"EdDSA": jwa.EdDSA(), "Ed25519": jwa.EdDSAEd25519(),
}

// key is one public key with the algorithms it may be used with: a token can choose among them, never beside them.
type key struct {
	id         string // "": tokens of any kid may be tried
	public     any
	algorithms []string
}

// keySet is one generation of an issuer's keys. It is never changed; what was verified with it holds as long as it is
// the issuer's set.
type keySet struct {
	keys    []key
	skipped []string // why keys were left out
}

// candidates returns the keys a token with this header may be signed with: those of its kid, else those without one; for
// a token without a kid all, within bounds. known is false if the set holds no key of that kid, so that a newer one may.
func (s *keySet) candidates(kid, alg string) (keys []key, known bool) {
	known = kid != "" && slices.ContainsFunc(s.keys, func(k key) bool { return k.id == kid })
	for _, k := range s.keys {
		fits := kid == "" || k.id == kid || k.id == "" && !known
		if fits && slices.Contains(k.algorithms, alg) && len(keys) < maxTried {
			keys = append(keys, k)
		}
	}
	return keys, known
}

// verify returns nil if the key signed the token. jwx refuses a crit or b64 header and an alg that is not the one given.
func (k key) verify(token []byte, alg string) error {
	_, err := jws.VerifyCompactFast(k.public, token, algorithms[alg])
	return err
}

// parseJWKS reads a JWK set (RFC 7517). Keys that are of no use here are skipped; a set without a useful one is an error.
func parseJWKS(data []byte, allowed []string) (*keySet, error) {
	set, err := jwk.Parse(data, jwk.WithStrictKeySetParsing(false), jwk.WithMaxKeys(maxKeys))
	if err != nil {
		return nil, fmt.Errorf("not a JWK set: %w", err)
	}
	keys := new(keySet)
	for i := range set.Len() {
		entry, _ := set.Key(i)
		k, err := keyOf(entry, allowed)
		if err != nil {
			keys.skipped = append(keys.skipped, fmt.Sprintf("key %d: %v", i, err))
			continue
		}
		keys.keys = append(keys.keys, k)
	}
	return keys.useful()
}

// parseCertificates reads the public keys of PEM certificates. They bear no kid. Validity periods are not looked at:
// the certificate is how the key was handed over, not a chain of trust.
func parseCertificates(data []byte, allowed []string) (*keySet, error) {
	keys := new(keySet)
	for len(keys.keys) < maxKeys {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block is %q, want CERTIFICATE", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("not a certificate: %w", err)
		}
		k := key{public: certificate.PublicKey}
		if k.algorithms, err = algorithmsOf(k.public, allowed); err != nil {
			keys.skipped = append(keys.skipped, err.Error())
			continue
		}
		keys.keys = append(keys.keys, k)
	}
	return keys.useful()
}

func (s *keySet) useful() (*keySet, error) {
	if len(s.keys) > 0 {
		return s, nil
	}
	errs := []error{errors.New("no key that tokens could be verified with")}
	for _, reason := range s.skipped {
		errs = append(errs, errors.New(reason))
	}
	return nil, errors.Join(errs...)
}

// keyOf takes what verification needs from a JWK, or says why the key cannot serve.
func keyOf(entry jwk.Key, allowed []string) (key, error) {
	if unsupported, ok := entry.(jwk.UnsupportedKey); ok {
		return key{}, fmt.Errorf("not supported: %w", unsupported.Reason())
	}
	if use, ok := entry.KeyUsage(); ok && use != "sig" {
		return key{}, fmt.Errorf("its use is %q", use)
	}
	if operations, ok := entry.KeyOps(); ok && !slices.Contains(operations, jwk.KeyOpVerify) {
		return key{}, errors.New("its key_ops do not hold verify")
	}
	if entry.KeyType() == jwa.OctetSeq() {
		return key{}, errors.New("symmetric keys are not accepted")
	}
	public, err := jwk.PublicRawKeyOf(entry)
	if err != nil {
		return key{}, fmt.Errorf("no public key: %w", err)
	}
	k := key{public: public}
	k.id, _ = entry.KeyID()
	if k.algorithms, err = algorithmsOf(public, allowed); err != nil {
		return key{}, err
	}
	if alg, ok := entry.Algorithm(); ok {
		if !slices.Contains(k.algorithms, alg.String()) {
			return key{}, fmt.Errorf("its alg %q is not for this key or not allowed", alg)
		}
		k.algorithms = []string{alg.String()}
	}
	return k, nil
}

// algorithmsOf lists what a key may be used with, by its own type and by what the issuer allows (none: everything).
func algorithmsOf(public any, allowed []string) ([]string, error) {
	var list []string
	switch public := public.(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, want at least %d", public.N.BitLen(), minRSABits)
		}
		list = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			list = []string{"ES256"}
		case elliptic.P384():
			list = []string{"ES384"}
		case elliptic.P521():
			list = []string{"ES512"}
		}
	case ed25519.PublicKey:
		list = []string{"EdDSA", "Ed25519"}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("keys of type %T are not supported", public)
	}
	if len(allowed) > 0 {
		list = slices.DeleteFunc(list, func(alg string) bool { return !slices.Contains(allowed, alg) })
		if len(list) == 0 {
			return nil, fmt.Errorf("the issuer's algorithms %v are not for this key", allowed)
		}
	}
	return list, nil
}
