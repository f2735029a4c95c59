package xds_test

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/toolkit/certs"
)

// identity is a certificate made so long ago, good for an hour.
func identity(t *testing.T, authority, role string, ago time.Duration) *mtls.Set {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(authority)); err != nil {
		t.Fatal(err)
	}
	w, err := certs.Issue(dir, certs.Leaf{Identity: mtls.Identity{Role: role, Name: "one"}, TTL: time.Hour}, certs.Replace, time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	s, err := mtls.Load(mtls.Files{Cert: w.Cert, Key: w.Key, CA: w.CA}, mtls.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestClientSaysThatItsCertificateIsRefused: never that a pipe is broken.
func TestClientSaysThatItsCertificateIsRefused(t *testing.T) {
	t.Parallel()
	authority := t.TempDir()
	if _, err := certs.Init(authority, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(identity(t, authority, mtls.RoleAdapter, 0).ServerCredentials(mtls.RoleEnforcer)))
	xds.NewServer(xds.ServerOptions{}).Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	var log fixture.Log
	done := make(chan error, 1)
	t.Cleanup(func() { <-done })
	go func() {
		done <- xds.Run(t.Context(), xds.ClientOptions{
			Addresses: []string{l.Addr().String()}, Node: "one", Label: "default", Role: xds.RoleEnforcer, Types: []string{xds.RouteType},
			Apply: func(xds.Update) error { return nil }, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Credentials: identity(t, authority, mtls.RoleEnforcer, 2*time.Hour).ClientCredentials(mtls.RoleAdapter),
		})
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "expired"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it says:\n%s", log.String())
		}
	}
	if text := log.String(); strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset") || strings.Contains(text, "desc =") {
		t.Errorf("it says:\n%s", text)
	}
}
