package config

import (
	"slices"
	"strings"
)

// Part is a process that reads the configuration. All take the same file; what it says about a section that a part does
// not read is not judged, and variables there need not be set: that part has no use for the secrets of the others.
type Part string

// The parts. Everything is what tools read, and Run is all services in one process.
const (
	Everything  Part = ""
	Run         Part = "run"
	Adapter     Part = "adapter"
	Enforcer    Part = "enforcer"
	RateLimiter Part = "ratelimiter"
	BesideEnvoy Part = "envoy"
	// Nobody reads only where the data folder is.
	Nobody Part = "nobody"
	// Client asks a gateway over its management listener.
	Client Part = "client"
)

// read are the keys, or how they begin, that each part reads beside those that all do.
var read = map[Part][]string{
	Adapter: {
		"listen", "tls", "mtls", "routing", "cors", "timeouts", "limitsOnRequests", "errors", "backends", "sources", "management", "xds.listen", "xds.tls",
		"enforcer.address", "enforcer.tls", "enforcer.timeout", "ratelimiter.address", "ratelimiter.tls", "ratelimiter.timeout",
		"issuers", "basic", "apiKeys", "subscriptions", "revocation", "backendJWT", "limits", "store", "pushes",
	},
	Enforcer:    {"xds.addresses", "xds.tls", "enforcer.listen", "enforcer.admin", "enforcer.tls"},
	RateLimiter: {"xds.addresses", "xds.tls", "ratelimiter.listen", "ratelimiter.admin", "ratelimiter.tls", "limits.store", "limits.redis"},
	BesideEnvoy: {"xds.addresses", "xds.tls", "management", "envoy"},
	Client:      {"management"},
}

// reads says whether a part has a use for a key.
func (p Part) reads(key string) bool {
	return !p.apart() || within(key, "label", "dataDir", "log") || within(key, read[p]...)
}

// within says whether key is one of these, or below one.
func within(key string, keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool {
		rest, ok := strings.CutPrefix(key, k)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// apart says whether a part is one service alone.
func (p Part) apart() bool { return p != Everything && p != Run }
