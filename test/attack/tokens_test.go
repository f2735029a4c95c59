package attack

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/idp"
)

// claims are those of an administrator's token, as the true issuer would sign them.
func (g *target) claims(more idp.Claims) idp.Claims {
	c := idp.Claims{"sub": "forged", "aud": "gate", "scope": "read write admin"}
	maps.Copy(c, more)
	return g.issuer.Claims(c)
}

// unsigned is a token of these parts, with any signature.
func unsigned(header map[string]any, claims idp.Claims, sign func(string) []byte) string {
	signed := part(header) + "." + part(claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

func part(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// TestTokens sends tokens that say everything is allowed, and that nobody has the right to have.
func TestTokens(t *testing.T) {
	t.Parallel()
	g := start(t)
	now := time.Now().Unix()
	true1 := g.issuer.Key()
	mine := idp.NewKey(true1.ID, "RS256") // another key of the same name
	elliptic := idp.NewKey(true1.ID, "ES256")
	signed := true1.Sign(g.claims(nil), nil)
	parts := strings.Split(signed, ".")
	nothing := func(string) []byte { return nil }
	der, err := x509.MarshalPKIXPublicKey(true1.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	secret := func(key []byte) func(string) []byte {
		return func(text string) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(text))
			return mac.Sum(nil)
		}
	}
	header := func(alg string) map[string]any { return map[string]any{"typ": "JWT", "kid": true1.ID, "alg": alg} }
	withHeader := func(name string, value any) string { return mine.Sign(g.claims(nil), map[string]any{name: value}) }

	forged := map[string]string{
		"no signature, none":         unsigned(header("none"), g.claims(nil), nothing),
		"no signature, None":         unsigned(header("None"), g.claims(nil), nothing),
		"no signature, nOnE":         unsigned(header("nOnE"), g.claims(nil), nothing),
		"no signature, empty alg":    unsigned(header(""), g.claims(nil), nothing),
		"no signature, RS256":        unsigned(header("RS256"), g.claims(nil), nothing),
		"no alg":                     unsigned(map[string]any{"kid": true1.ID}, g.claims(nil), nothing),
		"none, with a signature":     unsigned(header("none"), g.claims(nil), secret(public)),
		"the public key as a secret": unsigned(header("HS256"), g.claims(nil), secret(public)),
		"its DER as a secret":        unsigned(header("HS256"), g.claims(nil), secret(der)),
		"an empty secret":            unsigned(header("HS256"), g.claims(nil), secret(nil)),
		"a signature of zeros":       unsigned(header("ES256"), g.claims(nil), func(string) []byte { return make([]byte, 64) }),
		"RS256 by zeros":             unsigned(header("RS256"), g.claims(nil), func(string) []byte { return make([]byte, 256) }),
		"another key, same name":     mine.Sign(g.claims(nil), nil),
		"another key, no name":       idp.Key{Alg: "RS256", Private: mine.Private}.Sign(g.claims(nil), nil),
		"another kind of key":        elliptic.Sign(g.claims(nil), nil),
		"a key of its own":           withHeader("jwk", mine.Public()),
		"a key set of its own":       withHeader("jku", "https://evil.example/jwks"),
		"a certificate's address":    withHeader("x5u", "https://evil.example/cert"),
		"a certificate of its own":   withHeader("x5c", []string{base64.StdEncoding.EncodeToString(der)}),
		"a key by a path":            withHeader("kid", "../../../../dev/null"),
		"a key by a query":           withHeader("kid", "x' UNION SELECT 'x"),
		"a key by a URL":             withHeader("kid", "https://evil.example/key"),
		"a very long key name":       withHeader("kid", strings.Repeat("k", 8000)),
		"an unknown must":            withHeader("crit", []string{"everything"}),

		"expired":                true1.Sign(g.claims(idp.Claims{"exp": now - 60}), nil),
		"never ending":           true1.Sign(g.claims(idp.Claims{"exp": nil}), nil),
		"an end in words":        true1.Sign(g.claims(idp.Claims{"exp": "tomorrow"}), nil),
		"an end beyond numbers":  true1.SignBytes([]byte(`{"iss":"`+g.issuer.URL+`","aud":"gate","sub":"forged","scope":"admin","exp":1e400}`), nil),
		"not yet":                true1.Sign(g.claims(idp.Claims{"nbf": now + 3600}), nil),
		"another issuer":         true1.Sign(g.claims(idp.Claims{"iss": "https://evil.example"}), nil),
		"an issuer with a slash": true1.Sign(g.claims(idp.Claims{"iss": g.issuer.URL + "/"}), nil),
		"no issuer":              true1.Sign(g.claims(idp.Claims{"iss": nil}), nil),
		"a list of issuers":      true1.Sign(g.claims(idp.Claims{"iss": []string{g.issuer.URL}}), nil),
		"another audience":       true1.Sign(g.claims(idp.Claims{"aud": "gateway"}), nil),
		"no audience":            true1.Sign(g.claims(idp.Claims{"aud": nil}), nil),
		"an audience of parts":   true1.Sign(g.claims(idp.Claims{"aud": []string{"g", "ate"}}), nil),
		"not claims":             true1.SignBytes([]byte("[]"), nil),
		"not JSON":               true1.SignBytes([]byte("admin"), nil),
		"nothing":                true1.SignBytes([]byte(""), nil),
		"deep":                   true1.SignBytes([]byte(strings.Repeat("[", 5000)+strings.Repeat("]", 5000)), nil),

		"cut short":              signed[:len(signed)-4],
		"a signature too long":   signed + "AAAA",
		"padded":                 signed + "==",
		"four parts":             signed + ".x",
		"five parts":             strings.Join([]string{parts[0], "", parts[1], "", parts[2]}, "."),
		"two parts":              parts[0] + "." + parts[1],
		"one part":               parts[1],
		"only dots":              "..",
		"swapped":                parts[1] + "." + parts[0] + "." + parts[2],
		"other claims":           parts[0] + "." + part(g.claims(idp.Claims{"sub": "x"})) + "." + parts[2],
		"the alphabet of others": strings.ReplaceAll(strings.ReplaceAll(unsigned(header("RS256"), g.claims(nil), secret(public)), "-", "+"), "_", "/"),
		"blanks":                 parts[0] + " . " + parts[1] + " . " + parts[2],
		"quotes":                 `"` + signed + `"`,
		"as JSON":                `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	}
	for name, token := range forged {
		g.refuses(name, caller{token: token}, "/a/1/admin", 401)
	}
	// A good token, whose scopes only look like the one that is asked for.
	for name, scope := range map[string]any{
		"none": nil, "empty": "", "another": "read", "a longer one": "administrator", "a part": "admi", "upper case": "ADMIN", "with a comma": "read,admin", "with a tab": "read\tadmin",
		"with a line end": "read\nadmin", "with a NUL": "admin\x00", "a list of a list": []any{[]string{"admin"}}, "a map": map[string]bool{"admin": true}, "true": true, "a number": 1, "all": "*", "quoted": `"admin"`,
	} {
		g.refuses("the scope "+name, caller{token: true1.Sign(g.claims(idp.Claims{"scope": scope}), nil)}, "/a/1/admin", 403)
	}
	// The same refusals from the cache, and the good token beside them.
	for name, token := range forged {
		g.refuses(name+", again", caller{token: token}, "/a/1/admin", 401)
	}
	admin := caller{token: signed, subject: "admin", scopes: []string{"read", "write", "admin"}}
	admin.token = true1.Sign(g.claims(idp.Claims{"sub": "admin"}), nil)
	if statuses := g.raw(request("GET", "/a/1/admin", admin)); !slices.Equal(statuses, []int{200}) {
		t.Errorf("a good token: %v", statuses)
	}
	g.judge("a good token", admin)
}

// refuses sends a caller where they may not go.
func (g *target) refuses(name string, c caller, path string, want int) {
	g.t.Helper()
	statuses := g.raw(request("GET", path, c))
	// Envoy itself refuses what is no header at all, and headers beyond the limit.
	if len(statuses) != 1 || statuses[0] != want && statuses[0] != 400 && statuses[0] != 431 {
		g.t.Errorf("%s: %v, want %d", name, statuses, want)
	}
	g.judge(fmt.Sprintf("%s: %v", name, statuses), c)
}
