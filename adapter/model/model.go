// Package model is the gateway's own description of what it serves: plain values, resolved,
// with every default filled in, free of OpenAPI, Envoy and protobuf types. It must import
// the standard library alone.
//
// A value of this package is never changed after it was built: packages hand it on and keep it.
package model

import "time"

// Project is the unit of deployment, compiled: its APIs, and the labels of the gateways that serve them.
type Project struct {
	Name   string   `yaml:"name"`
	Labels []string `yaml:"labels,omitempty"`
	APIs   []API    `yaml:"apis"`
}

// API is one definition, compiled. Name and version together are its identity.
type API struct {
	Project string `yaml:"project"`
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Title   string `yaml:"title,omitempty"`

	// BasePath starts with "/" and ends without one; the root is "/".
	BasePath string `yaml:"basePath"`
	// Aliases are base paths under which the same operations are served, too: that without the version, of the default one.
	Aliases []string `yaml:"aliases,omitempty"`
	// Hosts are lower case and sorted, "*.example.com" for any name below; empty means any host.
	Hosts []string `yaml:"hosts,omitempty"`

	// State other than served holds for every operation, and for paths that no operation has.
	State Lifecycle `yaml:"state,omitempty"`

	// CORS is nil where the gateway-wide default applies; a CORS that is not Enabled switches it off.
	CORS *CORS `yaml:"cors,omitempty"`
	// Tier is the limit all operations without a tier of their own share; nil is unlimited.
	Tier *Limit `yaml:"tier,omitempty"`
	// Limits hold beside the tier, for every operation.
	Limits []Limit `yaml:"limits,omitempty"`

	// Operations are sorted by Path, then Method.
	Operations []Operation `yaml:"operations"`
	Origin     Origin      `yaml:"origin"`
}

// ID is "name/version", the API's name everywhere outside the code.
func (a API) ID() string { return a.Name + "/" + a.Version }

// Operation is one method of one path template.
type Operation struct {
	Method string `yaml:"method"` // upper case
	// Path is the template as OpenAPI writes it, below the base path: "/pet/{petId}", "/files/*".
	Path     string   `yaml:"path"`
	Security Security `yaml:"security"`

	// Production serves what has no key type or says production; where the state is not served it may have no endpoints.
	// Sandbox is nil where there is none.
	Production Backend  `yaml:"production"`
	Sandbox    *Backend `yaml:"sandbox,omitempty"`

	// Tier is the operation's own limit; nil leaves it to the API's.
	Tier *Limit `yaml:"tier,omitempty"`
	// Untiered: the operation has no tier of its own and does not share the API's (its tier is "Unlimited").
	Untiered bool `yaml:"untiered,omitempty"`
	// Limits hold beside those of the API.
	Limits []Limit `yaml:"limits,omitempty"`

	// State is the operation's own; StateOf says which one counts.
	State    Lifecycle `yaml:"state,omitempty"`
	Lifespan Lifespan  `yaml:"lifespan,omitempty"`

	Origin Origin `yaml:"origin"`
}

// ID is "METHOD /path", unique within an API.
func (o Operation) ID() string { return o.Method + " " + o.Path }

// Security says who may call an operation. The zero value has no alternative and so admits nobody.
type Security struct {
	// Disabled: nobody is asked, and the client's credentials travel to the backend unchanged.
	Disabled bool `yaml:"disabled,omitempty"`
	// Alternatives are OR-ed (OpenAPI: the security requirement list).
	Alternatives []Alternative `yaml:"alternatives,omitempty"`
	// ForwardCredentials leaves the credential that was checked in the request to the backend.
	ForwardCredentials bool `yaml:"forwardCredentials,omitempty"`
	// IdentityHeaders are claims handed to the backend: claim → header, beside the x-postern- ones.
	IdentityHeaders map[string]string `yaml:"identityHeaders,omitempty"`
}

// Anonymous says that no caller is ever asked for a credential: the enforcer need not be called.
func (s Security) Anonymous() bool {
	if s.Disabled {
		return true
	}
	for _, a := range s.Alternatives {
		if len(a.Requirements) > 0 {
			return false
		}
	}
	return len(s.Alternatives) > 0
}

// Alternative is one entry of the list: all its requirements hold together (AND). None at all is anonymous.
type Alternative struct {
	Requirements []Requirement `yaml:"requirements,omitempty"`
}

// Requirement asks for one credential and what it must be good for.
type Requirement struct {
	Scheme Scheme   `yaml:"scheme"`
	Scopes []string `yaml:"scopes,omitempty"`
	// AnyScope: one of Scopes is enough; else all are needed, as OpenAPI says.
	AnyScope bool `yaml:"anyScope,omitempty"`
}

// SchemeKind is how a credential is presented and proved. The zero value is no kind and admits nobody.
type SchemeKind string

// Bearer is a JWT after "Bearer " (RFC 6750): OpenAPI's http/bearer, oauth2 and openIdConnect.
const Bearer SchemeKind = "bearer"

// Scheme is an OpenAPI security scheme of a kind this build serves.
type Scheme struct {
	Name string     `yaml:"name"` // as the definition calls it
	Kind SchemeKind `yaml:"kind"`
	// Place and Key say where the credential is: In "header", "query" or "cookie", and its name there.
	// For In "header" with Key "authorization" the value is preceded by "Bearer "; in other places
	// and under other names that prefix is optional.
	In  string `yaml:"in"`
	Key string `yaml:"key"`
}

// Backend is where an operation's requests go.
type Backend struct {
	// Endpoints are at least one; requests are spread over them evenly.
	Endpoints []Endpoint `yaml:"endpoints"`
	// HTTP2 speaks h2c to http endpoints and offers h2 by ALPN to https ones.
	HTTP2 bool `yaml:"http2,omitempty"`
	// CA is the PEM bundle that must have signed an https endpoint's certificate; empty: the system's.
	CA string `yaml:"ca,omitempty"`
	// Timeout bounds the whole answer; zero: the gateway's timeouts.request.
	Timeout time.Duration `yaml:"timeout,omitempty"`
	Retry   *Retry        `yaml:"retry,omitempty"`
}

// Endpoint is one absolute URL of a backend.
type Endpoint struct {
	TLS  bool   `yaml:"tls,omitempty"`
	Host string `yaml:"host"` // lower case; an IPv6 address without brackets
	Port uint16 `yaml:"port"`
	// Path is put before the operation's path: "" or "/v2", never with a slash at its end.
	Path string `yaml:"path,omitempty"`
	// Authority is the Host header the backend sees: the URL's own, with the port only where it was written.
	Authority string `yaml:"authority"`
}

// Retry repeats a request that failed before it was answered, or was answered with one of Statuses.
type Retry struct {
	Count    int      `yaml:"count"` // repetitions after the first try, 1 to 5
	Statuses []uint32 `yaml:"statuses"`
	// Interval grows by its own length to MaxInterval; zero values are Envoy's 25 ms and ten times that.
	Interval    time.Duration `yaml:"interval,omitempty"`
	MaxInterval time.Duration `yaml:"maxInterval,omitempty"`
	// AnyMethod repeats POST and PATCH too; else only the idempotent methods (RFC 9110 §9.2.2) are.
	AnyMethod bool `yaml:"anyMethod,omitempty"`
}

// CORS is what browsers of other origins may do (Fetch standard, CORS protocol).
type CORS struct {
	Enabled     bool     `yaml:"enabled"`
	Origins     []string `yaml:"origins,omitempty"` // "*" inside one stands for any run of characters but "/"
	Methods     []string `yaml:"methods,omitempty"`
	Headers     []string `yaml:"headers,omitempty"`
	Expose      []string `yaml:"expose,omitempty"`
	Credentials bool     `yaml:"credentials,omitempty"`
	// MaxAge is how long a preflight's answer may be kept; zero: the browser's own.
	MaxAge time.Duration `yaml:"maxAge,omitempty"`
}

// OnFailure is what a limit does while nobody can count. The zero value denies.
type OnFailure string

// What a limit does while its counter is away.
const (
	FailDeny  OnFailure = "deny"  // 503
	FailAllow OnFailure = "allow" // the request passes
	FailLocal OnFailure = "local" // counted beside the Envoy, with the same numbers
)

// LimitKey is what a limit counts by.
type LimitKey string

// What this build can count by.
const (
	PerAPI       LimitKey = "api"       // one counter for the API
	PerOperation LimitKey = "operation" // one counter for each operation
)

// Limit is so many requests in a window, counted by its keys.
type Limit struct {
	Name string     `yaml:"name"`
	Per  []LimitKey `yaml:"per"`
	// Count requests fit into one Window, which is aligned to the Unix epoch in UTC.
	Count  uint64        `yaml:"count"`
	Window time.Duration `yaml:"window"`
	// OnFailure "" is the gateway's limits.onFailure.
	OnFailure OnFailure `yaml:"onFailure,omitempty"`
	// Shadow counts and reports, and never refuses.
	Shadow bool   `yaml:"shadow,omitempty"`
	Origin Origin `yaml:"origin"`
}
