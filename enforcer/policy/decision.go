package policy

import (
	"net/http"
	"strings"

	"github.com/postern-gateway/postern/enforcer/authn"
)

// Reason says why a request was admitted or refused. The zero value refuses.
type Reason uint8

// Reasons, the refusals in the order in which one is preferred over another as the answer to a request for which all
// alternatives failed: what could not be told beats what was refused, and what is nearest to being admitted comes next.
const (
	Refused     Reason = iota // nobody is admitted, or nothing said why not
	Missing                   // no credential
	Invalid                   // a credential that is wrong
	Expired                   // one that was good once
	Several                   // more than one where one is expected
	Scope                     // a good one, not for this
	Unavailable               // could not tell
	NotKnown                  // could not tell: the policy has not arrived yet
	Anonymous                 // admitted: no credential is asked for
	Allowed                   // admitted
	reasons                   // how many there are
)

// Reasons is how many different reasons there are.
const Reasons = int(reasons)

var reasonNames = [reasons]string{
	"refused", "missing", "invalid", "expired", "several", "scope", "unavailable", "policy-not-known", "anonymous", "allowed",
}

// String is the reason as metrics name it.
func (r Reason) String() string { return reasonNames[r] }

// answers are the statuses and codes of design §3.4.
var answers = [reasons]struct {
	status int
	code   string
	retry  int // Retry-After, in seconds
}{
	Refused:     {http.StatusForbidden, "900908", 0},
	Missing:     {http.StatusUnauthorized, "900902", 0},
	Several:     {http.StatusUnauthorized, "900901", 0},
	Invalid:     {http.StatusUnauthorized, "900901", 0},
	Expired:     {http.StatusUnauthorized, "900903", 0},
	Scope:       {http.StatusForbidden, "900910", 0},
	Unavailable: {http.StatusServiceUnavailable, "900900", 5},
	NotKnown:    {http.StatusServiceUnavailable, "900900", 1},
}

// reasonOf translates what became of a credential.
func reasonOf(r authn.Reason) Reason {
	switch r {
	case authn.Accepted:
		return Allowed
	case authn.Missing:
		return Missing
	case authn.Expired:
		return Expired
	case authn.Unavailable:
		return Unavailable
	default:
		return Invalid
	}
}

// Decision is the outcome for one request. The zero value denies.
type Decision struct {
	Reason Reason
	API    string
	Scheme string // the definition's name of the scheme that decided; "" if none did

	// A refusal:
	Detail    string // a sentence for the caller
	Challenge string // WWW-Authenticate; "" for none

	// A pass: what changes in the request to the backend, and who calls (hashed).
	Set    []Header
	Remove []string // header names
	Client string
}

// Header is a header to set, in place of any of that name.
type Header struct{ Name, Value string }

// Pass says whether the request is admitted.
func (d *Decision) Pass() bool { return d.Reason == Allowed || d.Reason == Anonymous }

// Status is the HTTP status of a refusal.
func (d *Decision) Status() int { return answers[d.refusal()].status }

// Code is the error code of a refusal (design §3.4).
func (d *Decision) Code() string { return answers[d.refusal()].code }

// RetryAfter is when to try again, in seconds; 0 if trying again is of no use.
func (d *Decision) RetryAfter() int { return answers[d.refusal()].retry }

// refusal keeps a decision that nobody should ask about its status from having none.
func (d *Decision) refusal() Reason {
	if d.Pass() || d.Reason >= reasons {
		return Refused
	}
	return d.Reason
}

// Deny is the refusal of a request that no operation's policy could be asked about.
func Deny(r Reason, detail string) Decision { return Decision{Reason: r, Detail: sentence(detail)} }

// sentence is what callers read of words that are written here as those of an error are.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:] + "."
}

// challenge is what WWW-Authenticate says (RFC 6750 §3). A caller who sent nothing is told no error.
func challenge(realm string, r Reason, detail string, scopes []string) string {
	var b strings.Builder
	b.WriteString(`Bearer realm="`)
	b.WriteString(quotable(realm))
	b.WriteByte('"')
	attribute := func(name, value string) {
		b.WriteString(`, ` + name + `="` + value + `"`)
	}
	switch r {
	case Several:
		attribute("error", "invalid_request")
	case Invalid, Expired:
		attribute("error", "invalid_token")
	case Scope:
		attribute("error", "insufficient_scope")
	default:
		return b.String()
	}
	attribute("error_description", quotable(detail))
	if r == Scope && len(scopes) > 0 {
		attribute("scope", quotable(strings.Join(scopes, " ")))
	}
	return b.String()
}

// quotable leaves out what RFC 6750 §3 does not allow between quotes.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}
