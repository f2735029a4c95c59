package accesslog

// Whose metadata names the caller. What they say is in proto/postern/v1 too, which says it to the enforcer.
const (
	metadataEnforcer = "envoy.filters.http.ext_authz"
	metadataClient   = "client"
)

// methodNames are what RequestMethod's numbers stand for. Envoy names no others: a request with another method, which no
// API has, is logged without one. Source: Envoy API, config/core/v3/base.proto.
var methodNames = [...]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// protocolNames are what HTTPVersion's numbers stand for. Source: Envoy API, data/accesslog/v3/accesslog.proto.
var protocolNames = [...]string{"", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}

// The flag that is no boolean but a message with a reason, of which there is one.
const (
	flagUnauthorized      = 13
	unauthorizedReason    = 1<<3 | varint // ResponseFlags.Unauthorized.reason
	reasonExternalService = 1
)

// flagNames are Envoy's short names of ResponseFlags' fields, by number. Source: Envoy's documentation,
// configuration/observability/access_log, %RESPONSE_FLAGS%.
var flagNames = [...]string{
	1:  "LH",    // failed local health check
	2:  "UH",    // no healthy upstream
	3:  "UT",    // upstream request timeout
	4:  "LR",    // local reset
	5:  "UR",    // upstream remote reset
	6:  "UF",    // upstream connection failure
	7:  "UC",    // upstream connection termination
	8:  "UO",    // upstream overflow
	9:  "NR",    // no route found
	10: "DI",    // delay injected
	11: "FI",    // fault injected
	12: "RL",    // rate limited
	13: "UAEX",  // unauthorized by the external service
	14: "RLSE",  // rate limit service error
	15: "DC",    // downstream connection termination
	16: "URX",   // upstream retry limit exceeded
	17: "SI",    // stream idle timeout
	18: "IH",    // invalid Envoy request headers
	19: "DPE",   // downstream protocol error
	20: "UMSDR", // upstream max stream duration reached
	21: "RFCF",  // response from cache filter
	22: "NFCF",  // no filter config found
	23: "DT",    // duration timeout
	24: "UPE",   // upstream protocol error
	25: "NC",    // no cluster found
	26: "OM",    // overload manager
	27: "DF",    // DNS resolution failure
	28: "DR",    // downstream remote reset
}
