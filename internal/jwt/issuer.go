package jwt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// maxLeeway keeps a slip of the pen (seconds for milliseconds) from admitting tokens long expired.
const maxLeeway = time.Hour

// issuer is one issuer of tokens, compiled, with the keys it signs with now.
type issuer struct {
	config     *posternv1.Issuer
	name       string
	audiences  []string
	algorithms []string
	leeway     time.Duration
	required   map[string]string

	subjectClaim, scopesClaim, clientClaim string

	// keys is the present generation, nil while none is known and for an issuer that is gone. What was verified with
	// another set does not hold.
	keys   atomic.Pointer[keySet]
	source *source // where keys come from; nil if they came with the configuration
}

// newIssuer compiles one issuer; keys at a URL are not fetched yet.
func newIssuer(config *posternv1.Issuer) (*issuer, error) {
	i := &issuer{
		config:       config,
		name:         config.GetIssuer(),
		audiences:    config.GetAudiences(),
		algorithms:   config.GetAlgorithms(),
		leeway:       time.Duration(min(config.GetLeewayMs(), uint64(2*maxLeeway/time.Millisecond))) * time.Millisecond,
		required:     config.GetRequiredClaims(),
		subjectClaim: orDefault(config.GetSubjectClaim(), "sub"),
		scopesClaim:  orDefault(config.GetScopesClaim(), "scope"),
		clientClaim:  orDefault(config.GetClientClaim(), "azp"),
	}
	switch {
	case i.name == "":
		return nil, errors.New("an issuer has no name: its iss claim is needed")
	case i.leeway > maxLeeway:
		return nil, fmt.Errorf("issuer %s: a leeway of %d ms, want at most %d (%v)", i.name, config.GetLeewayMs(), maxLeeway.Milliseconds(), maxLeeway)
	}
	for _, word := range config.GetRequires() {
		if word != posternv1.RequiresBearer {
			return nil, fmt.Errorf("issuer %s requires %q, which this enforcer does not know: it is older than the adapter", i.name, word)
		}
	}
	for _, alg := range i.algorithms {
		if _, known := algorithms[alg]; !known {
			return nil, fmt.Errorf("issuer %s: algorithm %q is not one of the asymmetric ones this enforcer verifies", i.name, alg)
		}
	}
	if err := i.findKeys(); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", i.name, err)
	}
	return i, nil
}

// findKeys parses keys that came with the configuration and checks where the others are to come from.
func (i *issuer) findKeys() error {
	var set *keySet
	var err error
	switch keys := i.config.GetKeys().(type) {
	case *posternv1.Issuer_Jwks:
		set, err = parseJWKS(keys.Jwks, i.algorithms)
	case *posternv1.Issuer_Certificate:
		set, err = parseCertificates(keys.Certificate, i.algorithms)
	case *posternv1.Issuer_JwksUri:
		i.source, err = newSource(keys.JwksUri, "")
	case *posternv1.Issuer_Discovery:
		if !keys.Discovery {
			return errors.New("discovery is off and no keys are given")
		}
		i.source, err = newSource(strings.TrimSuffix(i.name, "/")+"/.well-known/openid-configuration", i.name)
	default:
		return errors.New("it says nowhere where its keys are (jwks_uri, jwks, certificate or discovery)")
	}
	if err != nil {
		return err
	}
	if set != nil {
		i.keys.Store(set)
	}
	return nil
}

// same says whether the resource that made i says the same as config.
func (i *issuer) same(config *posternv1.Issuer) bool { return proto.Equal(i.config, config) }

// check holds the claims of a token against what this issuer must say. What it refuses needs no look at the signature.
func (i *issuer) check(c claims, now time.Time) (span, Result) {
	expires, found, err := c.date("exp")
	if err != nil || !found {
		return span{}, refuse("the token has no usable expiry")
	}
	begins, _, err := c.date("nbf")
	if err != nil {
		return span{}, refuse("the token has no usable start of validity")
	}
	s := span{begins: begins.Add(-i.leeway), ends: expires.Add(i.leeway)}
	if r := s.judge(now); r.Reason != Accepted {
		return span{}, r
	}
	if len(i.audiences) > 0 {
		audiences, _ := c.list("aud")
		if !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(i.audiences, a) }) {
			return span{}, refuse("the token is meant for another audience")
		}
	}
	for name, want := range i.required {
		if !c.holds(name, want) {
			return span{}, refuse("the token lacks a claim that is required here")
		}
	}
	if kind, _ := c.text("token_type"); kind == "InternalKey" {
		return span{}, refuse("an internal key is not accepted as a token")
	}
	return s, Result{Reason: Accepted}
}

// identify reads whom the claims name. A subject that a header cannot carry is refused rather than changed into another.
func (i *issuer) identify(c claims) (*Identity, error) {
	id := &Identity{Issuer: i.name, Scopes: c.scopes(i.scopesClaim), Claims: c.carried()}
	id.ScopeList = strings.Join(id.Scopes, " ")
	for name, into := range map[string]*string{i.subjectClaim: &id.Subject, i.clientClaim: &id.Client} {
		value, isText := c.text(name)
		if _, there := c[name]; there && !isText {
			value = id.Claims[name] // a number, say
		}
		if !carried(value) {
			return nil, errClaims
		}
		*into = value
	}
	if id.Subject != "" {
		sum := sha256.Sum256([]byte(i.name + "\x00" + id.Subject))
		id.Hash = hex.EncodeToString(sum[:8])
	}
	return id, nil
}

// span is when a token is good, leeway included.
type span struct{ begins, ends time.Time }

func (s span) judge(now time.Time) Result {
	switch {
	case !now.Before(s.ends):
		return Result{Reason: Expired, Detail: "the token has expired"}
	case now.Before(s.begins):
		return refuse("the token is not valid yet")
	}
	return Result{Reason: Accepted}
}

func refuse(detail string) Result { return Result{Reason: Invalid, Detail: detail} }

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// inherit takes over what the older form of the same issuer fetched, if it did so from the same place.
func (i *issuer) inherit(older *issuer) {
	i.source.inherit(older.source)
	if keys, err := parseJWKS(i.source.document.body, i.algorithms); err == nil {
		i.keys.Store(keys)
	} else { // nothing yet, or nothing under the new algorithms
		i.source.due = time.Time{}
	}
}

// retire makes everything invalid that was verified for an issuer that is gone or replaced.
func (i *issuer) retire() {
	if i == nil {
		return
	}
	if i.source != nil {
		i.source.mu.Lock()
		defer i.source.mu.Unlock()
		i.source.retired = true
	}
	i.keys.Store(nil)
}
