// Package policy holds what each operation asks of its callers, compiled when it arrives, and decides by it. It uses
// authn for who calls; it must not import gRPC, Envoy's types or the adapter.
package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/enforcer/authn"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// verifier judges a bearer token; jwt.Verifier is one.
type verifier interface {
	Verify(ctx context.Context, token []byte) authn.Result
}

// Policy is one API's, compiled. It is never changed.
type Policy struct {
	API        string
	Schemes    []string // of all its operations; sorted
	operations map[string]*Operation
}

// Operation is what one operation asks, or several that ask the same. The zero value admits nobody.
type Operation struct {
	api          string
	tokens       verifier
	places       []authn.Bearer // each read once a request
	alternatives []alternative  // OR; those that ask for something
	anonymous    bool           // callers without a credential are admitted
	forward      bool           // the credential stays in the request
	identity     []claimHeader
	// hidden are the headers that tell of the caller: what the client itself sent under their names must go.
	hidden []string
}

// alternative holds if all its requirements do; it has at least one.
type alternative []requirement

// requirement asks for a credential at one of the operation's places.
type requirement struct {
	scheme string
	place  int // index into Operation.places
	scopes []string
	any    bool // one of scopes is enough
}

// claimHeader hands a claim to the backend.
type claimHeader struct{ claim, header string }

// Compile makes a Policy of a resource, or says why this build can not enforce it. data are the bytes m was decoded
// from: name must be the hash of the content, which is what makes it safe that policies of one name are never replaced.
func Compile(name string, data []byte, m *posternv1.Policy, tokens verifier) (*Policy, error) {
	sum := sha256.Sum256(data)
	if name != hex.EncodeToString(sum[:]) && name != posternv1.ContentHash(m) {
		return nil, fmt.Errorf("policy %s of %s: its name is not the hash of its content", name, m.GetApi())
	}
	for _, word := range m.GetRequires() {
		if word != posternv1.RequiresBearer {
			return nil, fmt.Errorf("policy %s of %s requires %q, which this enforcer does not know: it is older than the adapter", name, m.GetApi(), word)
		}
	}
	p := &Policy{API: m.GetApi(), operations: make(map[string]*Operation, len(m.GetOperations()))}
	alike := make(map[string]*Operation) // most operations of an API ask the same; they share one
	for _, o := range m.GetOperations() {
		operation := o.GetOperation()
		if p.operations[operation] != nil {
			return nil, fmt.Errorf("policy %s of %s: operation %q is there twice", name, p.API, operation)
		}
		asks := proto.CloneOf(o)
		asks.Operation = ""
		content := posternv1.ContentHash(asks)
		if alike[content] == nil {
			compiled, err := compileOperation(o)
			if err != nil {
				return nil, fmt.Errorf("policy %s of %s: operation %q: %w", name, p.API, operation, err)
			}
			compiled.api, compiled.tokens = p.API, tokens
			alike[content] = compiled
			p.Schemes = append(p.Schemes, compiled.schemes()...)
		}
		p.operations[operation] = alike[content]
	}
	slices.Sort(p.Schemes)
	p.Schemes = slices.Compact(p.Schemes)
	return p, nil
}

// Decode reads a Policy resource; unknown fields are kept, for a newer adapter may have hashed them.
func Decode(data []byte) (*posternv1.Policy, error) {
	m := new(posternv1.Policy)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("not a policy: %w", err)
	}
	return m, nil
}

func compileOperation(m *posternv1.OperationPolicy) (*Operation, error) {
	o := &Operation{forward: m.GetForwardCredentials()}
	for _, a := range m.GetAlternatives() {
		if len(a.GetRequirements()) == 0 {
			o.anonymous = true
			continue
		}
		var compiled alternative
		for _, r := range a.GetRequirements() {
			place, err := o.placeOf(r)
			if err != nil {
				return nil, fmt.Errorf("scheme %q: %w", r.GetScheme(), err)
			}
			compiled = append(compiled, requirement{
				scheme: r.GetScheme(), place: place, scopes: r.GetScopes(), any: r.GetAnyScope(),
			})
		}
		o.alternatives = append(o.alternatives, compiled)
	}
	if err := o.mapClaims(m.GetIdentityHeaders()); err != nil {
		return nil, err
	}
	o.hidden = []string{posternv1.HeaderSubject, posternv1.HeaderScopes, posternv1.HeaderClient}
	for _, h := range o.identity {
		o.hidden = append(o.hidden, h.header)
	}
	return o, nil
}

// placeOf returns the index of the place a requirement's credential stands at.
func (o *Operation) placeOf(r *posternv1.Requirement) (int, error) {
	b := r.GetBearer()
	if b == nil {
		return 0, errors.New("a kind of security this enforcer does not know")
	}
	place := authn.Bearer{Place: b.GetPlace(), Key: b.GetKey()}
	switch b.GetPlace() {
	case posternv1.Bearer_PLACE_HEADER:
		if !headerName(place.Key) {
			return 0, fmt.Errorf("%q is not the name of a header in lower case", place.Key)
		}
	case posternv1.Bearer_PLACE_QUERY, posternv1.Bearer_PLACE_COOKIE:
		if place.Key == "" {
			return 0, errors.New("the query parameter or cookie has no name")
		}
	case posternv1.Bearer_PLACE_UNSPECIFIED: // finds nothing, admits nobody
	default:
		return 0, fmt.Errorf("a place this enforcer does not know (%d)", b.GetPlace())
	}
	if i := slices.Index(o.places, place); i >= 0 {
		return i, nil
	}
	o.places = append(o.places, place)
	return len(o.places) - 1, nil
}

// untouchable are headers that frame the request, and the gateway's own: a claim in one of them would change where or how
// the request is sent, or who the backend is told sent it.
var untouchable = []string{
	"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade",
	"keep-alive", "proxy-connection", "expect", "cookie",
	posternv1.HeaderSubject, posternv1.HeaderScopes, posternv1.HeaderClient,
	posternv1.HeaderPrefix + "scope", posternv1.HeaderPrefix + "env", // routing reads them
}

// mapClaims takes over which claims go into which headers, in a fixed order.
func (o *Operation) mapClaims(headers map[string]string) error {
	for claim, name := range headers {
		header := strings.ToLower(name)
		switch {
		case !headerName(header) || slices.Contains(untouchable, header):
			return fmt.Errorf("claim %q can not go into a header %q", claim, name)
		case slices.ContainsFunc(o.identity, func(h claimHeader) bool { return h.header == header }):
			return fmt.Errorf("two claims go into the header %q", name)
		}
		o.identity = append(o.identity, claimHeader{claim, header})
	}
	slices.SortFunc(o.identity, func(a, b claimHeader) int { return strings.Compare(a.header, b.header) })
	return nil
}

// headerName says whether s is a field name (RFC 9110 §5.1) in lower case, and not one of HTTP/2's pseudo-headers.
func headerName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func (o *Operation) schemes() []string {
	var names []string
	for _, a := range o.alternatives {
		for _, r := range a {
			names = append(names, r.scheme)
		}
	}
	return names
}
