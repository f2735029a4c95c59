package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

const (
	httpOptions      = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	transportMatch   = "envoy.transport_socket_match"
	connectTimeout   = 5 * time.Second
	manyConnections  = 100_000 // why: Envoy's default of 1024 requests per cluster is a limit nobody asked for
	certificateMatch = "host"

	// defaultSystemCA is where Debian, Ubuntu, Alpine and Envoy's own images keep the authorities they trust. Envoy 1.40
	// refuses system_root_certs: it wants a file.
	defaultSystemCA = "/etc/ssl/certs/ca-certificates.crt"
)

// weighted is a cluster and its part of a backend's requests.
type weighted struct {
	cluster string
	path    string // put before the operation's path
	weight  int
}

// backends are the clusters of an operation's backend, one for each path and way to connect its endpoints have. Where
// the operation's state is not served, it is the one that answers so.
func (c *compiled) backends(s model.Settings, o *model.Operation) []weighted {
	type group struct {
		tls  bool
		path string
	}
	groups := map[group][]model.Endpoint{}
	for _, e := range o.Production.Endpoints {
		g := group{e.TLS, e.Path}
		groups[g] = append(groups[g], e)
	}
	if cluster := stateCluster(c.StateOf(*o)); cluster != "" {
		return []weighted{{cluster: cluster, weight: 1}}
	}
	var backends []weighted
	for g, endpoints := range groups {
		cluster := backendCluster(endpoints, &o.Production, cmp.Or(s.SystemCA, defaultSystemCA))
		c.clusters[cluster.GetName()] = cluster
		backends = append(backends, weighted{cluster.GetName(), g.path, len(endpoints)})
	}
	slices.SortFunc(backends, func(a, b weighted) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.cluster, b.cluster))
	})
	return backends
}

// backendCluster is the cluster of endpoints that are all TLS or all not. Its name is the first endpoint's, for people,
// and the hash of the content: equal backends share a cluster, and a redeployment renames none.
func backendCluster(endpoints []model.Endpoint, b *model.Backend, systemCA string) *clusterv3.Cluster {
	endpoints = slices.SortedFunc(slices.Values(endpoints), func(a, b model.Endpoint) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), strings.Compare(a.Authority, b.Authority))
	})
	c := dial(endpoints)
	options := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: seconds(time.Minute)}}
	switch {
	case endpoints[0].TLS && b.HTTP2:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}}
	case b.HTTP2:
		options.UpstreamProtocolOptions = speakHTTP2()
	default:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}}
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(options)}
	if endpoints[0].TLS {
		secure(c, endpoints, b.CA, systemCA)
	}
	hash := posternv1.ContentHash(c)
	c.Name = fmt.Sprintf("%s:%d-%s", endpoints[0].Host, endpoints[0].Port, hash[:12])
	c.LoadAssignment.ClusterName = c.Name
	return c
}

// dial is a cluster of plain connections to the endpoints, each with its authority as its name.
func dial(endpoints []model.Endpoint) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       seconds(connectTimeout),
		CircuitBreakers:      unlimited(),
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{{}}},
	}
	for _, e := range endpoints {
		if _, err := netip.ParseAddr(e.Host); err != nil {
			resolveNames(c)
		}
		c.LoadAssignment.Endpoints[0].LbEndpoints = append(c.LoadAssignment.Endpoints[0].LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: socket(e.Host, uint32(e.Port)), Hostname: e.Authority,
			}},
		})
	}
	return c
}

// resolveNames has DNS followed at the pace its answers ask for, and sooner after a failure. Every address is an endpoint.
func resolveNames(c *clusterv3.Cluster) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns",
		TypedConfig: pack(&dnsv3.DnsCluster{
			DnsLookupFamily:       dnscommonv3.DnsLookupFamily_V4_PREFERRED, // why: "localhost" has an IPv6 address few listen on
			RespectDnsTtl:         true,
			DnsRefreshRate:        seconds(10 * time.Second),
			DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{BaseInterval: seconds(time.Second), MaxInterval: seconds(10 * time.Second)},
		}),
	}}
}

func unlimited() *clusterv3.CircuitBreakers {
	many := wrapperspb.UInt32(manyConnections)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: many, MaxPendingRequests: many, MaxRequests: many, MaxRetries: many,
	}}}
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func speakHTTP2() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
	}}
}

// secure makes a cluster's connections TLS: SNI and the name in the certificate are those of the endpoint's URL, and
// the certificate comes from the CA, or from one the system trusts.
func secure(c *clusterv3.Cluster, endpoints []model.Endpoint, ca, systemCA string) {
	hosts := map[string]bool{}
	for i, e := range endpoints {
		label := &structpb.Struct{Fields: map[string]*structpb.Value{certificateMatch: structpb.NewStringValue(e.Host)}}
		c.LoadAssignment.Endpoints[0].LbEndpoints[i].Metadata = &corev3.Metadata{
			FilterMetadata: map[string]*structpb.Struct{transportMatch: label},
		}
		if hosts[e.Host] {
			continue
		}
		hosts[e.Host] = true
		c.TransportSocketMatches = append(c.TransportSocketMatches, &clusterv3.Cluster_TransportSocketMatch{
			Name: e.Host, Match: label, TransportSocket: tlsTo(e.Host, ca, systemCA),
		})
	}
	c.TransportSocket = c.TransportSocketMatches[0].TransportSocket // why even beside matches: Envoy looks for ALPN here
	if len(hosts) == 1 {                                            // nothing to choose from
		c.TransportSocketMatches = nil
		for _, e := range c.LoadAssignment.Endpoints[0].LbEndpoints {
			e.Metadata = nil
		}
	}
}

func tlsTo(host, ca, systemCA string) *corev3.TransportSocket {
	validation := &tlsv3.CertificateValidationContext{
		TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: systemCA}},
		MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
			SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exact(host),
		}},
	}
	if ca != "" {
		validation.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: ca}}
	}
	sni := host
	if _, err := netip.ParseAddr(host); err == nil { // RFC 6066 §3: no addresses in SNI
		sni = ""
		validation.MatchTypedSubjectAltNames[0].SanType = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	return &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation},
		},
	})}}
}
