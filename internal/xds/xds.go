// Package xds is the incremental (delta) aggregated discovery service of Envoy, both ends of it: a
// Server that hands out resources at a cost that is that of the change, and a client (Run) that
// follows such a server. It must not import the adapter, the enforcer or the ratelimiter: it knows
// names, versions and bytes, and nothing of what they mean.
//
// Source of the protocol: Envoy docs, "xDS REST and gRPC protocol", and service/discovery/v3.
package xds

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Type URLs of Envoy's resources.
const (
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ScopeType    = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Roles of those who connect: the names of their commands, on the wire, in metrics and in certificates.
const (
	RoleEnvoy       = "envoy"
	RoleEnforcer    = "enforcer"
	RoleRateLimiter = "ratelimiter"
	// RoleProber is the process beside an Envoy, asking it for an adapter. Its id is its Envoy's and "/prober".
	RoleProber = "prober"
)

// DefaultLabel is the label of a node that says none.
const DefaultLabel = "default"

// Wildcard subscribes to every resource of a type.
const Wildcard = "*"

// Node is who connects. On the wire, label and role are strings in the node's metadata.
type Node struct {
	ID    string
	Label string // which projects it serves
	Role  string
	// Version is the build it says it is: Envoy's "1.40.0", or what Postern's own parts are called. "" is unknown.
	Version string
}

// maxVersion bounds what a client says of itself: it ends up in metrics.
const maxVersion = 64

// NodeOf reads a node; without words of its own it is an Envoy of the default label.
func NodeOf(n *corev3.Node) Node {
	fields := n.GetMetadata().GetFields()
	or := func(key, fallback string) string {
		if v := fields[key].GetStringValue(); v != "" {
			return v
		}
		return fallback
	}
	return Node{ID: n.GetId(), Label: or("label", DefaultLabel), Role: or("role", RoleEnvoy), Version: versionOf(n)}
}

// versionOf reads what Envoy says in numbers and Postern's parts in words.
func versionOf(n *corev3.Node) string {
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	v := n.GetUserAgentVersion()
	return strings.ToValidUTF8(v[:min(len(v), maxVersion)], "")
}

// Proto is the node as it goes over the wire; NodeOf is its inverse.
func (n Node) Proto() *corev3.Node {
	node := &corev3.Node{
		Id:      n.ID,
		Cluster: "postern",
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"label": structpb.NewStringValue(n.Label),
			"role":  structpb.NewStringValue(n.Role),
		}},
	}
	if n.Version != "" { // why not else: of Envoy's bootstrap, Envoy fills it in
		node.UserAgentName = "postern"
		node.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: n.Version}
	}
	return node
}

// Encode marshals a resource once, for all who will be sent it.
func Encode(name, version string, m proto.Message) (*discoveryv3.Resource, error) {
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("resource %q: %w", name, err)
	}
	return &discoveryv3.Resource{Name: name, Version: version, Resource: a}, nil
}

// What is sent again after a rejection has "~N" behind its version, so that it is new to whoever
// keeps versions; the content is that of the version before the "~".
func retryVersion(version string, n int) string {
	if n == 0 {
		return version
	}
	return fmt.Sprintf("%s~%d", version, n)
}

// BaseVersion is a version without what a repetition added to it.
func BaseVersion(version string) string {
	base, _, _ := strings.Cut(version, "~")
	return base
}

// byName: types of which an empty first subscription asks for nothing. For all others it asks for
// everything, as LDS and CDS always have.
func byName(typeURL string) bool {
	return typeURL == RouteType || typeURL == EndpointType || typeURL == SecretType
}

// Wild says of a type's first request whether it asks for every resource.
func Wild(r *discoveryv3.DeltaDiscoveryRequest) bool {
	return len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) == 0 && !byName(r.TypeUrl) || slices.Contains(r.ResourceNamesSubscribe, Wildcard)
}

// Partial says that more of the first fill follows a response.
func Partial(r *discoveryv3.DeltaDiscoveryResponse) bool { return r.SystemVersionInfo == partial }

// alone: types of which a change is sent one resource a response. Beside a bad one Envoy applies an
// arbitrary part of the good route configurations, and no scope at all.
func alone(typeURL string) bool {
	return typeURL == RouteType || typeURL == ScopeType
}

// rank orders types so that what is referred to is sent before what refers to it; removals go the
// other way round. Types of our own come first: Envoy's routes need them elsewhere.
func rank(typeURL string) int {
	switch typeURL {
	case SecretType:
		return 1
	case ClusterType:
		return 2
	case EndpointType:
		return 3
	case ListenerType:
		return 4
	case RouteType:
		return 5
	case ScopeType:
		return 6
	}
	return 0
}
