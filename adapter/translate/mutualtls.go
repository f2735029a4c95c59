package translate

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// authenticate has Envoy call a cluster by TLS 1.3, with its own certificate, and accept that of a service of the role
// alone. A connection needs two more turns than in plain text, and signatures.
func authenticate(c *clusterv3.Cluster, role string) {
	c.TransportSocket, c.ConnectTimeout = mutualTLS(role), seconds(time.Second)
}

// authenticateOne does so for one endpoint of a cluster, whose others are called in plain text.
func authenticateOne(c *clusterv3.Cluster, e *endpointv3.LbEndpoint, role string) {
	label := &structpb.Struct{Fields: map[string]*structpb.Value{"role": structpb.NewStringValue(role)}}
	e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{transportMatch: label}}
	c.TransportSocketMatches = append(c.TransportSocketMatches, &clusterv3.Cluster_TransportSocketMatch{
		Name: role, Match: label, TransportSocket: mutualTLS(role),
	})
	c.ConnectTimeout = seconds(time.Second)
}

// mutualTLS asks the process beside Envoy for the certificate and the authorities: the adapter never sees a key. Which
// service answers is told by the URI in its certificate: names of hosts change, and any host of ours could have them.
func mutualTLS(role string) *corev3.TransportSocket {
	prefix := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: posternv1.IdentityPrefix(role)}}
	return &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
			AlpnProtocols:                  []string{"h2"},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{localSecret(posternv1.IdentitySecret)},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: prefix}},
				},
				ValidationContextSdsSecretConfig: localSecret(posternv1.AuthoritiesSecret),
			}},
		},
	})}}
}

// localSecret is served at the socket of Envoy's bootstrap. Envoy's own back-off would keep it without for up to 30 s.
func localSecret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: posternv1.XDSCluster,
				RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
					BaseInterval: seconds(200 * time.Millisecond), MaxInterval: seconds(time.Second),
				}},
			}}}},
		}},
	}}
}
