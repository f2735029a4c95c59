package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxToken bounds what is parsed at all, in bytes. Envoy's own bound on headers is of the same order.
const maxToken = 16 << 10

// base64url is the alphabet of compact JWS (RFC 7515 §2), without the trailing bits that would let one signature be
// written in several ways.
var base64url = base64.RawURLEncoding.Strict()

var (
	errForm   = errors.New("the token is not a signed JWT")
	errSize   = errors.New("the token is too large")
	errClaims = errors.New("the claims of the token are not readable")
)

// claims are the top-level claims of a token, each as its JSON.
type claims map[string]json.RawMessage

// token is a compact JWT, read and not yet believed.
type token struct {
	raw      []byte
	alg, kid string
	claims   claims
}

// parseToken reads a compact JWS whose payload is a JSON object (RFC 7519 §7.2). It believes nothing of it.
func parseToken(raw []byte) (token, error) {
	if len(raw) > maxToken {
		return token{}, errSize
	}
	parts := bytes.SplitN(raw, []byte("."), 4)
	if len(parts) != 3 || len(parts[2]) == 0 {
		return token{}, errForm
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		// The decoder would skip line breaks, which would be another way to write the same token.
		if decoded[i], err = base64url.AppendDecode(nil, part); err != nil || bytes.ContainsAny(part, "\r\n") {
			return token{}, errForm
		}
	}
	var header claims
	t := token{raw: raw}
	if decodeObject(decoded[0], &header) != nil {
		return token{}, errForm
	}
	var fine bool
	if t.alg, fine = header.text("alg"); !fine {
		return token{}, errForm
	}
	if _, there := header["kid"]; there {
		if t.kid, fine = header.text("kid"); !fine {
			return token{}, errForm
		}
	}
	if decodeObject(decoded[1], &t.claims) != nil {
		return token{}, errClaims
	}
	return t, nil
}

// decodeObject reads one JSON object in UTF-8 and nothing after it.
func decodeObject(data []byte, into *claims) error {
	if !utf8.Valid(data) { // the decoder would replace what is not, and make different names equal
		return errClaims
	}
	if err := json.Unmarshal(data, into); err != nil || *into == nil {
		return errClaims
	}
	return nil
}

// text returns a claim that is a string.
func (c claims) text(name string) (string, bool) {
	raw, found := c[name]
	if !found || len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// list returns a claim that is a string or an array of strings (RFC 7519 §4.1.3).
func (c claims) list(name string) ([]string, bool) {
	if s, ok := c.text(name); ok {
		return []string{s}, true
	}
	raw, found := c[name]
	if !found || len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || slices.Contains(list, nil) {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = *s
	}
	return texts, true
}

// scopes returns a claim that is a string of scopes separated by spaces (RFC 8693 §4.2) or an array of them. Scopes
// that a header could not carry are left out: they are good for nothing.
func (c claims) scopes(name string) []string {
	texts, _ := c.list(name)
	var scopes []string
	for _, text := range texts {
		for scope := range strings.SplitSeq(text, " ") {
			if scope != "" && carried(scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes
}

// never is a time no clock reaches; it keeps arithmetic with leeways from overflowing.
var never = time.Unix(1<<40, 0)

// date returns a NumericDate (RFC 7519 §2): seconds since the epoch, with fractions.
func (c claims) date(name string) (when time.Time, found bool, err error) {
	raw, found := c[name]
	if !found {
		return time.Time{}, false, nil
	}
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err != nil || bytes.Equal(raw, []byte("null")) {
		return time.Time{}, true, errClaims
	}
	whole, fraction := math.Modf(seconds)
	switch {
	case whole >= float64(never.Unix()):
		return never, true, nil
	case whole <= 0:
		return time.Unix(0, 0), true, nil
	}
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// holds says whether a claim is want, or a list with it.
func (c claims) holds(name, want string) bool {
	if texts, ok := c.list(name); ok {
		return slices.Contains(texts, want)
	}
	return string(c[name]) == want && want != "" // numbers, booleans
}

// carried returns what headers can say of the claims: strings as they are, the rest as compact JSON.
func (c claims) carried() map[string]string {
	values := make(map[string]string, len(c))
	for name, raw := range c {
		value, isText := c.text(name)
		if !isText {
			var compact bytes.Buffer
			if string(raw) == "null" || json.Compact(&compact, raw) != nil {
				continue
			}
			value = compact.String()
		}
		if value != "" && carried(value) {
			values[name] = value
		}
	}
	return values
}
