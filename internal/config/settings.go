package config

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/mtls"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Settings are the choices that translation needs. Routing mode auto counts as scoped here: who can see the
// projects decides. The caller adds the services that have no key.
func (c *Config) Settings() model.Settings {
	return model.Settings{
		HTTP:    c.Listen.HTTP,
		HTTPS:   c.Listen.HTTPS,
		TLS:     c.tls(),
		Routing: model.Routing{Flat: c.Routing.Mode == "flat", Segment: c.Routing.ScopeSegment},
		CORS:    c.cors(),
		Timeouts: model.Timeouts{
			Request: c.Timeouts.Request, Idle: c.Timeouts.Idle, MaxRequest: c.Timeouts.MaxRequest,
		},
		HeaderBytes:        uint64(c.LimitsOnRequests.HeaderBytes),
		BodyBytes:          uint64(c.LimitsOnRequests.BodyBytes),
		KeepEscapedSlashes: c.LimitsOnRequests.EscapedSlashes == "keep",
		ErrorFormat:        model.ErrorFormat(c.Errors.Format),
		OnFailure:          model.OnFailure(c.Limits.OnFailure),
		TierPerAPI:         c.Limits.TierRule == "api",
		Enforcer:           service(mtls.RoleEnforcer, c.Enforcer),
		RateLimiter:        service(mtls.RoleRateLimiter, c.RateLimiter),
	}
}

// service is where Envoys find a service: over TCP by mutual TLS, if there are certificates.
func service(role string, s Service) model.Service {
	m := model.Service{Address: s.Address, Timeout: s.Timeout}
	if !strings.HasPrefix(m.Address, "unix:") && s.TLS.Said() {
		m.Role = role
	}
	return m
}

// cors is the default of Choreo Connect (compat.md §1): any origin, no credentials, the usual methods and headers.
func (c *Config) cors() model.CORS {
	if !c.CORS.Enabled {
		return model.CORS{}
	}
	return model.CORS{
		Enabled: true,
		Origins: []string{"*"},
		Methods: []string{"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD"},
		Headers: []string{"authorization", "content-type", "soapaction", "apikey"},
		Expose:  []string{"retry-after", "x-request-id"},
		MaxAge:  10 * time.Minute,
	}
}

// Issuers are the issuers of tokens as the enforcer gets them, their key files read.
func (c *Config) Issuers() ([]*posternv1.Issuer, error) { return c.issuers("issuers", c.TokenIssuers) }

// ManagementIssuers are those whose tokens carry roles.
func (c *Config) ManagementIssuers() ([]*posternv1.Issuer, error) {
	return c.issuers("management.issuers", c.Management.Issuers)
}

func (c *Config) issuers(list string, said []Issuer) ([]*posternv1.Issuer, error) {
	var issuers []*posternv1.Issuer
	var problems []error
	for i, issuer := range said {
		r, err := c.issuer(list, issuer)
		if err != nil {
			key := fmt.Sprintf("%s[%d].jwks", list, i)
			problems = append(problems, fmt.Errorf("%s: %s: %w", c.origin(key), key, err))
			continue
		}
		issuers = append(issuers, r)
	}
	return issuers, errors.Join(problems...)
}

func (c *Config) issuer(list string, issuer Issuer) (*posternv1.Issuer, error) {
	r := &posternv1.Issuer{
		Issuer:         issuer.Issuer,
		Audiences:      issuer.Audiences,
		Algorithms:     issuer.Algorithms,
		LeewayMs:       uint64(issuer.Leeway.Milliseconds()),
		RequiredClaims: issuer.RequiredClaims,
		SubjectClaim:   issuer.Claims.Subject,
		ScopesClaim:    issuer.Claims.Scopes,
		ClientClaim:    issuer.Claims.Client,
		KeyTypeClaim:   issuer.Claims.KeyType,
	}
	switch {
	case issuer.JWKS.URI != "":
		r.Keys = &posternv1.Issuer_JwksUri{JwksUri: issuer.JWKS.URI}
	case issuer.JWKS.File != "":
		set, err := readJWKS(c.path(list, issuer.JWKS.File))
		if err != nil {
			return nil, err
		}
		r.Keys = &posternv1.Issuer_Jwks{Jwks: set}
	case issuer.JWKS.Certificate != "":
		certificate, err := readCertificate(c.path(list, issuer.JWKS.Certificate))
		if err != nil {
			return nil, err
		}
		r.Keys = &posternv1.Issuer_Certificate{Certificate: certificate}
	default:
		r.Keys = &posternv1.Issuer_Discovery{Discovery: true}
	}
	return r, nil
}

func readJWKS(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return nil, fmt.Errorf("%s is not a JSON Web Key Set: it needs a list \"keys\" with at least one key (RFC 7517 §5)", path)
	}
	return text, nil
}

func readCertificate(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s is not a PEM certificate: it must begin with -----BEGIN CERTIFICATE-----", path)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// OwnAddresses are where this gateway listens by TCP, which no backend may be.
func (c *Config) OwnAddresses() []string {
	var own []string
	for _, address := range []string{
		c.Listen.HTTP, c.Listen.HTTPS, c.Management.Listen, c.XDS.Listen, c.Envoy.Admin,
		c.Enforcer.Listen, c.Enforcer.Address, c.RateLimiter.Listen, c.RateLimiter.Address,
	} {
		if address != "" && !strings.HasPrefix(address, "unix:") && !slices.Contains(own, address) {
			own = append(own, address)
		}
	}
	return own
}
