// Package jwt says whether a JWT is good and whom it proves: it verifies tokens by the keys of their issuers, which it fetches
// and keeps. It must not import the adapter, the enforcer or the ratelimiter: what it is told comes from proto/.
package jwt

// Reason says what became of a credential. The zero value is a refusal.
type Reason uint8

// The three answers of a credential (yes, no, could not tell), the "no" split by what the caller can do about it.
const (
	Invalid     Reason = iota // no: read, and wrong
	Missing                   // no: there is none
	Expired                   // no: it was good once
	Unavailable               // could not tell
	Accepted                  // yes
)

// Result is the judgement on one credential.
type Result struct {
	Reason Reason
	// Detail says in plain words why it was not accepted. It is shown to callers, so it never quotes the credential,
	// and holds no quote or backslash (RFC 6750 §3, error_description).
	Detail string
	// Identity is whom an accepted credential proves. It is shared: nobody changes it.
	Identity *Identity
}

// Identity is whom a credential proves.
type Identity struct {
	Issuer  string
	Subject string // "" if the credential names none; fit for a header
	Client  string // the application that acts for the subject; fit for a header
	// Scopes are what the credential is good for; ScopeList is the same, separated by spaces.
	Scopes    []string
	ScopeList string
	// Hash stands for the subject where the subject itself must not appear: 16 hex digits of the SHA-256 of issuer
	// and subject. "" if there is no subject.
	Hash string
	// Claims are the top-level claims a header can carry: strings as they are, the rest as JSON.
	Claims map[string]string
}

// carried says whether v arrives as it is in a header: no control characters, no blank at either end that would be
// trimmed away. A value that is not must be left out, never bent: two subjects must not become one.
func carried(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' || c == 0x7f {
			return false
		}
	}
	return v == "" || v[0] != ' ' && v[len(v)-1] != ' '
}
