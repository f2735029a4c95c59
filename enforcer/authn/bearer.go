package authn

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// authorization is the one header in which the "Bearer" before the token is not optional (RFC 6750 §2.1).
const authorization = "authorization"

// Bearer is one place where requests present a bearer token. The zero value is no place and finds none.
type Bearer struct {
	Place posternv1.Bearer_Place
	Key   string // header names in lower case
}

// Presented is what a request has at a place: nothing, a token, or something that cannot be one.
type Presented struct {
	Token []byte
	Fault string // why what stands there is no token; "" if it may be one
	// Several: the place holds more than one credential (RFC 6750 §3.1, invalid_request).
	Several bool
}

// Any says whether the request presents anything at all here.
func (p Presented) Any() bool { return p.Token != nil || p.Fault != "" }

const (
	faultScheme   = "the Authorization header is not of the form Bearer TOKEN"
	faultEmpty    = "the token is empty"
	faultSeveral  = "several credentials were sent where one is expected"
	faultEncoding = "the token is not encoded properly"
)

// Read finds the credential of r at this place.
func (b Bearer) Read(r Request) Presented {
	switch b.Place {
	case posternv1.Bearer_PLACE_HEADER:
		return readHeader(r.Header(b.Key), b.Key != authorization)
	case posternv1.Bearer_PLACE_QUERY:
		return readQuery(r.Path(), b.Key)
	case posternv1.Bearer_PLACE_COOKIE:
		return readCookie(r.Header("cookie"), b.Key)
	default:
		return Presented{}
	}
}

// readHeader reads "Bearer TOKEN"; where bare tokens are allowed too, the prefix is optional.
func readHeader(value []byte, bare bool) Presented {
	value = bytes.Trim(value, " \t")
	if len(value) == 0 {
		return Presented{}
	}
	token, found := cutScheme(value)
	switch {
	case !found && !bare:
		return Presented{Fault: faultScheme}
	case !found:
		token = value
	}
	return judge(token)
}

// cutScheme takes "Bearer", in any case, and the blanks after it from value.
func cutScheme(value []byte) (token []byte, found bool) {
	const scheme = "bearer"
	if len(value) < len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	if len(value) > len(scheme) && value[len(scheme)] != ' ' {
		return nil, false
	}
	return bytes.TrimLeft(value[len(scheme):], " "), true
}

// judge accepts whatever may be one token. Envoy joins headers of one name with a comma, which no token holds.
func judge(token []byte) Presented {
	switch {
	case len(token) == 0:
		return Presented{Fault: faultEmpty}
	case bytes.IndexByte(token, ',') >= 0:
		return Presented{Fault: faultSeveral, Several: true}
	case bytes.IndexByte(token, ' ') >= 0:
		return Presented{Fault: faultScheme}
	}
	return Presented{Token: token}
}

// readQuery reads the parameter with this name, however the name is escaped: what the backend would take for the
// credential is what is judged here, and what is removed.
func readQuery(path []byte, key string) Presented {
	_, query, found := bytes.Cut(path, []byte("?"))
	if !found {
		return Presented{}
	}
	var p Presented
	for pair := range bytes.SplitSeq(query, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		if !namesKey(name, key) {
			continue
		}
		if p.Any() {
			return Presented{Fault: faultSeveral, Several: true}
		}
		p = judgeParameter(value)
	}
	return p
}

// namesKey compares a raw parameter name with a plain one, without work for names that are not escaped.
func namesKey(raw []byte, key string) bool {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return string(raw) == key
	}
	name, err := url.QueryUnescape(string(raw))
	return err == nil && name == key
}

func judgeParameter(value []byte) Presented {
	token, err := url.QueryUnescape(string(value))
	if err != nil {
		return Presented{Fault: faultEncoding}
	}
	if plain, found := cutScheme([]byte(token)); found {
		return judge(plain)
	}
	return judge([]byte(token))
}

func readCookie(header []byte, key string) Presented {
	var p Presented
	for pair := range bytes.SplitSeq(header, []byte(";")) {
		name, value, found := bytes.Cut(bytes.Trim(pair, " \t"), []byte("="))
		if !found || string(name) != key {
			continue
		}
		if p.Any() {
			return Presented{Fault: faultSeveral, Several: true}
		}
		p = judge(bytes.Trim(value, `"`))
	}
	return p
}

// WithoutParameters returns a path whose query is without the parameters of these names, and else as it was, byte for byte.
func WithoutParameters(path []byte, names []string) string {
	plain, query, _ := bytes.Cut(path, []byte("?"))
	var kept [][]byte
	for pair := range bytes.SplitSeq(query, []byte("&")) {
		raw, _, _ := bytes.Cut(pair, []byte("="))
		if !slices.ContainsFunc(names, func(name string) bool { return namesKey(raw, name) }) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == 0 {
		return string(plain)
	}
	return string(plain) + "?" + string(bytes.Join(kept, []byte("&")))
}

// WithoutCookies returns a Cookie header without the cookies of these names; "" if none is left.
func WithoutCookies(header []byte, names []string) string {
	var kept []string
	for pair := range strings.SplitSeq(string(header), ";") {
		pair = strings.Trim(pair, " \t")
		name, _, _ := strings.Cut(pair, "=")
		if pair != "" && !slices.Contains(names, name) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}
