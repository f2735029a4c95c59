package mtls_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/toolkit/certs"
)

// authority makes certificates in a folder of its own.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t, t.TempDir()}
	if _, err := certs.Init(a.dir, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes or renews role/name, made so long ago, good for an hour.
func (a authority) issue(role, name string, ago time.Duration, labels ...string) mtls.Files {
	a.t.Helper()
	w, err := certs.Issue(a.dir, certs.Leaf{Identity: mtls.Identity{Role: role, Name: name, Labels: labels}, TTL: time.Hour}, certs.Replace, time.Now().Add(-ago))
	if err != nil {
		a.t.Fatal(err)
	}
	return mtls.Files{Cert: w.Cert, Key: w.Key, CA: w.CA}
}

func (a authority) ca() string { return filepath.Join(a.dir, certs.AuthorityFile) }

func load(t *testing.T, f mtls.Files, log *slog.Logger) *mtls.Set {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s, err := mtls.Load(f, mtls.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// server answers health checks, and notes who asked.
type server struct {
	address string
	log     *fixture.Log
	set     *mtls.Set
	files   mtls.Files

	mu  sync.Mutex
	who []mtls.Identity
}

func serve(t *testing.T, files mtls.Files, accept ...string) *server {
	t.Helper()
	return serveLabel(t, files, "", accept...)
}

func serveLabel(t *testing.T, files mtls.Files, label string, accept ...string) *server {
	t.Helper()
	s := &server{log: &fixture.Log{}, files: files}
	s.set = load(t, s.files, s.log.Logger())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	g := grpc.NewServer(grpc.Creds(s.set.ServerCredentialsOf(label, accept...)), grpc.UnaryInterceptor(s.note))
	healthv1.RegisterHealthServer(g, health.NewServer())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return s
}

func (s *server) note(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if who, ok := mtls.Peer(ctx); ok {
		s.mu.Lock()
		s.who = append(s.who, who)
		s.mu.Unlock()
	}
	return next(ctx, r)
}

func connect(t *testing.T, address string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func ask(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), fixture.Patience)
	defer cancel()
	_, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// stranger is TLS without any of our checks.
func stranger(t *testing.T, f mtls.Files, version uint16) *tls.Config {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MaxVersion: version}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		// why not Certificates: a Go client shows none that the server's list of authorities does not lead to
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}
