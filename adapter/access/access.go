// Package access says who may manage a gateway: roles by label, the file of hashed tokens, and what the scopes of a JWT
// grant. It knows no HTTP and must not import the rest of the adapter, the enforcer or the ratelimiter.
package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// Role is what somebody may do. Each may do what those before it may. The zero value may do nothing.
type Role int

// The roles.
const (
	Nobody   Role = iota
	Viewer        // reads
	Deployer      // changes projects too
	Admin         // everything
)

var roleNames = []string{"nobody", "viewer", "deployer", "admin"}

// String is the role as people write it.
func (r Role) String() string { return roleNames[r] }

// Grant is a role for all labels, or for one.
type Grant struct {
	Role  Role
	Label string // "" is all
}

// String is "ROLE" or "ROLE/LABEL".
func (g Grant) String() string {
	if g.Label == "" {
		return g.Role.String()
	}
	return g.Role.String() + "/" + g.Label
}

// ParseGrant reads "ROLE" or "ROLE/LABEL".
func ParseGrant(text string) (Grant, error) {
	name, label, limited := strings.Cut(text, "/")
	i := slices.Index(roleNames, name)
	switch {
	case i <= 0:
		return Grant{}, fmt.Errorf("%q is not a role; write viewer, deployer or admin, or one of them for a label: deployer/partner", text)
	case limited && !model.ValidLabel(label):
		return Grant{}, fmt.Errorf("%q: %q cannot be a label", text, label)
	}
	return Grant{Role(i), label}, nil
}

// MarshalText is for files and answers.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText is ParseGrant.
func (g *Grant) UnmarshalText(text []byte) (err error) {
	*g, err = ParseGrant(string(text))
	return err
}

// Grants are all that somebody has.
type Grants []Grant

// At is the highest role for a label. For "" it is that for all labels.
func (g Grants) At(label string) Role {
	role := Nobody
	for _, grant := range g {
		if grant.Label == "" || grant.Label == label {
			role = max(role, grant.Role)
		}
	}
	return role
}

// Anywhere is the highest role for any label.
func (g Grants) Anywhere() Role {
	role := Nobody
	for _, grant := range g {
		role = max(role, grant.Role)
	}
	return role
}

// Sees says whether a project, an API or a gateway of these labels may be shown: one of them is enough.
func (g Grants) Sees(labels ...string) bool {
	return g.At("") >= Viewer || slices.ContainsFunc(labels, func(label string) bool { return g.At(label) >= Viewer })
}

// Within are the grants as far as they are for these labels.
func (g Grants) Within(labels []string) Grants {
	var within Grants
	for _, grant := range g {
		for _, label := range labels {
			if grant.Label == "" || grant.Label == label {
				within = append(within, Grant{grant.Role, label})
			}
		}
	}
	return within
}

// Lacking is the grant that is missing for a role at all of these labels; false: none is.
func (g Grants) Lacking(role Role, labels ...string) (Grant, bool) {
	if g.At("") >= role {
		return Grant{}, false
	}
	for _, label := range slices.Sorted(slices.Values(labels)) {
		if g.At(label) < role {
			return Grant{role, label}, true
		}
	}
	return Grant{}, false
}

// Strings are the grants as people write them, sorted.
func (g Grants) Strings() []string {
	texts := make([]string, 0, len(g))
	for _, grant := range slices.SortedFunc(slices.Values(g), func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Role, b.Role))
	}) {
		texts = append(texts, grant.String())
	}
	return texts
}

// Means are how somebody said who he is.
type Means string

// The means.
const (
	ByToken       Means = "token"
	ByJWT         Means = "jwt"
	ByCertificate Means = "certificate"
	BySocket      Means = "socket"
)

// Caller is who calls.
type Caller struct {
	Name    string
	By      Means
	Grants  Grants
	Expires time.Time // zero: never
}

// scopePrefix begins the scopes of a JWT that are roles here.
const scopePrefix = "postern:"

// FromScopes are the roles among a JWT's scopes: postern:ROLE and postern:ROLE/LABEL. Others, which are for others, and what
// is no role grant nothing.
func FromScopes(scopes []string) Grants {
	var grants Grants
	for _, scope := range scopes {
		text, ours := strings.CutPrefix(scope, scopePrefix)
		if !ours {
			continue
		}
		if grant, err := ParseGrant(text); err == nil {
			grants = append(grants, grant)
		}
	}
	return grants
}
