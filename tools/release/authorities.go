package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// authorities returns, as PEM, the certificate authorities that an image trusts: Mozilla's, from the Go module that go.sum
// pins, so that neither the machine that builds nor the day it builds on is in the image. A root that Mozilla trusts
// only for certificates issued before some day is left out: a PEM file cannot say so, and Envoy would not heed it.
func authorities() ([]byte, error) {
	type root struct {
		name string
		der  []byte
	}
	var roots []root
	for found := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(found.Certificate)
		if err != nil {
			return nil, fmt.Errorf("a root of golang.org/x/crypto/x509roots/fallback does not parse: %w", err)
		}
		if found.Constraint == nil {
			roots = append(roots, root{certificate.Subject.String(), found.Certificate})
		}
	}
	slices.SortFunc(roots, func(a, b root) int {
		x, y := sha256.Sum256(a.der), sha256.Sum256(b.der)
		return bytes.Compare(x[:], y[:])
	})
	var out bytes.Buffer
	for _, r := range roots {
		fmt.Fprintf(&out, "# %s\n", r.name)
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: r.der}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
