package mtls_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

// refused are those who must get nothing, and what the server's log says about each.
func refused(t *testing.T, a authority) map[string]struct {
	config *tls.Config // nil: plain text
	words  string
} {
	t.Helper()
	foreign := newAuthority(t)
	return map[string]struct {
		config *tls.Config
		words  string
	}{
		"no certificate": {stranger(t, mtls.Files{}, 0), "it has shown no certificate"},
		"expired":        {stranger(t, a.issue(mtls.RoleEnvoy, "old", 2*time.Hour), 0), "renew it, with `postern certs client old … --renew` if that made it"},
		"not yet valid":  {stranger(t, a.issue(mtls.RoleEnvoy, "early", -30*time.Minute), 0), "its certificate is not valid before "},
		"foreign":        {stranger(t, foreign.issue(mtls.RoleEnvoy, "envoy-1", 0), 0), ": give it one of an authority in " + a.ca()},
		"wrong role":     {stranger(t, a.issue(mtls.RoleClient, "ann", 0), 0), `its certificate is for role \"client\"`},
		"a server's":     {stranger(t, a.issue(mtls.RoleAdapter, "adapter-2", 0), 0), "its certificate is not for this side of a connection"},
		"TLS 1.2":        {stranger(t, a.issue(mtls.RoleEnvoy, "envoy-2", 0), tls.VersionTLS12), "it does not speak TLS 1.3"},
		"plain text":     {nil, "it does not speak TLS"},
	}
}

func TestGRPCServerRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	files := a.issue(mtls.RoleEnforcer, "enforcer-1", 0)
	for name, c := range refused(t, a) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, files, mtls.RoleEnvoy)
			creds := insecure.NewCredentials()
			if c.config != nil {
				creds = credentials.NewTLS(c.config)
			}
			if err := ask(t, connect(t, s.address, creds)); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			s.log.Wait(t, c.words)
			if !strings.Contains(s.log.String(), "remote=127.0.0.1:") {
				t.Errorf("who it was is not told: %s", s.log)
			}
		})
	}
}

func TestHTTPListenerRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	files := a.issue(mtls.RoleAdapter, "adapter-1", 0)
	for name, c := range refused(t, a) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &fixture.Log{}
			address := serveHTTP(t, load(t, files, log.Logger()), mtls.RoleEnvoy)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.config != nil {
				c.config.NextProtos = nil
				conn = tls.Client(conn, c.config)
			}
			_ = conn.SetDeadline(time.Now().Add(fixture.Patience))
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") // TLS 1.3: the refusal comes after it
			if text, _ := io.ReadAll(conn); strings.Contains(string(text), "secret") {
				t.Errorf("it was served: %s", text)
			}
			log.Wait(t, c.words)
		})
	}
}

func serveHTTP(t *testing.T, s *mtls.Set, roles ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(s.Listen(l, roles...)) }()
	t.Cleanup(func() { server.Close(); <-done })
	return l.Addr().String()
}

func TestHTTPListenerServes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	address := serveHTTP(t, load(t, a.issue(mtls.RoleAdapter, "adapter-1", 0), nil), mtls.RoleClient)
	// why a silent one: it must keep nobody else from being served
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ann := load(t, a.issue(mtls.RoleClient, "ann", 0), nil)
	for want, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		config := ann.ClientConfig(mtls.RoleAdapter)
		if !http2 {
			config.NextProtos = nil
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}, Timeout: fixture.Patience}
		defer client.CloseIdleConnections()
		response, err := client.Get("https://" + address)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, _ := io.ReadAll(response.Body); string(text) != "secret" || response.Proto != want {
			t.Errorf("got %s by %s", text, response.Proto)
		}
	}
}

// TestAnyone may connect where no certificate is asked for, and nobody where no role is named.
func TestAnyone(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	f := a.issue(mtls.RoleAdapter, "adapter-1", 0)
	f.CA = ""
	s := load(t, f, nil)
	client := stranger(t, mtls.Files{}, 0)
	for want, listen := range map[bool]func(net.Listener) net.Listener{true: s.ListenAnyone, false: func(l net.Listener) net.Listener { return s.Listen(l) }} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := listen(l)
		accepted := make(chan error, 1)
		go func() {
			conn, err := served.Accept()
			if err == nil {
				conn.Close()
			}
			accepted <- err
		}()
		if conn, err := tls.Dial("tcp", l.Addr().String(), client); err == nil {
			_, _ = conn.Read(make([]byte, 1)) // until the server has decided
			conn.Close()
		}
		if !want {
			served.Close()
		}
		if err := <-accepted; (err == nil) != want {
			t.Errorf("accepted: %v, want %v", err, want)
		}
		served.Close()
	}
}

// TestUnixSocketsArePlain: whoever may open one is somebody already.
func TestUnixSocketsArePlain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, client := load(t, a.issue(mtls.RoleAdapter, "adapter-1", 0), nil), load(t, a.issue(mtls.RoleEnvoy, "envoy-1", 0), nil)
	path := filepath.Join(fixture.TempDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(server.ServerCredentials(mtls.RoleEnvoy)))
	healthv1.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	for name, creds := range map[string]credentials.TransportCredentials{"with": client.ClientCredentials(mtls.RoleAdapter), "without": insecure.NewCredentials()} {
		conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := ask(t, conn); err != nil {
			t.Errorf("%s certificates: %v", name, err)
		}
	}
}

func TestClientRefuses(t *testing.T) {
	t.Parallel()
	a, foreign := newAuthority(t), newAuthority(t)
	client := load(t, a.issue(mtls.RoleEnvoy, "envoy-1", 0), nil)
	for name, c := range map[string]struct {
		files mtls.Files
		words string
	}{
		"expired":      {a.issue(mtls.RoleEnforcer, "old", 2*time.Hour), "its certificate expired at "},
		"foreign":      {foreign.issue(mtls.RoleEnforcer, "enforcer-1", 0), "its certificate comes from an unknown authority"},
		"wrong role":   {a.issue(mtls.RoleRateLimiter, "limiter-1", 0), `its certificate is for role "ratelimiter"`},
		"no server's":  {a.issue(mtls.RoleEnvoy, "envoy-2", 0), "its certificate is not for this side of a connection"},
		"two sides":    {a.issue(mtls.RoleEnforcer, "enforcer-2", 0), ""},
		"another name": {a.issue(mtls.RoleEnforcer, "enforcer-3", 0, "blue"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
			if err != nil {
				t.Fatal(err)
			}
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					_ = conn.(*tls.Conn).Handshake()
					conn.Close()
				}
			}()
			raw, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_, _, err = client.ClientCredentials(mtls.RoleEnforcer).ClientHandshake(context.Background(), "enforcer", raw)
			switch {
			case c.words == "" && err != nil:
				t.Error(err)
			case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)):
				t.Errorf("got %v, want %s", err, c.words)
			}
		})
	}
}

// TestReload replaces the certificates of both sides and their authority while a connection lives.
func TestReload(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := serve(t, a.issue(mtls.RoleEnforcer, "enforcer-1", 0), mtls.RoleEnvoy)
	client := load(t, a.issue(mtls.RoleEnvoy, "envoy-1", 0), nil)
	creds := client.ClientCredentials(mtls.RoleEnforcer)
	live := connect(t, s.address, creds)
	if err := ask(t, live); err != nil {
		t.Fatal(err)
	}

	a.issue(mtls.RoleEnforcer, "enforcer-1", -time.Minute)
	if err := ask(t, connect(t, s.address, creds)); err != nil {
		t.Fatalf("after the server's renewal: %v", err)
	}
	s.log.Wait(t, "certificate reloaded")

	stranger := newAuthority(t)
	renewed := stranger.issue(mtls.RoleEnvoy, "envoy-1", 0)
	copyFile(t, renewed.CA, s.files.CA) // shared by both sides: nobody's certificate comes from it yet
	if err := ask(t, connect(t, s.address, creds)); err == nil {
		t.Error("the old certificates are good under the new authority")
	}
	server := stranger.issue(mtls.RoleEnforcer, "enforcer-1", 0)
	for from, to := range map[string]string{
		renewed.Cert: filepath.Join(a.dir, "envoy-1.pem"), renewed.Key: filepath.Join(a.dir, "envoy-1.key"),
		server.Cert: s.files.Cert, server.Key: s.files.Key,
	} {
		copyFile(t, from, to)
	}
	if err := ask(t, connect(t, s.address, creds)); err != nil {
		t.Errorf("everything is new, and: %v", err)
	}
	if err := ask(t, live); err != nil {
		t.Errorf("the connection from before is gone: %v", err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenReload: files that cannot be used change nothing, and the log says so once.
func TestBrokenReload(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]struct {
		do    func(t *testing.T, a authority, f mtls.Files)
		words string
	}{
		"no certificate": {func(t *testing.T, _ authority, f mtls.Files) { write(t, f.Cert, "nothing") }, "failed to find any PEM data in certificate input"},
		"no authority":   {func(t *testing.T, _ authority, f mtls.Files) { write(t, f.CA, "nothing") }, "there is no certificate in it"},
		"another key": {func(t *testing.T, a authority, f mtls.Files) {
			copyFile(t, a.issue(mtls.RoleEnforcer, "other", 0).Key, f.Key)
		}, "private key does not match public key"},
		"gone": {func(t *testing.T, _ authority, f mtls.Files) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			s := serve(t, a.issue(mtls.RoleEnforcer, "enforcer-1", 0), mtls.RoleEnvoy)
			own := newAuthority(t) // the client's files are not those that are spoilt
			copyFile(t, a.ca(), own.ca())
			copyFile(t, filepath.Join(a.dir, "ca.key"), filepath.Join(own.dir, "ca.key"))
			client := load(t, own.issue(mtls.RoleEnvoy, "envoy-1", 0), nil)
			spoil.do(t, a, s.files)
			for range 3 {
				if err := ask(t, connect(t, s.address, client.ClientCredentials(mtls.RoleEnforcer))); err != nil {
					t.Fatal(err)
				}
			}
			s.log.Wait(t, spoil.words)
			if n := strings.Count(s.log.String(), "keeping what they were"); n != 1 {
				t.Errorf("it was said %d times:\n%s", n, s.log)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := load(t, a.issue(mtls.RoleEnvoy, "envoy-1", 0), nil)
	ctx, cancel := context.WithCancel(context.Background())
	changed, done := make(chan struct{}, 10), make(chan struct{})
	go func() { defer close(done); _ = s.Follow(ctx, func() { changed <- struct{}{} }) }()
	a.issue(mtls.RoleEnvoy, "envoy-1", -time.Minute)
	select {
	case <-changed:
	case <-time.After(fixture.Patience):
		t.Error("nobody was told")
	}
	cancel()
	<-done
}

// TestLinks follows files as Kubernetes replaces those of a Secret: by turning a link to their folder.
func TestLinks(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t), newAuthority(t)
	a.issue(mtls.RoleEnvoy, "tls", 0)
	b.issue(mtls.RoleEnvoy, "tls", 0, "blue")
	dir := t.TempDir()
	data := filepath.Join(dir, "..data")
	turn := func(to string) {
		if err := os.Symlink(to, data+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(data+".new", data); err != nil {
			t.Fatal(err)
		}
	}
	turn(a.dir)
	s := load(t, mtls.Files{Cert: filepath.Join(data, "tls.pem"), Key: filepath.Join(data, "tls.key"), CA: filepath.Join(data, "ca.pem")}, nil)
	turn(b.dir)
	if labels := s.Identity().Labels; len(labels) != 1 {
		t.Errorf("the old certificate is still in use: %q", labels)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	f := a.issue(mtls.RoleEnvoy, "envoy-1", 0)
	for name, c := range map[string]struct {
		files mtls.Files
		role  string
		words string
	}{
		"no file":    {mtls.Files{Cert: f.Cert, Key: f.Key + ".not", CA: f.CA}, "", "no such file"},
		"wrong role": {f, mtls.RoleAdapter, `its certificate is for role "envoy" (postern://envoy/envoy-1), and this is for adapter`},
		"key as CA":  {mtls.Files{Cert: f.Cert, Key: f.Key, CA: f.Key}, "", "there is no certificate in it"},
		"another's key": {mtls.Files{Cert: f.Cert, Key: filepath.Join(a.dir, "ca.key"), CA: f.CA}, "", f.Cert + " and " + filepath.Join(a.dir, "ca.key") +
			" are not a certificate and its private key: private key does not match public key; name two that were made together, or make both anew, with `postern certs … --renew`"},
		"swapped":                {mtls.Files{Cert: f.Key, Key: f.Cert, CA: f.CA}, "", "PEM"},
		"an authority is nobody": {mtls.Files{Cert: f.CA, Key: filepath.Join(a.dir, "ca.key"), CA: f.CA}, mtls.RoleAdapter, "names nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := mtls.Load(c.files, mtls.Options{Role: c.role}); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v, want %s", err, c.words)
			}
		})
	}
}

func TestLoadWarns(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for name, c := range map[string]struct {
		files mtls.Files
		mode  os.FileMode
		words string
	}{
		"open key": {a.issue(mtls.RoleEnvoy, "open", 0), 0o644, "private key is open to every user"},
		"expired":  {a.issue(mtls.RoleEnvoy, "old", 2*time.Hour), 0o600, "certificate has expired: nobody will accept it; renew it, with `postern certs client old … --renew`"},
		"soon":     {a.issue(mtls.RoleEnvoy, "soon", 0), 0o640, "certificate expires soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := os.Chmod(c.files.Key, c.mode); err != nil {
				t.Fatal(err)
			}
			log := &fixture.Log{}
			load(t, c.files, log.Logger())
			log.Wait(t, c.words)
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	files := a.issue(mtls.RoleAdapter, "adapter-1", 0)
	registry := prometheus.NewRegistry()
	var sets []*mtls.Set
	for range 2 { // one certificate for two listeners
		s, err := mtls.Load(files, mtls.Options{Log: slog.New(slog.DiscardHandler), Registerer: registry})
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	for _, s := range sets {
		conn, err := net.Dial("tcp", serveHTTP(t, s, mtls.RoleClient))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
	}
	value := func(name string) float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if m := f.GetMetric()[0]; f.GetName() == name {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return -1
	}
	fixture.WaitFor(t, "both refusals are counted", func() bool { return value("postern_mtls_refused_total") == 2 })
	who := mtls.Identity{Role: mtls.RoleEnvoy, Name: "edge-1"}
	for _, id := range []string{"edge-1", "edge-2"} {
		_ = sets[0].Authorize(mtls.WithPeer(t.Context(), who), xds.Node{ID: id, Role: xds.RoleEnvoy, Label: xds.DefaultLabel})
	}
	if got := value("postern_mtls_refused_total"); got != 3 {
		t.Errorf("%v refusals are counted, with that of a node that is not what its certificate says", got)
	}
	if got := value("postern_mtls_certificate_not_after_timestamp_seconds"); got != float64(sets[0].NotAfter().Unix()) {
		t.Errorf("it expires at %v", got)
	}
}
