// Package idp is an identity provider for tests: it signs JWTs, serves its keys and a discovery document, and can be
// made to rotate its keys, to be slow, to lie and to be away. It imports neither the gateway nor the testing package.
package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
)

// Claims of a token.
type Claims map[string]any

// Provider is one identity provider on a free port of 127.0.0.1. Close it.
type Provider struct {
	*httptest.Server
	Fetches atomic.Int64 // how often its keys were asked for

	mu     sync.Mutex
	keys   []Key
	n      int           // keys made so far
	down   bool          // answers 503
	slow   time.Duration // before each answer
	issuer string        // what the discovery document says instead of the truth
	header http.Header   // sent with the keys
}

// Key is a signing key.
type Key struct {
	ID, Alg string
	Private crypto.Signer
	Extra   map[string]any // further members of its public JWK
}

// New starts a Provider with one key for alg (RS256 and so on).
func New(alg string) *Provider {
	p := &Provider{header: http.Header{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks", p.serveKeys)
	mux.HandleFunc("GET /.well-known/openid-configuration", p.serveDiscovery)
	p.Server = httptest.NewServer(mux)
	p.Rotate(alg)
	return p
}

// JWKS is the URL of the keys; the issuer's own name is URL.
func (p *Provider) JWKS() string { return p.URL + "/jwks" }

// NewKey makes a key for alg.
func NewKey(id, alg string) Key {
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err)
	}
	return Key{ID: id, Alg: alg, Private: private}
}

// Rotate puts a new key in the place of all others and returns it.
func (p *Provider) Rotate(alg string) Key {
	p.mu.Lock()
	p.n++
	id := fmt.Sprintf("key-%d", p.n)
	p.mu.Unlock()
	k := NewKey(id, alg)
	p.Use(k)
	return k
}

// Use serves exactly these keys; tokens are signed with the last.
func (p *Provider) Use(keys ...Key) { p.set(func() { p.keys = slices.Clone(keys) }) }

// Down makes the provider answer 503, or end that.
func (p *Provider) Down(down bool) { p.set(func() { p.down = down }) }

// Slow makes every answer take this long.
func (p *Provider) Slow(d time.Duration) { p.set(func() { p.slow = d }) }

// Pretend makes the discovery document say another issuer.
func (p *Provider) Pretend(issuer string) { p.set(func() { p.issuer = issuer }) }

// Header sets a header of the answers with keys.
func (p *Provider) Header(name, value string) { p.set(func() { p.header.Set(name, value) }) }

func (p *Provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// Key is the key tokens are signed with.
func (p *Provider) Key() Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

// Claims are good for an hour: those given over iss, sub, iat and exp. A nil value leaves a claim out.
func (p *Provider) Claims(more Claims) Claims {
	now := time.Now().Unix()
	c := Claims{"iss": p.URL, "sub": "ann", "iat": now, "exp": now + 3600}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Token signs p.Claims(more) with p.Key().
func (p *Provider) Token(more Claims) string { return p.Key().Sign(p.Claims(more), nil) }

// Sign makes a token; header holds what it has beside alg and kid.
func (k Key) Sign(c Claims, header map[string]any) string {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return k.SignBytes(payload, header)
}

// SignBytes signs any payload under any header, also what no library would: it is for forgers too. A nil member
// is left out.
func (k Key) SignBytes(payload []byte, header map[string]any) string {
	members := map[string]any{"typ": "JWT", "alg": k.Alg}
	if k.ID != "" {
		members["kid"] = k.ID
	}
	maps.Copy(members, header)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	head, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := jwsbb.Sign(k.Private, k.Alg, []byte(signed), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Public is the key as a JWK.
func (k Key) Public() jwk.Key {
	public, err := jwk.Import(k.Private.Public())
	if err != nil {
		panic(err)
	}
	members := map[string]any{"alg": k.Alg, "use": "sig"}
	if k.ID != "" {
		members["kid"] = k.ID
	}
	maps.Copy(members, k.Extra)
	for name, value := range members {
		if value == nil {
			continue
		}
		if err := public.Set(name, value); err != nil {
			panic(err)
		}
	}
	return public
}

// Set is a JWK set of keys.
func Set(keys ...Key) []byte {
	list := make([]jwk.Key, len(keys))
	for i, k := range keys {
		list[i] = k.Public()
	}
	body, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return body
}

func (p *Provider) serveKeys(w http.ResponseWriter, r *http.Request) {
	p.Fetches.Add(1)
	p.mu.Lock()
	keys, header := p.keys, p.header.Clone()
	p.mu.Unlock()
	maps.Copy(w.Header(), header)
	p.serve(w, r, Set(keys...))
}

func (p *Provider) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	issuer := p.issuer
	p.mu.Unlock()
	if issuer == "" {
		issuer = p.URL
	}
	body, _ := json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": p.JWKS()})
	p.serve(w, r, body)
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	p.mu.Lock()
	down, slow := p.down, p.slow
	p.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return
	}
	etag := w.Header().Get("ETag")
	switch {
	case down:
		http.Error(w, "away", http.StatusServiceUnavailable)
	case etag != "" && r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
}
