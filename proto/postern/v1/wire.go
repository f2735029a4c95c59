package posternv1

import (
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/proto"
)

// Type URLs of Postern's own resources on delta ADS.
const (
	PolicyType = "type.googleapis.com/postern.v1.Policy"
	IssuerType = "type.googleapis.com/postern.v1.Issuer"
	LimitsType = "type.googleapis.com/postern.v1.Limits"
	ProbeType  = "type.googleapis.com/postern.v1.Probe"
)

// Words a resource may require of its reader (the `requires` fields).
const (
	RequiresBearer      = "bearer"
	RequiresFixedWindow = "fixed-window"
)

// Keys of a route's ext_authz context_extensions, which only the adapter can write.
const (
	ContextAPI       = "api"       // "petstore/1.0.0"
	ContextOperation = "operation" // "GET /pet/{petId}"
	ContextPolicy    = "policy"    // the resource name of the API's Policy
)

// DescriptorLimit is the key of the first entry of every rate limit descriptor; its value is a LimitRule's id.
const DescriptorLimit = "limit"

// What the enforcer and the ratelimiter put into the dynamic metadata of their answers, a refusal's as well as a
// pass's. Envoy's local reply makes the error body from it, so that one place knows the shape of errors; the body of a
// refusal itself is its detail in plain words, which is what gRPC callers see.
const (
	MetadataCode   = "code"   // "900902"
	MetadataTitle  = "title"  // "Unauthorized"
	MetadataClient = "client" // hashed subject, for access logs: 16 hex digits
)

// RouteMetadata is the namespace of what a route says about itself: the Metadata keys above (for the gateway's own
// 404 and 405), MetadataAPI, MetadataPolicy and MetadataAllow; what its virtual host says, it need not repeat. The operation is
// the route's name.
const (
	RouteMetadata  = "postern"
	MetadataAPI    = "api"
	MetadataPolicy = "policy" // the resource name of the API's Policy
	MetadataAllow  = "allow"
)

// What the listener for probes answers every request with, by the route it chose, which may be that of a 404 or 405. What
// there is none of is left out.
const (
	ProbeOperation = "x-postern-operation"
	ProbeAPI       = "x-postern-api"
	ProbePolicy    = "x-postern-policy"
	ProbeCluster   = "x-postern-cluster" // where the request would have gone; none also where Envoy does not know it
)

// Clusters that the gateway's own 404s and 405s lead to.
const (
	NotFoundCluster         = "postern-not-found"
	MethodNotAllowedCluster = "postern-method-not-allowed"
)

// HeaderPrefix is reserved: whatever a client sends under it is removed at the door.
const HeaderPrefix = "x-postern-"

// What the backend is told about the caller.
const (
	HeaderSubject = "x-postern-subject"
	HeaderScopes  = "x-postern-scopes" // separated by spaces
	HeaderClient  = "x-postern-client"
)

// Mutual TLS between Envoy and the services it calls: the cluster of its bootstrap, at whose socket the process beside it
// listens, and the secrets that this process offers there. Keys never leave their machine.
const (
	XDSCluster        = "postern-xds"
	IdentitySecret    = "postern-identity"    // what Envoy shows
	AuthoritiesSecret = "postern-authorities" // whom it believes
)

// IdentityPrefix begins the URI by which a certificate names a service of a role.
func IdentityPrefix(role string) string { return "postern://" + role + "/" }

// ContentHash names content: the SHA-256, in hex, of m's deterministic encoding. Two messages of
// the same build with equal content have equal hashes.
func ContentHash(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // only invalid UTF-8 or a missing required field can cause it; neither is ever built here
		panic("posternv1: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
