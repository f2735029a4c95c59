package authn

import (
	"bytes"
	"strings"
	"testing"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// presenting is a request with one credential.
type presenting struct{ header, cookie, path []byte }

func (p presenting) Path() []byte { return p.path }

func (p presenting) Header(name string) []byte {
	if name == "cookie" {
		return p.cookie
	}
	return p.header
}

// FuzzCredential: whatever a request holds, what is read as a token is one word, and what was taken out is out.
func FuzzCredential(f *testing.F) {
	f.Add([]byte("Bearer x"), []byte("a=b; sid=x"), []byte("/p?t=x&t=y"), "sid")
	f.Add([]byte("bearer x,Bearer y"), []byte(`sid="x";sid=,`), []byte("/?%74=%20x#t=y"), "t")
	f.Add([]byte(" \tBEARER  "), []byte(";;=;sid"), []byte("?&&=&t"), "")
	f.Fuzz(func(t *testing.T, header, cookie, path []byte, key string) {
		r := presenting{header, cookie, path}
		for _, place := range []posternv1.Bearer_Place{0, 1, 2, 3, 4} {
			for _, key := range []string{key, authorization} {
				p := Bearer{place, key}.Read(r)
				if bytes.ContainsAny(p.Token, " ,") || p.Token != nil && (len(p.Token) == 0 || p.Fault != "") || p.Several && p.Fault == "" {
					t.Errorf("read %+v", p)
				}
			}
		}
		if rest := WithoutParameters(path, []string{key}); (Bearer{posternv1.Bearer_PLACE_QUERY, key}).Read(presenting{path: []byte(rest)}).Any() {
			t.Errorf("parameter %q is still in %q", key, rest)
		}
		for pair := range strings.SplitSeq(WithoutCookies(cookie, []string{key}), ";") {
			if name, _, _ := strings.Cut(strings.Trim(pair, " \t"), "="); name == key && strings.Trim(pair, " \t") != "" {
				t.Errorf("cookie %q is still in %q", key, pair)
			}
		}
	})
}
