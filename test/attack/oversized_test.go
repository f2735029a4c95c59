package attack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestOversized sends more of everything than is good. The limits are those of start: 32 KiB of headers, 64 KiB of body.
func TestOversized(t *testing.T) {
	t.Parallel()
	g := start(t)
	big := strings.Repeat("x", 100<<10)
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("X-%d: y", i))
	}
	for _, c := range []struct {
		name    string
		request string
		want    []int
	}{
		{"a long path", request("GET", "/a/1/open/"+big, g.nobody), []int{431, 414, 400}},
		{"a long query", request("GET", "/a/1/open?"+big, g.nobody), []int{431, 414, 400}},
		{"a path of many segments", request("GET", "/a/1/admin"+strings.Repeat("/x", 15000), g.nobody), []int{401, 431, 414, 400}},
		{"a path of many dots", request("GET", "/a/1/open"+strings.Repeat("/..", 9000)+"/a/1/admin", g.nobody), []int{401, 404, 431, 414, 400}},
		{"a path of many escapes", request("GET", "/a/1/admin/"+strings.Repeat("%41", 10000), g.nobody), []int{401, 431, 414, 400}},
		{"a long header", request("GET", "/a/1/open", g.nobody, "X: "+big), []int{431}},
		{"a long name", request("GET", "/a/1/open", g.nobody, big+": x"), []int{431, 400}},
		{"many headers", request("GET", "/a/1/open", g.nobody, many...), []int{431}},
		{"a long token", request("GET", "/a/1/reader/x", caller{token: big}), []int{431}},
		{"a token of many dots", request("GET", "/a/1/reader/x", caller{token: strings.Repeat(".", 30000)}), []int{401}},
		{"many cookies", request("GET", "/a/1/reader/x", g.nobody, "Cookie: "+strings.Repeat("a=b; ", 5000)), []int{401}},
		{"a long method", request(big, "/a/1/open", g.nobody), []int{431, 400}},
		{"a long body", request("POST", "/a/1/open", g.nobody, fmt.Sprintf("Content-Length: %d", len(big))) + big, []int{413}},
		{"a body that says it is short", request("POST", "/a/1/open", g.nobody, "Content-Length: 2") + big, []int{200, 400}},
		{"a long body in chunks", request("POST", "/a/1/open", g.nobody, "Transfer-Encoding: chunked") + strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 100) + "0\r\n\r\n", []int{413}},
		{"a body of very small chunks", request("POST", "/a/1/open", g.nobody, "Transfer-Encoding: chunked") + strings.Repeat("1\r\nx\r\n", 70<<10) + "0\r\n\r\n", []int{413}},
		{"a long body without a token", request("POST", "/a/1/admin/x", g.nobody, fmt.Sprintf("Content-Length: %d", len(big))) + big, []int{401, 413}},
	} {
		statuses := g.raw(c.request)
		if len(statuses) == 0 || !slices.Contains(c.want, statuses[0]) {
			t.Errorf("%s: %v, want one of %v", c.name, statuses, c.want)
		}
		for _, h := range g.backend.take() {
			if len(h.body) > 64<<10 {
				t.Errorf("%s: %d bytes of body reached the backend", c.name, len(h.body))
			}
			if err := g.fault(h, g.nobody); err != nil {
				t.Errorf("%s: %v:\n%.300s", c.name, err, h)
			}
		}
	}
	g.judge("oversized", g.nobody)
}
