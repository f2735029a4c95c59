package attack

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// paths lead, in one reading or another, to what nobody may reach without the scope admin.
var paths = []string{
	// as it is, and ends of it
	"/a/1/admin", "/a/1/admin/", "/a/1/admin//", "/a/1/admin/x", "/a/1/admin?x", "/a/1/admin/?", "/a/1/admin;", "/a/1/admin;x=1", "/a/1/admin.",
	"/a/1/admin..", "/a/1/admin%20", "/a/1/admin%09", "/a/1/admin%0a", "/a/1/admin%0d%0aX:%20y", "/a/1/admin%3f", "/a/1/admin%3b", "/a/1/admin%23", "/a/1/admin%00",
	"/a/1/admin%00.css", "/a/1/admin.json", "/a/1/admin/.", "/a/1/admin/..", "/a/1/admin/./x", "/a/1/admin#", "/a/1/admin#/../open", "/a/1/open#/../admin",
	// other cases
	"/A/1/ADMIN", "/a/1/Admin", "/a/1/aDMIN", "/a/1/%41dmin",
	// slashes
	"//a/1/admin", "///a///1///admin", "/a//1/admin", "/a/1//admin", `/a/1\admin`, `\a\1\admin`, "/a/1/%2fadmin", "/a/1%2fadmin", "/a%2f1/admin", "/a%2F1%2Fadmin",
	"/a/1/%5cadmin", "/a/1%5Cadmin", "/a/1/open%2f..%2fadmin", "/a/1/open%5c..%5cadmin", "/%2fa/1/admin",
	// dots
	"/a/1/open/../admin", "/a/1/open/./../admin", "/a/1/open/x/../../admin", "/a/1/./admin", "/./a/1/admin", "/x/../a/1/admin", "/../a/1/admin",
	"/../../a/1/admin", "/a/1/open/%2e%2e/admin", "/a/1/open/.%2e/admin", "/a/1/open/%2e./admin", "/a/1/open/%2E%2E/admin", "/a/1/%2e/admin", "/%2e%2e/a/1/admin",
	"/a/1/open/..;/admin", "/a/1/open/..;x=1/admin", "/a/1/..;/1/admin", "/a/1/open/..%3b/admin", "/a/1/open/...//admin", "/a/1/open/..../admin", "/a/1/open/..\\admin",
	"/a/1/open/..%00/admin", "/a/1/open/..%09/admin", "/a/1/open/..%0d/admin", "/a/1/open/..%ff/admin",
	// encoded twice, or not as it should be
	"/a/1/open/%252e%252e/admin", "/a/1/open%252f..%252fadmin", "/a/1/%2561dmin", "/a/1/open/%25%32%65%25%32%65/admin", "/a/1/open/%u002e%u002e/admin",
	"/a/1/open/%c0%ae%c0%ae/admin", "/a/1/open/%c0%ae%c0%ae%c0%afadmin", "/a/1/open/%e0%80%ae%e0%80%ae/admin", "/a/1/%uff0fadmin", "/a/1/open/%", "/a/1/open/%2", "/a/1/open/%zz/admin",
	// every letter, encoded
	"/a/1/%61%64%6d%69%6e", "/%61/1/admin", "/%61/%31/%61%64%6d%69%6e", "/a/1/ad%6Din", "/a/1/open/..%2Fadmin", "/a/1/open/%2e%2e%2fadmin",
	// out of the base path
	"/a/1/../../b/admin", "/a/1/open/../../../b/admin", "/a/../b/admin", "/b/admin", "/a/1/open/../../1/admin", "/a/1", "/a/1/", "/a", "/", "", "*",
	// whole URLs
	"http://gate.example/a/1/admin", "http://gate.example/a/1/open/../admin", "http://gate.example//a/1/admin", "https://gate.example/a/1/admin",
	"http://user:pass@gate.example/a/1/admin", "http://127.0.0.1/a/1/admin", "//gate.example/a/1/admin", "gate.example/a/1/admin", "a/1/admin",
	"file:///a/1/admin", "http:///a/1/admin", "http://gate.example", "http://gate.example?x=/a/1/admin", "/http://gate.example/a/1/admin",
	// what is not ASCII, or not printable
	"/a/1/admin\x7f", "/a/1/\x01admin", "/a/1/ädmin", "/a/1/ａｄｍｉｎ", "/a/1/admin\u2215x", "/a/1/open/\u2025/admin", "/a/1/\u200badmin", "/a/1/admi\u0131", "/a/1/adm\xc4\xb1n",
	"/a/1/open\t/a/1/admin", "/a/1/open /a/1/admin", "/a/1/open HTTP/1.1\n/a/1/admin",
	// queries and matrix parameters that look like paths
	"/a/1/open?/../admin", "/a/1/open/x?y=/../../admin", "/a/1/open;/../admin", "/a/1;x=/open/../admin", "/a;/1/admin", "/;/a/1/admin",
	"/a/1/open?/a/1/admin", "/a/1/open%3f/../admin", "/a/1/open%3f/../../admin", "?/a/1/admin", "/?/a/1/admin", "/a?/1/admin",
}

// TestPaths sends each with every method that leads somewhere, by nobody and by somebody who may read.
func TestPaths(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, p := range paths {
		for _, who := range []caller{g.nobody, g.reader} {
			for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
				statuses := g.raw(request(method, p, who))
				name := fmt.Sprintf("%s %q as %q: %v", method, p, who.subject, statuses)
				g.unharmed(name, statuses)
				g.judge(name, who)
			}
		}
	}
}

// pieces are what paths are made of when nobody thinks about them.
var pieces = []string{
	"/", "/", "/", "//", "a", "1", "open", "reader", "admin", "admin", "x", ".", "..", "...", ";", ";x=1", "%2e", "%2e%2e", "%2E.", "%252e", "%2f", "%5c", "%3b", "%23", "%3f",
	"%61dmin", "ADMIN", `\`, "%00", "%20", "+", "~", "!", "$", "'", "(", "*", ",", "@", ":", "?", "#", "%c0%af", "%zz", "%", "é", "/a/1/", "/a/1/open/", "/../", "/./",
}

// TestRandomPaths puts pieces together at random, the same ones every time.
func TestRandomPaths(t *testing.T) {
	t.Parallel()
	g := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		var p strings.Builder
		p.WriteString([]string{"/", "/a/1/", "/a/1/open/", "/a/1/admin/", ""}[random.IntN(5)])
		for range random.IntN(8) {
			p.WriteString(pieces[random.IntN(len(pieces))])
		}
		who := []caller{g.nobody, g.reader}[random.IntN(2)]
		method := []string{"GET", "POST"}[random.IntN(2)]
		statuses := g.raw(request(method, p.String(), who))
		g.judge(fmt.Sprintf("%s %q as %q: %v", method, p.String(), who.subject, statuses), who)
	}
}
