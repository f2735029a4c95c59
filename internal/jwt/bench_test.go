package jwt

import (
	"strconv"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/idp"
)

// BenchmarkVerify is a token that is verified for the first time, and one that is known.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		k := idp.NewKey("k", alg)
		v := newTestVerifier(b, Options{}, inline("i", k))
		tokens := make([][]byte, 1000)
		for i := range tokens {
			tokens[i] = []byte(k.Sign(idp.Claims{"iss": "i", "sub": strconv.Itoa(i), "scope": "read write", "exp": time.Now().Unix() + 3600}, nil))
		}
		b.Run(alg+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(tokens) == 0 {
					v.verified.InvalidateAll()
				}
				if r := v.Verify(b.Context(), tokens[i%len(tokens)]); r.Reason != Accepted {
					b.Fatal(r.Detail)
				}
			}
		})
		b.Run(alg+"/known", func(b *testing.B) {
			v.Verify(b.Context(), tokens[0])
			b.ReportAllocs()
			for b.Loop() {
				if r := v.Verify(b.Context(), tokens[0]); r.Reason != Accepted {
					b.Fatal(r.Detail)
				}
			}
		})
	}
}
