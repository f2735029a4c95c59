// Package devissuer is the issuer of tokens that --dev trusts: a key of one's own, made on first use, and tokens
// signed with it. It must not import adapter, enforcer or ratelimiter.
package devissuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/postern-gateway/postern/internal/whole"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Name is the issuer of development tokens, their iss claim.
const Name = "urn:postern:dev"

// File holds the key, in the data folder.
const File = "dev-issuer.jwk"

// leeway forgives clocks that differ, as a configured issuer does.
const leeway = 5 * time.Second

// MaxTTL is how long a development token lives at most: who needs one for longer needs an issuer.
const MaxTTL = 30 * 24 * time.Hour

// Issuer signs development tokens.
type Issuer struct {
	key jwk.Key
	// Made is the file that the key was written to when there was none: no gateway that runs knows it. "" if there was one.
	Made string
}

// Open reads the key of a data folder, or makes one there that only this user can read.
func Open(dir string) (*Issuer, error) {
	path := filepath.Join(dir, File)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("development issuer: others can read %s: remove it, a new one is made", path)
	}
	key, err := jwk.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %s is not a key of ours: remove it, a new one is made", path)
	}
	return &Issuer{key: key}, nil
}

func create(path string) (*Issuer, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	file, err := os.CreateTemp(dir, File+"-*") // 0600
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	// why: a link is made or fails as a whole, so that two who start at once end with one key
	if err := os.Link(file.Name(), path); errors.Is(err, fs.ErrExist) {
		return Open(dir)
	} else if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	return &Issuer{key: key, Made: path}, nil
}

func newKey() (jwk.Key, error) {
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := jwk.Import(raw)
	if err != nil {
		return nil, err
	}
	if err := jwk.AssignKeyID(key); err != nil {
		return nil, err
	}
	return key, errors.Join(key.Set(jwk.AlgorithmKey, jwa.ES256()), key.Set(jwk.KeyUsageKey, "sig"))
}

// Resource is the issuer as the enforcer gets it, its public key inline.
func (i *Issuer) Resource() (*posternv1.Issuer, error) {
	text, err := i.jwks()
	if err != nil {
		return nil, err
	}
	return &posternv1.Issuer{
		Issuer: Name, Keys: &posternv1.Issuer_Jwks{Jwks: text}, LeewayMs: uint64(leeway.Milliseconds()),
		SubjectClaim: "sub", ScopesClaim: "scope", ClientClaim: "azp", KeyTypeClaim: "keytype",
	}, nil
}

// jwks is the set of the public key (RFC 7517 §5).
func (i *Issuer) jwks() ([]byte, error) {
	public, err := i.key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	return text, nil
}

// Publish writes the public keys to a file that everybody may read, in one step.
func (i *Issuer) Publish(path string) error {
	text, err := i.jwks()
	if err != nil {
		return err
	}
	if err := whole.Write(path, 0o644, whole.Bytes(append(text, '\n'))); err != nil {
		return fmt.Errorf("development issuer: %w", err)
	}
	return nil
}

// Token says what a token is to claim.
type Token struct {
	Subject string
	Scopes  []string
	Claims  map[string]any // beside these and iss, iat, exp, jti
	TTL     time.Duration
}

// Sign makes a token that is good from now on for its TTL.
func (i *Issuer) Sign(t Token, now time.Time) (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	b := jwt.NewBuilder().Issuer(Name).Subject(t.Subject).JwtID(fmt.Sprintf("%x", id)).IssuedAt(now).Expiration(now.Add(t.TTL)).
		Claim("azp", "postern-dev")
	if len(t.Scopes) > 0 {
		b = b.Claim("scope", strings.Join(t.Scopes, " "))
	}
	for name, value := range t.Claims {
		switch name {
		case "iss", "exp", "iat", "jti", "sub", "scope":
			return "", fmt.Errorf("claim %s is not free: sub, scope and the time to live have their own flags, the rest is the issuer's", name)
		}
		b = b.Claim(name, value)
	}
	token, err := b.Build()
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), i.key))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return string(signed), nil
}
