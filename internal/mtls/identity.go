package mtls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Roles a certificate can name. What connects over xDS has the same words there.
const (
	RoleAdapter     = "adapter"
	RoleEnvoy       = xds.RoleEnvoy
	RoleEnforcer    = xds.RoleEnforcer
	RoleRateLimiter = xds.RoleRateLimiter
	RoleClient      = "client" // people and programs that manage a gateway or read its metrics
	// RoleNone is that of a certificate that names none, which is of use only where an authority's word is enough.
	RoleNone = ""
)

// Roles are all there are, in the order in which they are told to people.
var Roles = []string{RoleAdapter, RoleEnvoy, RoleEnforcer, RoleRateLimiter, RoleClient}

// Schemes of the URIs in a certificate that are ours.
const (
	identityScheme = "postern"
	labelScheme    = "postern-label"
)

// Identity is whom a certificate names: one URI postern://ROLE/NAME, and a URI postern-label:LABEL for each label it is
// limited to. The zero value is nobody.
type Identity struct {
	Role, Name string
	Labels     []string // none: any label
}

// String is the identity's URI.
func (i Identity) String() string {
	if i.Role == RoleNone {
		return "nobody"
	}
	return posternv1.IdentityPrefix(i.Role) + i.Name
}

// names have no slash, so that "NAME/…" is unmistakably a part of NAME, and nothing that a URI would have to escape.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// Check says what is wrong with an identity, if anything.
func (i Identity) Check() error {
	if !slices.Contains(Roles, i.Role) {
		return fmt.Errorf("%q is not a role; write one of %s", i.Role, strings.Join(Roles, ", "))
	}
	if !names.MatchString(i.Name) {
		return fmt.Errorf("%q is not a name: letters, digits, dots, dashes and underscores, at most 200", i.Name)
	}
	if slices.Contains(i.Labels, "") {
		return errors.New("a label must not be empty")
	}
	return nil
}

// URIs are the identity as a certificate carries it.
func (i Identity) URIs() []*url.URL {
	uris := []*url.URL{{Scheme: identityScheme, Host: i.Role, Path: "/" + i.Name}}
	for _, label := range i.Labels {
		uris = append(uris, &url.URL{Scheme: labelScheme, Opaque: url.PathEscape(label)})
	}
	return uris
}

// IdentityOf reads whom a certificate names. One without a word of ours names nobody, which is no error.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	var i Identity
	named := false
	for _, uri := range c.URIs {
		switch uri.Scheme {
		case identityScheme:
			if named {
				return Identity{}, errors.New("its certificate names two identities")
			}
			named, i.Role, i.Name = true, uri.Host, strings.TrimPrefix(uri.Path, "/")
		case labelScheme:
			label, err := url.PathUnescape(uri.Opaque)
			if err != nil {
				return Identity{}, fmt.Errorf("its certificate has a label that cannot be read: %q", uri.Opaque)
			}
			i.Labels = append(i.Labels, label)
		}
	}
	switch {
	case !named && len(i.Labels) > 0:
		return Identity{}, errors.New("its certificate has labels and names nobody")
	case !named:
		return i, nil
	}
	if err := i.Check(); err != nil {
		return Identity{}, fmt.Errorf("its certificate names role %q, name %q: %w", i.Role, i.Name, err)
	}
	return i, nil
}

// Admits says whether a node may be what it says it is by this certificate: of the certificate's role, called its name
// or a part of it (NAME/…), and of a label it is limited to, if it is. Beside each Envoy a ratelimiter counts for it while
// the others are away, and a prober asks it for the adapter: an Envoy's certificate is good for those too. The error says what was expected.
func (i Identity) Admits(n xds.Node) error {
	beside := i.Role == RoleEnvoy && (n.Role == RoleRateLimiter || n.Role == xds.RoleProber)
	switch {
	case n.Role != i.Role && !beside:
		return fmt.Errorf("node %q says it is role %q, and its certificate is for role %q", n.ID, n.Role, i.Role)
	case n.ID != i.Name && !strings.HasPrefix(n.ID, i.Name+"/"):
		return fmt.Errorf("node %q is not what its certificate names: its id must be %q, or begin with %q", n.ID, i.Name, i.Name+"/")
	case !i.isFor(n.Label):
		return fmt.Errorf("node %q says its label is %q, and its certificate is for %q", n.ID, n.Label, i.Labels)
	}
	return nil
}

// isFor says whether a certificate is good for a label.
func (i Identity) isFor(label string) bool {
	return len(i.Labels) == 0 || slices.Contains(i.Labels, label)
}

// check says whether an identity is of one of the roles a listener or a client wants.
func (i Identity) check(roles []string) error {
	switch {
	case slices.Contains(roles, i.Role):
		return nil
	case len(roles) == 0:
		return errors.New("nobody may connect")
	case i.Role == RoleNone:
		return fmt.Errorf("its certificate names nobody: it needs a URI %sNAME among its alternative names", posternv1.IdentityPrefix(roles[0]))
	}
	return fmt.Errorf("its certificate is for role %q (%s), and this is for %s", i.Role, i, strings.Join(shown(roles), ", "))
}

func shown(roles []string) []string {
	return slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return r == RoleNone })
}
