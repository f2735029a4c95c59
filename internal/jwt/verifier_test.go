package jwt

import (
	"context"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/idp"
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// provider starts an identity provider that ends with the test.
func provider(t testing.TB, alg string) *idp.Provider {
	t.Helper()
	p := idp.New(alg)
	t.Cleanup(p.Close)
	return p
}

// remote is an issuer whose keys are at p's URL.
func remote(p *idp.Provider) *posternv1.Issuer {
	return &posternv1.Issuer{Issuer: p.URL, Keys: &posternv1.Issuer_JwksUri{JwksUri: p.JWKS()}}
}

// inline is an issuer whose keys came with the configuration.
func inline(name string, keys ...idp.Key) *posternv1.Issuer {
	return &posternv1.Issuer{Issuer: name, Keys: &posternv1.Issuer_Jwks{Jwks: idp.Set(keys...)}}
}

func newTestVerifier(t testing.TB, o Options, issuers ...*posternv1.Issuer) *Verifier {
	t.Helper()
	v := NewVerifier(o)
	t.Cleanup(v.stop)
	if err := v.Apply(issuers, nil, true); err != nil {
		t.Fatal(err)
	}
	return v
}

// want checks what becomes of a token, twice: unknown, and then perhaps from a cache.
func want(t *testing.T, v *Verifier, token string, reason Reason) Result {
	t.Helper()
	var r Result
	for _, round := range []string{"first", "second"} {
		r = v.Verify(t.Context(), []byte(token))
		if r.Reason != reason {
			t.Fatalf("%s time: reason %d (%s), want %d", round, r.Reason, r.Detail, reason)
		}
		if (r.Reason == Accepted) != (r.Identity != nil) || (r.Reason == Accepted) != (r.Detail == "") {
			t.Fatalf("%s time: an answer without reason or identity: %+v", round, r)
		}
	}
	return r
}

func b64(v any) string {
	data, isBytes := v.([]byte)
	if !isBytes {
		data, _ = json.Marshal(v)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			k := idp.NewKey("k", alg)
			v := newTestVerifier(t, Options{}, inline("https://issuer", k))
			token := k.Sign(idp.Claims{"iss": "https://issuer", "sub": "ann", "exp": time.Now().Unix() + 60}, nil)
			if r := want(t, v, token, Accepted); r.Identity.Subject != "ann" || r.Identity.Issuer != "https://issuer" {
				t.Errorf("identity %+v", r.Identity)
			}
			want(t, v, token[:len(token)-4]+"AAAA", Invalid)
		})
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	issuer := inline("https://issuer", k)
	issuer.SubjectClaim, issuer.ScopesClaim, issuer.ClientClaim = "user", "scp", "app"
	v := newTestVerifier(t, Options{}, issuer)
	token := func(c idp.Claims) string {
		c["iss"], c["exp"] = "https://issuer", time.Now().Unix()+60
		return k.Sign(c, nil)
	}
	id := want(t, v, token(idp.Claims{
		"user": "mara", "sub": "other", "scp": []string{"read", "write all"}, "app": "shop", "age": 7, "tags": []any{"a", map[string]int{"b": 1}},
		"bent": "a\r\nx-admin: yes", "yes": true, "nothing": nil, "blank": " x",
	}), Accepted).Identity
	if id.Subject != "mara" || id.Client != "shop" || id.ScopeList != "read write all" || len(id.Scopes) != 3 {
		t.Errorf("identity %+v", id)
	}
	sum := sha256.Sum256([]byte("https://issuer\x00mara"))
	if id.Hash != strings.ToLower(id.Hash) || len(id.Hash) != 16 || !strings.HasPrefix(hexOf(sum[:]), id.Hash) {
		t.Errorf("hash %q", id.Hash)
	}
	for claim, value := range map[string]string{"age": "7", "tags": `["a",{"b":1}]`, "yes": "true", "bent": "", "nothing": "", "blank": ""} {
		if id.Claims[claim] != value {
			t.Errorf("claim %s is %q, want %q", claim, id.Claims[claim], value)
		}
	}
	if id := want(t, v, token(idp.Claims{"scp": "read write"}), Accepted).Identity; id.Subject != "" || id.Hash != "" || len(id.Scopes) != 2 {
		t.Errorf("identity without a subject %+v", id)
	}
	want(t, v, token(idp.Claims{"user": "a\nb"}), Invalid)
	want(t, v, token(idp.Claims{"user": "ann "}), Invalid)
	want(t, v, token(idp.Claims{"app": "a\x00b"}), Invalid)
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// TestForgeries has the tokens that must not pass, each next to one that would.
func TestForgeries(t *testing.T) {
	t.Parallel()
	const issuer = "https://issuer"
	k, modulus, other, foreign := idp.NewKey("ec", "ES256"), idp.NewKey("rsa", "RS256"), idp.NewKey("ec", "ES256"), idp.NewKey("ec", "ES256")
	config := inline(issuer, k, modulus)
	config.Audiences, config.RequiredClaims = []string{"shop", "store"}, map[string]string{"tenant": "acme", "level": "3"}
	v := newTestVerifier(t, Options{}, config, inline("https://foreign", foreign))

	now := time.Now().Unix()
	claims := func(more idp.Claims) idp.Claims {
		c := idp.Claims{"iss": issuer, "sub": "ann", "aud": "shop", "exp": now + 60, "tenant": []string{"x", "acme"}, "level": 3}
		for name, value := range more {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	good := k.Sign(claims(nil), nil)
	want(t, v, good, Accepted)
	want(t, v, modulus.Sign(claims(idp.Claims{"aud": []string{"a", "store"}, "nbf": now - 5, "exp": float64(now) + 60.5}), nil), Accepted)
	want(t, v, k.Sign(claims(nil), map[string]any{"typ": "at+jwt"}), Accepted)

	parts := strings.Split(good, ".")
	header := func(h map[string]any) string { return b64(h) + "." + parts[1] + "." + parts[2] }
	pub, err := x509.MarshalPKIXPublicKey(modulus.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs := func(alg string, secret []byte, c idp.Claims) string {
		signed := b64(map[string]any{"alg": alg, "kid": "rsa"}) + "." + b64(c)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + b64(mac.Sum(nil))
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	attacker := idp.NewKey("mine", "RS256")

	for name, forged := range map[string]struct {
		token  string
		reason Reason
	}{
		"alg none, no signature":      {b64(map[string]any{"alg": "none"}) + "." + b64(claims(nil)) + ".", Invalid},
		"alg none, some signature":    {b64(map[string]any{"alg": "none"}) + "." + b64(claims(nil)) + "." + parts[2], Invalid},
		"alg None":                    {header(map[string]any{"alg": "None", "kid": "ec"}), Invalid},
		"no alg":                      {header(map[string]any{"kid": "ec"}), Invalid},
		"alg not a string":            {header(map[string]any{"alg": []string{"ES256"}, "kid": "ec"}), Invalid},
		"unsecured, two parts":        {parts[0] + "." + parts[1], Invalid},
		"HS256 with the public key":   {hs("HS256", pub, claims(nil)), Invalid},
		"HS256 with the PEM":          {hs("HS256", pemKey, claims(nil)), Invalid},
		"RS256 that is an HMAC":       {hs("RS256", pub, claims(nil)), Invalid},
		"alg of another key":          {modulus.Sign(claims(nil), map[string]any{"kid": "ec"}), Invalid},
		"alg the key is not bound to": {header(map[string]any{"alg": "ES384", "kid": "ec"}), Invalid},
		"PS256 with an RS256 key":     {idp.Key{ID: "rsa", Alg: "PS256", Private: modulus.Private}.Sign(claims(nil), nil), Invalid},
		"another key of the same kid": {other.Sign(claims(nil), nil), Invalid},
		"unknown kid":                 {idp.Key{ID: "new", Alg: "ES256", Private: other.Private}.Sign(claims(nil), nil), Invalid},
		"kid a path":                  {header(map[string]any{"alg": "ES256", "kid": "../../../dev/null"}), Invalid},
		"kid not a string":            {header(map[string]any{"alg": "ES256", "kid": 7}), Invalid},
		"no kid, unknown key":         {idp.Key{Alg: "ES256", Private: other.Private}.Sign(claims(nil), nil), Invalid},
		"the other issuer's key":      {foreign.Sign(claims(nil), nil), Invalid},
		"the other issuer's name":     {k.Sign(claims(idp.Claims{"iss": "https://foreign"}), nil), Invalid},
		"jwk in the header":           {attacker.Sign(claims(nil), map[string]any{"jwk": attacker.Public()}), Invalid},
		"jku in the header":           {attacker.Sign(claims(nil), map[string]any{"jku": "http://127.0.0.1:1/jwks"}), Invalid},
		"x5u in the header":           {attacker.Sign(claims(nil), map[string]any{"x5u": "http://127.0.0.1:1/cert"}), Invalid},
		"crit":                        {k.SignBytes(mustJSON(claims(nil)), map[string]any{"crit": []string{"exp"}, "exp": 1}), Invalid},
		"crit, unknown":               {k.Sign(claims(nil), map[string]any{"crit": []string{"everything"}}), Invalid},
		"crit, empty":                 {k.Sign(claims(nil), map[string]any{"crit": []string{}}), Invalid},
		"b64 false, signed":           {k.Sign(claims(nil), map[string]any{"b64": false, "crit": []string{"b64"}}), Invalid},
		"certificate in the header":   {attacker.Sign(claims(nil), map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(pub)}}), Invalid},
		"b64 false":                   {header(map[string]any{"alg": "ES256", "kid": "ec", "b64": false, "crit": []string{"b64"}}), Invalid},
		"b64 false without crit":      {header(map[string]any{"alg": "ES256", "kid": "ec", "b64": false}), Invalid},
		"expired":                     {k.Sign(claims(idp.Claims{"exp": now - 1}), nil), Expired},
		"long expired":                {k.Sign(claims(idp.Claims{"exp": -1}), nil), Expired},
		"no exp":                      {k.Sign(claims(idp.Claims{"exp": nil}), nil), Invalid},
		"exp a string":                {k.Sign(claims(idp.Claims{"exp": "tomorrow"}), nil), Invalid},
		"exp a list":                  {k.Sign(claims(idp.Claims{"exp": []int{9e9}}), nil), Invalid},
		"nbf in the future":           {k.Sign(claims(idp.Claims{"nbf": now + 60}), nil), Invalid},
		"nbf a string":                {k.Sign(claims(idp.Claims{"nbf": "x"}), nil), Invalid},
		"wrong aud":                   {k.Sign(claims(idp.Claims{"aud": "shopping"}), nil), Invalid},
		"wrong aud list":              {k.Sign(claims(idp.Claims{"aud": []string{"a", "b"}}), nil), Invalid},
		"aud not text":                {k.Sign(claims(idp.Claims{"aud": map[string]string{"shop": "shop"}}), nil), Invalid},
		"no aud":                      {k.Sign(claims(idp.Claims{"aud": nil}), nil), Invalid},
		"wrong iss":                   {k.Sign(claims(idp.Claims{"iss": issuer + "/"}), nil), Invalid},
		"no iss":                      {k.Sign(claims(idp.Claims{"iss": nil}), nil), Invalid},
		"iss a list":                  {k.Sign(claims(idp.Claims{"iss": []string{issuer}}), nil), Invalid},
		"wrong required claim":        {k.Sign(claims(idp.Claims{"tenant": "acme2"}), nil), Invalid},
		"no required claim":           {k.Sign(claims(idp.Claims{"level": nil}), nil), Invalid},
		"internal key":                {k.Sign(claims(idp.Claims{"token_type": "InternalKey"}), nil), Invalid},
		"payload changed":             {parts[0] + "." + b64(claims(idp.Claims{"sub": "admin"})) + "." + parts[2], Invalid},
		"signature cut":               {good[:len(good)-10], Invalid},
		"signature gone":              {parts[0] + "." + parts[1] + ".", Invalid},
		"signature in DER":            {parts[0] + "." + parts[1] + "." + b64([]byte{0x30, 6, 2, 1, 1, 2, 1, 1}), Invalid},
		"signature of zeros":          {parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)), Invalid},
		"signature with padding":      {good + "==", Invalid},
		"trailing bits":               {good[:len(good)-1] + nextChar(good[len(good)-1]), Invalid},
		"a line break inside":         {parts[0] + "." + parts[1] + "." + parts[2][:9] + "\n" + parts[2][9:], Invalid},
		"a fourth part":               {good + "." + parts[2], Invalid},
		"encrypted (five parts)":      {good + ".a.b", Invalid},
		"nested":                      {k.SignBytes([]byte(good), map[string]any{"cty": "JWT"}), Invalid},
		"payload a list":              {k.SignBytes([]byte(`[1]`), nil), Invalid},
		"payload null":                {k.SignBytes([]byte(`null`), nil), Invalid},
		"payload followed by more":    {k.SignBytes(append(mustJSON(claims(nil)), "{}"...), nil), Invalid},
		"payload not UTF-8":           {k.SignBytes([]byte("{\"iss\":\"https://issuer\",\"exp\":9e9,\"aud\":\"shop\",\"tenant\":\"acme\",\"level\":3,\"sub\":\"\xff\"}"), nil), Invalid},
		"JSON serialization":          {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, Invalid},
		"huge":                        {k.Sign(claims(idp.Claims{"pad": strings.Repeat("x", maxToken)}), nil), Invalid},
		"empty":                       {"", Invalid},
		"dots":                        {"..", Invalid},
		"opaque":                      {"2YotnFZFEjr1zCsicMWpAA", Invalid},
	} {
		t.Run(name, func(t *testing.T) { want(t, v, forged.token, forged.reason) })
	}
	want(t, v, good, Accepted)
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// nextChar changes the unused low bits of a base64url digit.
func nextChar(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, c)^1])
}

func TestLeeway(t *testing.T) {
	t.Parallel()
	clock, k := newClock(), idp.NewKey("k", "ES256")
	issuer := inline("i", k)
	issuer.LeewayMs = 5000
	v := newTestVerifier(t, Options{Now: clock.Now}, issuer)
	now := clock.Now().Unix()
	token := k.Sign(idp.Claims{"iss": "i", "nbf": now + 4, "exp": now + 60}, nil)
	want(t, v, token, Accepted)
	clock.Add(63 * time.Second)
	want(t, v, token, Accepted)
	clock.Add(3 * time.Second)
	want(t, v, token, Expired)
	want(t, v, k.Sign(idp.Claims{"iss": "i", "nbf": clock.Now().Unix() + 7, "exp": now + 600}, nil), Invalid)
	want(t, v, k.Sign(idp.Claims{"iss": "i", "exp": 1e300}, nil), Accepted)
}

// TestIssuersApart has two issuers whose keys bear the same kid and whose tokens bear the same jti.
func TestIssuersApart(t *testing.T) {
	t.Parallel()
	a, b := idp.NewKey("1", "ES256"), idp.NewKey("1", "ES256")
	v := newTestVerifier(t, Options{}, inline("a", a), inline("b", b))
	claims := func(issuer string) idp.Claims {
		return idp.Claims{"iss": issuer, "sub": "root", "jti": "1", "exp": time.Now().Unix() + 60}
	}
	ofA, ofB := want(t, v, a.Sign(claims("a"), nil), Accepted).Identity, want(t, v, b.Sign(claims("b"), nil), Accepted).Identity
	if ofA.Issuer != "a" || ofB.Issuer != "b" || ofA.Hash == ofB.Hash {
		t.Errorf("identities %+v and %+v", ofA, ofB)
	}
	want(t, v, a.Sign(claims("b"), nil), Invalid)
	want(t, v, b.Sign(claims("a"), nil), Invalid)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	k, other := idp.NewKey("", "RS256"), idp.NewKey("", "RS256")
	v := newTestVerifier(t, Options{}, &posternv1.Issuer{
		Issuer: "i", Keys: &posternv1.Issuer_Certificate{Certificate: certificate(t, k)},
	})
	claims := idp.Claims{"iss": "i", "exp": time.Now().Unix() + 60}
	want(t, v, k.Sign(claims, nil), Accepted)
	want(t, v, k.Sign(claims, map[string]any{"kid": "any"}), Accepted)
	want(t, v, idp.Key{Alg: "PS512", Private: k.Private}.Sign(claims, nil), Accepted)
	want(t, v, other.Sign(claims, nil), Invalid)
}

// TestBeforeIssuers cannot tell about tokens until it is known which issuers there are.
func TestBeforeIssuers(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	token := k.Sign(idp.Claims{"iss": "i", "exp": time.Now().Unix() + 60}, nil)
	v := NewVerifier(Options{})
	t.Cleanup(v.stop)
	want(t, v, token, Unavailable)
	if err := v.Apply(nil, nil, true); err != nil {
		t.Fatal(err)
	}
	want(t, v, token, Invalid)
}

// TestGenerations: what was verified holds as long as the keys it was verified with are the issuer's.
func TestGenerations(t *testing.T) {
	t.Parallel()
	k, next := idp.NewKey("k", "ES256"), idp.NewKey("k", "ES256")
	v := newTestVerifier(t, Options{}, inline("i", k))
	apply := func(put *posternv1.Issuer, remove ...string) {
		t.Helper()
		var list []*posternv1.Issuer
		if put != nil {
			list = append(list, put)
		}
		if err := v.Apply(list, remove, true); err != nil {
			t.Fatal(err)
		}
	}
	claims := idp.Claims{"iss": "i", "aud": "x", "exp": time.Now().Unix() + 60}
	old, young := k.Sign(claims, nil), next.Sign(claims, nil)
	want(t, v, old, Accepted)
	want(t, v, young, Invalid)
	kept, _ := v.issuers.Load("i")
	apply(inline("i", k))
	if again, _ := v.issuers.Load("i"); again != kept {
		t.Error("the same issuer again made a new generation")
	}
	apply(inline("i", next))
	want(t, v, old, Invalid)
	want(t, v, young, Accepted)
	stricter := inline("i", next)
	stricter.Audiences = []string{"y"}
	apply(stricter)
	want(t, v, young, Invalid)
	apply(nil, "i")
	want(t, v, young, Invalid)
	apply(inline("i", k))
	want(t, v, old, Accepted)
}

func TestBadIssuers(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	for name, test := range map[string]struct {
		issuer *posternv1.Issuer
		says   string
	}{
		"no name":        {inline("", k), "no name"},
		"no keys":        {&posternv1.Issuer{Issuer: "i"}, "nowhere where its keys are"},
		"unknown word":   {&posternv1.Issuer{Issuer: "i", Requires: []string{"introspection"}}, `"introspection"`},
		"HS256 allowed":  {&posternv1.Issuer{Issuer: "i", Algorithms: []string{"HS256"}}, `"HS256"`},
		"none allowed":   {&posternv1.Issuer{Issuer: "i", Algorithms: []string{"none"}}, `"none"`},
		"leeway":         {&posternv1.Issuer{Issuer: "i", LeewayMs: 1 << 62}, "leeway"},
		"not a set":      {&posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_Jwks{Jwks: []byte("{")}}, "JWK set"},
		"no useful key":  {inline("i", idp.Key{ID: "k", Alg: "ES256", Private: k.Private, Extra: map[string]any{"use": "enc"}}), `use is "enc"`},
		"other alg":      {func() *posternv1.Issuer { i := inline("i", k); i.Algorithms = []string{"RS256"}; return i }(), "not for this key"},
		"relative URL":   {&posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_JwksUri{JwksUri: "/jwks"}}, "absolute"},
		"file URL":       {&posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_JwksUri{JwksUri: "file:///etc/passwd"}}, "absolute"},
		"not PEM":        {&posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_Certificate{Certificate: []byte("x")}}, "no key"},
		"discovery name": {&posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_Discovery{Discovery: true}}, "absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := NewVerifier(Options{})
			t.Cleanup(v.stop)
			err := v.Apply([]*posternv1.Issuer{inline("fine", k), test.issuer}, nil, true)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
			if v.issuers.Size() != 0 || v.complete.Load() {
				t.Error("something of a refused update was applied")
			}
		})
	}
}

// TestKeysOfNoUse: a set is used for what it has, and the rest is skipped.
func TestKeysOfNoUse(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	encryption := idp.NewKey("e", "RS256")
	encryption.Extra = map[string]any{"use": "enc"}
	signOnly := idp.NewKey("s", "RS256")
	signOnly.Extra = map[string]any{"use": nil, "key_ops": []string{"encrypt"}}
	var set struct{ Keys []any }
	if err := json.Unmarshal(idp.Set(k, encryption, signOnly), &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = append(set.Keys,
		map[string]any{"kty": "oct", "k": "AAAA", "kid": "h", "alg": "HS256"},
		map[string]any{"kty": "AKP", "kid": "q", "alg": "ML-DSA-44", "pub": "AAAA"},
		map[string]any{"kty": "RSA", "kid": "small", "n": b64(make([]byte, 128)), "e": "AQAB"},
		"not even an object")
	keys, err := parseJWKS(mustJSON(map[string]any{"keys": set.Keys}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys.keys) != 1 || keys.keys[0].id != "k" || len(keys.skipped) != len(set.Keys)-1 {
		t.Errorf("keys %v, skipped %q", keys.keys, keys.skipped)
	}
}

// TestKeptFor: nothing is kept for longer than it says, even if nothing speaks against it.
func TestKeptFor(t *testing.T) {
	t.Parallel()
	clock, k := newClock(), idp.NewKey("k", "ES256")
	registry := prometheus.NewRegistry()
	v := newTestVerifier(t, Options{Now: clock.Now, Registerer: registry}, inline("i", k))
	good := k.Sign(idp.Claims{"iss": "i", "exp": clock.Now().Unix() + 1e6}, nil)
	bad := good[:len(good)-4] + "AAAA"
	verified := func(token string, reason Reason, misses float64) {
		t.Helper()
		want(t, v, token, reason)
		if n := metric(t, registry, "postern_token_cache_total", "miss"); n != misses {
			t.Errorf("verified %v times, want %v", n, misses)
		}
	}
	verified(good, Accepted, 1)
	verified(bad, Invalid, 2)
	clock.Add(refusedFor - time.Second)
	verified(bad, Invalid, 2)
	clock.Add(time.Second)
	verified(bad, Invalid, 3)
	verified(good, Accepted, 3)
	clock.Add(verifiedFor)
	verified(good, Accepted, 4)
}

func TestSmallKeys(t *testing.T) {
	t.Parallel()
	small := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), minRSABits-2), E: 65537}
	if _, err := algorithmsOf(small, nil); err == nil || !strings.Contains(err.Error(), "2047 bits") {
		t.Errorf("error %v", err)
	}
}

func TestVerifyNeedsNoContext(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	v := newTestVerifier(t, Options{}, inline("i", k))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	token := k.Sign(idp.Claims{"iss": "i", "exp": time.Now().Unix() + 60}, nil)
	if r := v.Verify(ctx, []byte(token)); r.Reason != Accepted {
		t.Errorf("result %+v", r)
	}
}
