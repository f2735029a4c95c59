package model

import "time"

// Settings are the gateway-wide choices of postern.yaml that translation needs, defaults filled in.
type Settings struct {
	// HTTP is the data plane's plain listener, "host:port"; "" is none.
	HTTP string `yaml:"http"`
	// HTTPS is its listener with TLS, "host:port"; "" is none.
	HTTPS string `yaml:"https,omitempty"`
	TLS   TLS    `yaml:"tls,omitempty"`

	Routing  Routing  `yaml:"routing"`
	CORS     CORS     `yaml:"cors"` // what an API without its own gets
	Timeouts Timeouts `yaml:"timeouts"`

	HeaderBytes        uint64 `yaml:"headerBytes"`
	BodyBytes          uint64 `yaml:"bodyBytes"`
	KeepEscapedSlashes bool   `yaml:"keepEscapedSlashes"` // else %2F in a path is refused

	// SystemCA is the file of authorities trusted for backends that name none of their own, on the machines the Envoys run
	// on; "" is /etc/ssl/certs/ca-certificates.crt.
	SystemCA string `yaml:"systemCA,omitempty"`

	ErrorFormat ErrorFormat `yaml:"errorFormat"`
	OnFailure   OnFailure   `yaml:"onFailure"` // limits.onFailure
	// TierPerAPI: an API's tier replaces those of its operations; else an operation's own replaces the API's.
	TierPerAPI bool `yaml:"tierPerAPI"`

	Enforcer    Service `yaml:"enforcer"`
	RateLimiter Service `yaml:"rateLimiter"`
	// LocalLimiter is the counter beside each Envoy that stands in for RateLimiter (OnFailure local).
	LocalLimiter Service `yaml:"localLimiter"`
	// AccessLog is where Envoy streams its access log (gRPC access log service); "" is nowhere.
	AccessLog Service `yaml:"accessLog"`
	// Probe is where each Envoy tells the process beside it what it makes of requests, "unix:/path"; "" is nowhere.
	Probe string `yaml:"probe,omitempty"`
}

// Service is a gRPC service Envoy calls.
type Service struct {
	// Address is "unix:/path" or "host:port"; "" is not there.
	Address string        `yaml:"address"`
	Timeout time.Duration `yaml:"timeout,omitempty"`
	// Role is what its certificate must name: Envoy calls it by mutual TLS. "" is plain text.
	Role string `yaml:"role,omitempty"`
}

// Routing is how requests find their route table (design §4.1). It is fixed for a gateway's life.
type Routing struct {
	// Flat puts everything into one scope; else the scope is the path segment numbered Segment, from 1.
	Flat    bool `yaml:"flat"`
	Segment int  `yaml:"segment"`
}

// Timeouts of the data plane.
type Timeouts struct {
	Request    time.Duration `yaml:"request"`    // where a backend says nothing
	Idle       time.Duration `yaml:"idle"`       // of a connection, and of a stream
	MaxRequest time.Duration `yaml:"maxRequest"` // what a backend may say at most
}

// ErrorFormat is the shape of the bodies the gateway itself answers with.
type ErrorFormat string

// The body shapes of design §3.4 and compat.md §5.
const (
	ErrorsProblem  ErrorFormat = "problem"  // RFC 9457
	ErrorsFault    ErrorFormat = "fault"    // API Microgateway 3.x
	ErrorsEnforcer ErrorFormat = "enforcer" // Choreo Connect's enforcer
	ErrorsRouter   ErrorFormat = "router"   // Choreo Connect's router
)
