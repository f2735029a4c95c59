package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/idp"
)

// signedBy says, with the standard library alone, whether token is a compact JWS with ES256 by this key.
func signedBy(k idp.Key, token []byte) bool {
	cut := bytes.LastIndexByte(token, '.')
	if cut < 0 || bytes.Count(token, []byte(".")) != 2 {
		return false
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(string(token[cut+1:]))
	if err != nil || len(signature) != 64 {
		return false
	}
	sum := sha256.Sum256(token[:cut])
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(k.Private.Public().(*ecdsa.PublicKey), sum[:], r, s)
}

// FuzzToken: no bytes are accepted that the issuer's key did not sign.
func FuzzToken(f *testing.F) {
	k := idp.NewKey("k", "ES256")
	v := newTestVerifier(f, Options{}, inline("i", k))
	good := k.Sign(idp.Claims{"iss": "i", "sub": "ann", "exp": time.Now().Unix() + 1e6}, nil)
	parts := strings.Split(good, ".")
	f.Add([]byte(good))
	f.Add([]byte(good + "."))
	f.Add([]byte(good + "="))
	f.Add([]byte(good[:len(good)-1]))
	f.Add([]byte(b64(map[string]any{"alg": "none"}) + "." + parts[1] + "."))
	f.Add([]byte(b64(map[string]any{"alg": "HS256", "kid": "k"}) + "." + parts[1] + "." + parts[2]))
	f.Add([]byte(b64(map[string]any{"alg": "ES256", "kid": "k", "b64": false, "crit": []string{"b64"}}) + "." + parts[1] + "." + parts[2]))
	f.Add([]byte(`{"payload":"","signatures":[]}`))
	f.Fuzz(func(t *testing.T, token []byte) {
		for range 2 { // the caches must not know better
			if r := v.Verify(t.Context(), token); r.Reason == Accepted && !signedBy(k, token) {
				t.Fatalf("accepted without a signature: %q", token)
			}
		}
	})
}

// FuzzSigned signs any header and any payload with the issuer's own key: what is accepted must say what it has to, read by
// another decoder, and nothing makes the verifier panic.
func FuzzSigned(f *testing.F) {
	k := idp.NewKey("k", "ES256")
	v := newTestVerifier(f, Options{}, inline("i", k))
	for _, payload := range []string{
		`{"iss":"i","exp":9999999999}`, `{"iss":"i","exp":9e99,"nbf":-1,"sub":"a","scope":"a b","azp":[]}`, `{"iss":"i","exp":1}`, `{"iss":"i","exp":null}`,
		`{"iss":"j","iss":"i","exp":9999999999}`, `{"ISS":"i","iss":"j","EXP":9999999999}`, `[]`, `null`, `{"iss":"i","exp":"9999999999"}`,
		`{"iss":"i","exp":9999999999,"sub":"\r\nx-admin: 1"}`, `{"iss":"i","exp":9999999999,"sub":{"a":"b"}}`, `{"iss":"i","exp":9999999999,"scope":["a",null]}`,
	} {
		f.Add([]byte(`{"alg":"ES256","kid":"k"}`), []byte(payload))
	}
	f.Add([]byte(`{"alg":"ES256","crit":["x"],"x":1}`), []byte(`{"iss":"i","exp":9999999999}`))
	f.Add([]byte(`{"ALG":"ES256","alg":"none"}`), []byte(`{"iss":"i","exp":9999999999}`))
	f.Add([]byte(`{"alg":"none","alg":"ES256"}`), []byte(`{"iss":"i","exp":9999999999}`))
	private := k.Private.(*ecdsa.PrivateKey)
	f.Fuzz(func(t *testing.T, header, payload []byte) {
		signed := b64(header) + "." + b64(payload)
		sum := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(zeros{}, private, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		result := v.Verify(t.Context(), []byte(signed+"."+b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))))
		if result.Reason != Accepted {
			return
		}
		var h, c map[string]any
		if json.Unmarshal(header, &h) != nil || json.Unmarshal(payload, &c) != nil {
			t.Fatal("accepted what is not JSON")
		}
		expires, _ := c["exp"].(float64)
		if h["alg"] != "ES256" || h["crit"] != nil || c["iss"] != "i" || expires <= float64(time.Now().Unix()-1) {
			t.Errorf("accepted header %s, claims %s", header, payload)
		}
		id := result.Identity
		for _, value := range append([]string{id.Subject, id.Client, id.ScopeList, id.Hash}, id.Scopes...) {
			if strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("%q would break a header", value)
			}
		}
	})
}

// zeros is a source of randomness that has none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzKeys: no document, however strange, gives a key that is not for verifying what the algorithms here are for.
func FuzzKeys(f *testing.F) {
	enc := idp.NewKey("e", "RS256")
	enc.Extra = map[string]any{"use": "enc"}
	f.Add(idp.Set(idp.NewKey("a", "ES256"), enc, idp.NewKey("b", "EdDSA")))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"none"}`))
	f.Add([]byte(`{"keys":[null,[],{"kty":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseJWKS(data, nil)
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v, error %v", set, err)
		}
		if err != nil {
			return
		}
		for _, k := range set.keys {
			if len(k.algorithms) == 0 || k.public == nil {
				t.Errorf("key %+v", k)
			}
			for _, alg := range k.algorithms {
				if _, known := algorithms[alg]; !known {
					t.Errorf("a key for %s", alg)
				}
			}
		}
	})
}
