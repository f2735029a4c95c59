package mtls

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// ServeSecrets keeps what an Envoy shows the enforcer and the ratelimiter, and whom it believes, in a cache of secrets
// until ctx is done: as the files have it, which nobody else is ever sent. The process beside the Envoy offers the cache
// on the Envoy's own socket (xds.Server.RegisterSecrets).
func (s *Set) ServeSecrets(ctx context.Context, cache *xds.Cache) error {
	if err := s.putSecrets(cache); err != nil {
		return err
	}
	return s.Follow(ctx, func() {
		if err := s.putSecrets(cache); err != nil {
			s.log.Error("certificate cannot be given to Envoy; keeping what it has", "err", err)
		}
	})
}

func (s *Set) putSecrets(cache *xds.Cache) error {
	resources, err := s.Secrets()
	if err == nil {
		cache.Update(resources, nil)
	}
	return err
}

// Secrets are the own certificate with its key, and the authorities, as Envoy's resources of the names that the clusters
// of the adapter ask for. A version is the hash of the content.
func (s *Set) Secrets() ([]*discoveryv3.Resource, error) {
	m := s.current()
	own, err := secret(&tlsv3.Secret{
		Name: posternv1.IdentitySecret,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(m.cert), PrivateKey: inline(m.key)}},
	})
	if err != nil {
		return nil, err
	}
	trusted, err := secret(&tlsv3.Secret{
		Name: posternv1.AuthoritiesSecret,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(m.ca)}},
	})
	return []*discoveryv3.Resource{own, trusted}, err
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}

func secret(m *tlsv3.Secret) (*discoveryv3.Resource, error) {
	return xds.Encode(m.Name, posternv1.ContentHash(m), m)
}
