// Package authn reads the credentials a request presents, one file per way to authenticate; JWTs are judged by
// internal/jwt. It knows neither policies nor Envoy and must import neither; what it is told comes from proto/.
package authn

import "github.com/postern-gateway/postern/internal/jwt"

// Request is what a way to authenticate may look at. The bytes are the request's own: nobody changes them.
type Request interface {
	// Header returns the value of the header with this lower-case name; nil is absent. Several headers of one
	// name arrive as one value with commas, as Envoy joins them.
	Header(name string) []byte
	// Path returns the path with its query, as it was sent.
	Path() []byte
}

// What became of a credential, and whom it proves, is said in the words of those who verify it.
type (
	Result   = jwt.Result
	Reason   = jwt.Reason
	Identity = jwt.Identity
)

// The answers of a credential.
const (
	Invalid     = jwt.Invalid
	Missing     = jwt.Missing
	Expired     = jwt.Expired
	Unavailable = jwt.Unavailable
	Accepted    = jwt.Accepted
)
