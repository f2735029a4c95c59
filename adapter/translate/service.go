package translate

import (
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
)

// Clusters of the services Envoy calls.
const (
	enforcerCluster         = "postern-enforcer"
	limiterCluster          = "postern-ratelimiter"
	limiterWithLocalCluster = "postern-ratelimiter-or-local"
	accessLogCluster        = "postern-accesslog"
)

// staticClusters are the gateway's own. A service without an address has a cluster without endpoints: calling it fails
// at once.
func staticClusters(s model.Settings) []*clusterv3.Cluster {
	clusters := []*clusterv3.Cluster{
		nowhere(notFoundCluster),
		nowhere(methodNotAllowedCluster),
		nowhere(blockedCluster),
		nowhere(retiredCluster),
		service(enforcerCluster, s.Enforcer),
		breaking(service(limiterCluster, s.RateLimiter), 3, time.Second), // why 3: one slow answer must not refuse the next second's requests
	}
	if s.LocalLimiter.Address != "" {
		clusters = append(clusters, breaking(service(limiterWithLocalCluster, s.RateLimiter, s.LocalLimiter), 2, 2*time.Second)) // why longer: somebody counts meanwhile
	}
	if s.AccessLog.Address != "" {
		clusters = append(clusters, service(accessLogCluster, s.AccessLog))
	}
	return clusters
}

// service is the cluster of a gRPC service; each further address stands in for those before it.
func service(name string, services ...model.Service) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       seconds(250 * time.Millisecond),
		CircuitBreakers:      unlimited(),
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: name},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptions: pack(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: speakHTTP2(),
		})},
	}
	for i, s := range services {
		if s.Address == "" {
			continue
		}
		if host, _, ok := strings.Cut(s.Address, ":"); ok && host != "unix" {
			if host, _ := hostPort(s.Address); !isIP(host) {
				resolveNames(c)
			}
		}
		endpoint := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: address(s.Address)},
		}}
		c.LoadAssignment.Endpoints = append(c.LoadAssignment.Endpoints, &endpointv3.LocalityLbEndpoints{
			Priority: uint32(i), LbEndpoints: []*endpointv3.LbEndpoint{endpoint},
		})
		switch {
		case s.Role == "":
		case len(services) == 1:
			authenticate(c, s.Role)
		default:
			authenticateOne(c, endpoint, s.Role)
		}
	}
	return c
}

func isIP(host string) bool { _, err := netip.ParseAddr(host); return err == nil }

func address(a string) *corev3.Address {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return socket(hostPort(a))
}

// breaking leaves an endpoint alone for a while after so many failed calls in a row: the next go to the next address,
// or fail at once, in well under a millisecond.
func breaking(c *clusterv3.Cluster, failures uint32, pause time.Duration) *clusterv3.Cluster {
	c.OutlierDetection = &clusterv3.OutlierDetection{
		Interval:                           seconds(500 * time.Millisecond),
		BaseEjectionTime:                   seconds(pause),
		MaxEjectionTime:                    seconds(5 * pause),
		MaxEjectionPercent:                 wrapperspb.UInt32(100),
		ConsecutiveGatewayFailure:          wrapperspb.UInt32(failures),
		EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(100),
		EnforcingConsecutive_5Xx:           wrapperspb.UInt32(0),
		EnforcingSuccessRate:               wrapperspb.UInt32(0),
	}
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}} // why: else a lone ejected host is asked
	return c
}

// grpcService calls a service; no timeout is for streams.
func grpcService(cluster string, timeout time.Duration) *corev3.GrpcService {
	g := &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
	}
	if timeout > 0 {
		g.Timeout = seconds(timeout)
	}
	return g
}
