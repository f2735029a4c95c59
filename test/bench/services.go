package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/enforcer"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter"
)

// Postern's services, each by itself: what the adapter would send them is made here.

// benchLimit is never reached: every server says yes to every request.
const benchLimit = math.MaxInt64

const (
	benchAPI       = "petstore/1.0.0"
	benchOperation = "GET /pet/{petId}"
	benchIssuer    = "https://issuer.bench.test"
	benchScope     = "read:pets"
)

// benchLimits are the limits of the API, and the id of their one rule.
func benchLimits() (name string, limits *posternv1.Limits) {
	limits = &posternv1.Limits{
		Api:      benchAPI,
		Requires: []string{posternv1.RequiresFixedWindow},
		Rules: []*posternv1.LimitRule{{
			Name: "gold", Counter: benchAPI + " gold", Limit: benchLimit, WindowSeconds: 60, Code: "900800",
		}},
	}
	return posternv1.NameLimits(limits), limits
}

func ourRatelimiter([]string) (server, error) {
	s := ratelimiter.New(ratelimiter.Options{})
	name, limits := benchLimits()
	if err := apply(s.Apply, posternv1.LimitsType, name, limits); err != nil {
		return server{}, err
	}
	background(s.Run)
	return grpcServer(s.Register, s.ServerOptions()...), nil
}

// benchPolicy asks for a token of the issuer with a scope.
func benchPolicy() (name string, policy *posternv1.Policy) {
	policy = &posternv1.Policy{
		Api:      benchAPI,
		Requires: []string{posternv1.RequiresBearer},
		Operations: []*posternv1.OperationPolicy{{
			Operation: benchOperation,
			Alternatives: []*posternv1.Alternative{{Requirements: []*posternv1.Requirement{{
				Scheme: "petstore_auth",
				Kind:   &posternv1.Requirement_Bearer{Bearer: &posternv1.Bearer{Place: posternv1.Bearer_PLACE_HEADER, Key: "authorization"}},
				Scopes: []string{benchScope},
			}}}},
		}},
	}
	return posternv1.ContentHash(policy), policy
}

// newEnforcer returns an enforcer that knows the policy and an issuer, and a token of that issuer.
func newEnforcer() (*enforcer.Server, string, error) {
	token, keys, err := issue()
	if err != nil {
		return nil, "", err
	}
	s := enforcer.New(enforcer.Options{})
	issuer := &posternv1.Issuer{
		Issuer: benchIssuer, Keys: &posternv1.Issuer_Jwks{Jwks: keys},
		SubjectClaim: "sub", ScopesClaim: "scope", ClientClaim: "azp", KeyTypeClaim: "keytype",
	}
	if err := apply(s.Apply, posternv1.IssuerType, benchIssuer, issuer); err != nil {
		return nil, "", err
	}
	name, policy := benchPolicy()
	return s, token, apply(s.Apply, posternv1.PolicyType, name, policy)
}

// ourEnforcer's hint is a token it admits.
func ourEnforcer([]string) (server, error) {
	s, token, err := newEnforcer()
	if err != nil {
		return server{}, err
	}
	background(s.Run)
	out := grpcServer(s.Register, s.ServerOptions()...)
	out.hint = token
	return out, nil
}

func apply(to func(xds.Update) error, typeURL, name string, m proto.Message) error {
	r, err := xds.Encode(name, name, m)
	if err != nil {
		return err
	}
	u := xds.Update{TypeURL: typeURL, Complete: true}
	u.Resources = append(u.Resources, r)
	return to(u)
}

// issue makes a key, and a token as key managers issue them: RS256, a dozen claims.
func issue() (token string, keys []byte, err error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", nil, err
	}
	key, err := jwk.Import(private)
	if err != nil {
		return "", nil, err
	}
	if err := errorOf(key.Set(jwk.KeyIDKey, "bench"), key.Set(jwk.AlgorithmKey, jwa.RS256())); err != nil {
		return "", nil, err
	}
	now := time.Now()
	t, err := jwt.NewBuilder().Issuer(benchIssuer).Subject("ann@carbon.super").Audience([]string{"petstore"}).IssuedAt(now).
		Expiration(now.Add(24*time.Hour)).JwtID("6e5a0f63-4a0b-4a52-8f0c-3f2f0b0a6f9e").Claim("scope", "openid "+benchScope+" write:pets").
		Claim("azp", "q8yZcP2o1JvLkQmRtY7uW0xAa").Claim("keytype", "PRODUCTION").Claim("given_name", "Ann").Build()
	if err != nil {
		return "", nil, err
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.RS256(), key))
	if err != nil {
		return "", nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return "", nil, err
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		return "", nil, err
	}
	keys, err = json.Marshal(set)
	return string(signed), keys, err
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	return nil
}
