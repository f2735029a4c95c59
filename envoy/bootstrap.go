package envoy

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Bootstrap is what an Envoy starts with: who it is, and where it gets everything else.
type Bootstrap struct {
	ID    string // of the node
	Label string // which projects it serves
	XDS   string // delta ADS: "unix:/path" or "host:port"
	Admin string // its admin interface: "unix:/path" or "host:port"
	// MaxConnections is how many clients may be connected at once; more are turned away.
	MaxConnections int64
}

// xdsCluster is the only cluster an Envoy knows before it has asked for the others.
const xdsCluster = posternv1.XDSCluster

// logFormat makes every line of Envoy's own log JSON, for logRelay.
var logFormat = map[string]string{"level": "%l", "logger": "%n", "msg": "%j"}

// Render is the bootstrap as JSON.
func (b Bootstrap) Render() ([]byte, error) {
	http2, err := anypb.New(&httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		},
	}})
	if err != nil {
		return nil, err
	}
	overload, err := b.overload()
	if err != nil {
		return nil, err
	}
	fields := map[string]*structpb.Value{}
	for key, value := range logFormat {
		fields[key] = structpb.NewStringValue(value)
	}
	return protojson.MarshalOptions{Multiline: true, UseProtoNames: true}.Marshal(&bootstrapv3.Bootstrap{
		Node:  xds.Node{ID: b.ID, Label: b.Label, Role: xds.RoleEnvoy}.Proto(),
		Admin: &bootstrapv3.Admin{Address: address(b.Admin)},
		ApplicationLogConfig: &bootstrapv3.Bootstrap_ApplicationLogConfig{LogFormat: &bootstrapv3.Bootstrap_ApplicationLogConfig_LogFormat{
			LogFormat: &bootstrapv3.Bootstrap_ApplicationLogConfig_LogFormat_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
		}},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		StatsConfig:         withoutTableStats(),
		OverloadManager:     overload,
		DynamicResources:    dynamic(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{{
			Name:                          xdsCluster,
			ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			ConnectTimeout:                durationpb.New(time.Second),
			TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: xdsCluster,
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(b.XDS)}},
				}}}},
			},
		}}},
	})
}

// dynamic asks for everything over one delta ADS stream. Envoy's own back-off grows to 30 s, which would keep it
// from a restarted adapter for that long.
func dynamic() *bootstrapv3.Bootstrap_DynamicResources {
	ads := func() *corev3.ConfigSource {
		return &corev3.ConfigSource{
			ResourceApiVersion:    corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		}
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		CdsConfig: ads(),
		LdsConfig: ads(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: xdsCluster,
				RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
					BaseInterval: durationpb.New(200 * time.Millisecond),
					MaxInterval:  durationpb.New(time.Second),
				}},
			}}}},
		},
	}
}

// withoutTableStats leaves out the counters that Envoy keeps for each route table: 54 MiB with 10,000 of them, and they
// say what the adapter's own metrics say of its resources. They are called by the first of the listeners that share it.
func withoutTableStats() *metricsv3.StatsConfig {
	tables := &matcherv3.ListStringMatcher{}
	for _, listener := range []string{"http", "https", "probe"} {
		tables.Patterns = append(tables.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "http." + listener + ".rds."},
		})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_ExclusionList{ExclusionList: tables}}}
}

// overload bounds the connections; Envoy has no bound of its own and would fail for want of file descriptors.
func (b Bootstrap) overload() (*overloadv3.OverloadManager, error) {
	connections, err := anypb.New(&downstreamv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: b.MaxConnections})
	if err != nil {
		return nil, err
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name:       "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: connections},
		}},
	}, nil
}

// address is "unix:/path" or "host:port" in Envoy's words.
func address(text string) *corev3.Address {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}}
	}
	host, port, _ := net.SplitHostPort(text)
	number, _ := strconv.ParseUint(port, 10, 16) // the configuration was checked
	if host == "localhost" {
		host = "127.0.0.1" // why: Envoy takes addresses only
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
	}}}
}

// removeAdminSocket: Envoy leaves it behind.
func (b Bootstrap) removeAdminSocket() {
	if path, ok := strings.CutPrefix(b.Admin, "unix:"); ok {
		_ = os.Remove(path)
	}
}
