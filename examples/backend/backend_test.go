package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(routes())
	t.Cleanup(server.Close)
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/v2/pet/1", "", 200, `{"id":1,"name":"Rex","status":"available"}`},
		{"GET", "/v2/pet/99", "", 404, "no such pet"},
		{"GET", "/v2/pet/x", "", 404, "no such pet"},
		{"GET", "/v2/pet/findByStatus?status=sold", "", 200, `[{"id":3,"name":"Hugo","status":"sold"}]`},
		{"GET", "/v2/store/inventory", "", 200, `{"available":1,"pending":1,"sold":1}`},
		{"POST", "/v2/pet", `{}`, 400, "needs a name"},
		{"POST", "/v2/pet", `{"name":"Ada"}`, 201, `{"id":4,"name":"Ada","status":"available"}`},
		{"DELETE", "/v2/pet/4", "", 204, ""},
		{"GET", "/v2/pet/4", "", 404, "no such pet"},
		{"GET", "/slow/1ms", "", 200, "1ms"},
		{"GET", "/slow/1h", "", 400, "up to 1m"},
		{"PATCH", "/anything?x=1", "hello", 200, `"path":"/anything?x=1"`},
	} {
		request, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		status, body := do(t, server.Client(), request)
		if status != c.status || !strings.Contains(body, c.answer) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.answer)
		}
	}
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	secure, err := certify(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, secure) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	ca, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequest(http.MethodGet, "https://"+listener.Addr().String()+"/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := do(t, &http.Client{Transport: transport}, request); status != 200 || !strings.Contains(body, "HTTP/2.0") {
		t.Errorf("got %d %s, want 200 over HTTP/2", status, body)
	}
}

func do(t *testing.T, client *http.Client, request *http.Request) (int, string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
