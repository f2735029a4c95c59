package attack

import (
	"fmt"
	"strings"
	"testing"
)

// inner is the request that is smuggled: nobody may send it.
const inner = "GET /b/admin HTTP/1.1\r\nHost: x\r\nx-postern-subject: forged\r\n\r\n"

// smuggled are requests of which one reader sees one and another sees two (RFC 9112 §11.2). "~" is where inner goes.
var smuggled = map[string]string{
	"length and chunks":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
	"chunks and length":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n~",
	"two lengths":                   "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 90\r\n\r\n~",
	"two equal lengths":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n~",
	"a list of lengths":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 90\r\n\r\n~",
	"a length with a sign":          "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n~",
	"a negative length":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n~",
	"a length in hex":               "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5a\r\n\r\n~",
	"a length too long":             "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n~",
	"a length before a blank":       "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length : 90\r\n\r\n~",
	"a length on the next line":     "POST /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 90\r\n\r\n~",
	"chunks in capitals":            "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n~",
	"chunks twice":                  "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n~",
	"chunks and more":               "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"more and chunks":               "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n~",
	"chunks before a blank":         "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks behind a tab":           "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks behind a vertical tab":  "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks on the next line":       "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks by another name":        "POST /a/1/open HTTP/1.1\r\nHost: x\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks nearly":                 "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"chunks with an underscore":     "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n~",
	"a chunk's size with a blank":   "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n~",
	"a chunk's size too long":       "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n~",
	"a chunk's size with 0x":        "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n~",
	"a chunk's extension":           "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0;x=\"\r\n\r\n~",
	"a chunk's extension with LF":   "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n~",
	"a chunk that ends in LF":       "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n~",
	"trailers":                      "POST /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-postern-subject\r\n\r\n0\r\nx-postern-subject: forged\r\nauthorization: Bearer forged\r\n\r\n~",
	"a body where none is meant":    "GET /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n~",
	"chunks where none are meant":   "GET /a/1/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
	"HEAD with a body":              "HEAD /a/1/open HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n~",
	"one after the other":           "GET /a/1/open HTTP/1.1\r\nHost: x\r\n\r\n~",
	"HTTP/1.0 that stays":           "GET /a/1/open HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n~",
	"HTTP/1.0 with chunks":          "POST /a/1/open HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
	"HTTP/0.9":                      "GET /a/1/open\r\n~",
	"HTTP/1.2":                      "GET /a/1/open HTTP/1.2\r\nHost: x\r\n\r\n~",
	"HTTP/2 in words":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n~",
	"lines that end in LF":          "GET /a/1/open HTTP/1.1\nHost: x\n\n~",
	"lines that end in CR":          "GET /a/1/open HTTP/1.1\rHost: x\r\r~",
	"empty lines before":            "\r\n\r\n\r\nGET /a/1/open HTTP/1.1\r\nHost: x\r\n\r\n~",
	"a folded line":                 "GET /a/1/open HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\tz\r\n\r\n~",
	"a folded first line":           "GET /a/1/open HTTP/1.1\r\n Host: y\r\nHost: x\r\n\r\n~",
	"a blank before the first name": "GET /a/1/open HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n~",
	"a line without a colon":        "GET /a/1/open HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n~",
	"a NUL in a value":              "GET /a/1/open HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n~",
	"a NUL in a name":               "GET /a/1/open HTTP/1.1\r\nHost: x\r\nX\x00Y: a\r\n\r\n~",
	"a CR in a value":               "GET /a/1/open HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n~",
	"no host":                       "GET /a/1/open HTTP/1.1\r\n\r\n~",
	"two hosts":                     "GET /a/1/open HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n~",
	"two request lines":             "GET /a/1/open HTTP/1.1\r\nGET /a/1/admin HTTP/1.1\r\nHost: x\r\n\r\n~",
	"three blanks":                  "GET   /a/1/open   HTTP/1.1\r\nHost: x\r\n\r\n~",
	"tabs":                          "GET\t/a/1/open\tHTTP/1.1\r\nHost: x\r\n\r\n~",
	"expecting to go on":            "POST /a/1/open HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 90\r\n\r\n~",
	"an upgrade and then more":      "GET /a/1/open HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n~",
	"an upgrade to h2c and more":    "GET /a/1/open HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n~",
	"a header after the blank":      "GET /a/1/open HTTP/1.1\r\nHost: x\r\n\r\nAuthorization: x\r\n~",
	"a question without a path":     "GET ?x HTTP/1.1\r\nHost: x\r\n\r\n~",
}

// TestSmuggling: an inner request must never come out behind the gateway as one of its own. Where it is a body, it is
// a body there too; where it is a second request, it meets the gateway's routes, which know no /b.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	g := start(t)
	for name, shape := range smuggled {
		for _, within := range []string{inner, strings.ReplaceAll(inner, "/b/admin", "/a/1/admin")} {
			statuses := g.raw(strings.ReplaceAll(shape, "~", within))
			g.unharmed(fmt.Sprintf("%s: %v", name, statuses), statuses)
			g.judge(fmt.Sprintf("%s: %v", name, statuses), g.nobody)
		}
	}
	// The connections to the backend are as good as before.
	for range 3 {
		if statuses := g.raw(request("GET", "/a/1/reader/x", g.reader)); len(statuses) != 1 || statuses[0] != 200 {
			t.Fatalf("afterwards: %v", statuses)
		}
	}
	if hits := g.backend.take(); len(hits) != 3 {
		t.Errorf("afterwards three requests were %d: %v", len(hits), hits)
	}
}
