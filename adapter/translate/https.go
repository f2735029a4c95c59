package translate

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
)

// HTTPSListener is the name of the listener with TLS.
const HTTPSListener = "https"

// secretPatience is how long an Envoy that starts waits for a certificate before it opens its listeners: one that never
// comes must not keep the plain listener shut. Until it is there, connections to the https listener are closed.
const secretPatience = 2 * time.Second

// httpsListener has one filter chain for all certificates, which are resources of their own: a new certificate changes no
// listener, and so drains no connection.
func httpsListener(s model.Settings) *listenerv3.Listener {
	l := listener(HTTPSListener, s.HTTPS, s)
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "tls_inspector", // finds the host that the client names
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.TlsInspector{})},
	}}
	l.FilterChains[0].TransportSocket = &corev3.TransportSocket{
		Name:       "tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(downstreamTLS(s.TLS))},
	}
	return l
}

// downstreamTLS: of several certificates Envoy shows the one whose subject alternative names have the host that the client
// names, wildcards after full names; else the first.
func downstreamTLS(t model.TLS) *tlsv3.DownstreamTlsContext {
	common := &tlsv3.CommonTlsContext{
		AlpnProtocols: []string{"h2", "http/1.1"},
		TlsParams:     &tlsv3.TlsParameters{TlsMinimumProtocolVersion: minVersion(t.MinVersion), TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
	}
	for _, name := range t.Certificates {
		source := ads()
		source.InitialFetchTimeout = seconds(secretPatience)
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, &tlsv3.SdsSecretConfig{Name: name, SdsConfig: source})
	}
	if t.RequestClientCertificate {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: anyCertificate()}
	}
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(false)}
}

// anyCertificate has clients asked for a certificate, and takes any: who is trusted for what differs by API, and the
// enforcer decides it.
func anyCertificate() *tlsv3.CertificateValidationContext {
	return &tlsv3.CertificateValidationContext{
		TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
	}
}

func minVersion(version string) tlsv3.TlsParameters_TlsProtocol {
	if version == "1.3" {
		return tlsv3.TlsParameters_TLSv1_3
	}
	return tlsv3.TlsParameters_TLSv1_2
}

// Secrets are the resources of certificates.
func Secrets(certificates []model.Certificate) []Resource {
	var all []Resource
	for _, c := range certificates {
		all = append(all, resource(c.Name, &tlsv3.Secret{Name: c.Name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(c.Chain), PrivateKey: inline(c.Key),
		}}}))
	}
	return all
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}
