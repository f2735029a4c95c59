package attack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// forgeries are header lines that claim to be what only the gateway may say, or that ask something in its way of it.
// Whatever of them reaches the backend must not hold the word "forged".
var forgeries = []string{
	// ours, in every spelling
	"x-postern-subject: forged", "X-Postern-Subject: forged", "X-POSTERN-SUBJECT: forged", "x-postern-scopes: forged admin", "x-postern-client: forged",
	"x-postern-scope: /a", "x-postern-anything: forged", "x-postern-: forged", "x_postern_subject: forged", "x-postern_subject: forged", "X_Postern-Subject: forged",
	"x-postern-subject : forged", "x-postern-subject\t: forged", "x-postern-subject: a\r\nx-postern-subject: forged", "x-postern-subject: a\r\n forged", " x-postern-subject: forged",
	"x-other: a\nx-postern-subject: other", "x-other: a\rx-postern-subject: other", "x-other: a\x00x-postern-subject: other", "x-postern-subject:forged",
	// to be dropped by the next hop, or made by a list
	"Connection: close, x-postern-subject", "Connection: x-postern-subject, x-postern-scopes", "Connection: authorization", "Connection: close, authorization",
	"Connection: host", "Connection: x-forwarded-for", "Proxy-Connection: x-postern-subject", "Keep-Alive: x-postern-subject", "Connection: x-user-email",
	// other paths and methods
	"X-Original-URL: /a/1/admin", "X-Rewrite-URL: /a/1/admin", "X-Original-URI: /a/1/admin", "X-Override-URL: /a/1/admin", "X-Forwarded-Path: /a/1/admin", "X-Forwarded-Uri: /a/1/admin",
	"X-Forwarded-Prefix: /a/1/admin", "x-envoy-original-path: /a/1/admin", "x-envoy-decorator-operation: forged", ":path: /a/1/admin", "path: /a/1/admin", "Destination: /a/1/admin",
	"X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: DELETE", "_method: POST",
	// of other people
	"X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=gate;proto=https", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.example", "X-Forwarded-Client-Cert: By=forged;Hash=forged",
	"x-envoy-external-address: forged", "x-envoy-internal: true", "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-max-retries: 100", "x-envoy-retry-on: 5xx", "x-envoy-force-trace: forged",
	"x-envoy-upstream-alt-stat-name: forged", "x-envoy-ip-tags: forged", "x-envoy-expected-rq-timeout-ms: 1", "x-envoy-peer-metadata: forged", "x-request-id: forged",
	// who is asked, and for what
	"Host: b.example", "Host: gate.example", "Host: 127.0.0.1:1", "Host:", "Host: gate.example/a/1/admin", "Host: gate.example#", "Host: a b", "Host: forged@gate.example", "Content-Length: 0",
	// what a mapped claim is written into
	"X-User-Email: forged", "x-user-email: forged\r\nx-user-email: forged", "x_user_email: forged",
	// preflights
	"Origin: https://evil.example\r\nAccess-Control-Request-Method: GET", "Origin: null", "Access-Control-Request-Headers: x-postern-subject",
	// upgrades
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
	"Connection: Upgrade\r\nUpgrade: TLS/1.0", "Connection: upgrade\r\nUpgrade: CONNECT",
	// bodies that are none
	"Expect: 100-continue", "Expect: 200-ok", "TE: trailers", "Trailer: authorization", "Content-Type: application/grpc", "Content-Type: application/grpc-web", "grpc-timeout: 1n",
}

// TestHeaders sends each forgery to what anybody may reach, to what the caller may reach, and to what the caller may not.
func TestHeaders(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, forgery := range forgeries {
		for _, who := range []caller{g.nobody, g.reader} {
			for _, where := range []string{"GET /a/1/open", "POST /a/1/open", "GET /a/1/reader/x", "GET /a/1/mapped", "POST /a/1/reader/x", "GET /a/1/admin"} {
				method, path, _ := strings.Cut(where, " ")
				statuses := g.raw(request(method, path, who, forgery))
				name := fmt.Sprintf("%s with %q as %q: %v", where, forgery, who.subject, statuses)
				g.unharmed(name, statuses)
				g.judge(name, who)
			}
		}
	}
}

// TestIdentityIsToldOnce: what a claim is mapped to takes the place of what the client says.
func TestIdentityIsToldOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.raw(request("GET", "/a/1/mapped", g.reader, "X-User-Email: forged", "x-user-email: forged too"))
	hits := g.backend.take()
	if len(hits) != 1 || hits[0].value("x-user-email") != "r@example.com" || hits[0].value("x-postern-client") != "shop" {
		t.Errorf("the backend was told: %v", hits)
	}
	// A token without the claim leaves no room for the client's own words either.
	silent := g.reader
	silent.token = g.issuer.Token(map[string]any{"sub": "reader", "aud": "gate", "scope": "read"})
	g.raw(request("GET", "/a/1/mapped", silent, "X-User-Email: forged", "x-postern-client: forged"))
	for _, h := range g.backend.take() {
		if h.value("x-user-email") != "" || h.value("x-postern-client") != "" {
			t.Errorf("the backend was told what no token says: %v", h)
		}
	}
}

// TestSeveralCredentials: with two of them it must not depend on luck, or on the backend, which one counts.
func TestSeveralCredentials(t *testing.T) {
	t.Parallel()
	g := start(t)
	bad := "Authorization: Bearer forged"
	for _, lines := range [][]string{
		{bad},
		{bad, bad},
		{"Authorization: Basic Zm9yZ2VkOmZvcmdlZA=="},
		{"authorization: Bearer " + g.reader.token, bad},
		{bad, "authorization: Bearer " + g.reader.token},
		{"Authorization: Bearer " + g.reader.token + ", Bearer forged"},
		{"Authorization: Bearer forged, Bearer " + g.reader.token},
		{"Authorization: Basic forged, Bearer " + g.reader.token},
		{"Proxy-Authorization: Bearer " + g.reader.token},
		{"Cookie: authorization=" + g.reader.token + "; access_token=" + g.reader.token},
		{"X-Authorization: Bearer " + g.reader.token},
		{"Authorization:"},
		{"Authorization: Bearer"},
		{"Authorization: Bearer "},
		{"Authorization: " + g.reader.token},
		{"Authorization: Token " + g.reader.token},
	} {
		statuses := g.raw(request("GET", "/a/1/reader/x", g.nobody, lines...))
		if !slices.Equal(statuses, []int{401}) && !slices.Equal(statuses, []int{400}) {
			t.Errorf("%.60q: %v, want 401", lines, statuses)
		}
		g.judge(fmt.Sprintf("%.60q: %v", lines, statuses), g.nobody)
	}
	for _, query := range []string{"access_token=", "token=", "authorization=Bearer%20"} {
		statuses := g.raw(request("GET", "/a/1/reader/x?"+query+g.reader.token, g.nobody))
		if !slices.Equal(statuses, []int{401}) {
			t.Errorf("?%s…: %v, want 401", query, statuses)
		}
		g.judge(query, g.nobody)
	}
}

// TestMethods: a method that no operation has is refused, by whatever name it goes.
func TestMethods(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, method := range []string{
		"PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "HEAD", "PROPFIND", "MOVE", "COPY", "LOCK", "PURGE", "DEBUG", "TRACK", "PRI", "get", "Get", "GeT", "GETT", "G", "", "GET/", "G\x00ET", "A" + strings.Repeat("B", 5000),
	} {
		for _, path := range []string{"/a/1/admin", "/a/1/reader/x", "/a/1/open"} {
			statuses := g.raw(request(method, path, g.nobody))
			if len(statuses) > 0 && statuses[0] < 300 && (method != "HEAD" || path != "/a/1/open") {
				t.Errorf("%.20q %s: %v", method, path, statuses)
			}
			g.judge(fmt.Sprintf("%.20q %s: %v", method, path, statuses), g.nobody)
		}
	}
	// CONNECT names where to, not what.
	for _, where := range []string{"127.0.0.1:" + port(g.backend.listener.Addr().String()), "gate.example:80", "/a/1/admin"} {
		statuses := g.raw("CONNECT " + where + " HTTP/1.1\r\nHost: " + where + "\r\n\r\nGET /b/admin HTTP/1.1\r\nHost: x\r\n\r\n")
		if len(statuses) > 0 && statuses[0] < 300 {
			t.Errorf("CONNECT %s: %v", where, statuses)
		}
		g.judge("CONNECT "+where, g.nobody)
	}
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }
