package adapter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

// secure is a site whose Envoy serves HTTPS too.
type secure struct {
	*site
	authority   *fixture.Authority
	envoy       *fixture.Envoy
	http, https string // addresses
}

// startSecure serves one open API with these certificates, which lie in files "NAME.pem" and "NAME.key" of the site.
func startSecure(t *testing.T, tlsSettings model.TLS, certificates map[string][]string) *secure {
	t.Helper()
	fixture.EnvoyPath(t)
	s := &secure{site: newSite(t), authority: fixture.NewAuthority(t)}
	s.open("shop", "pets", "/pets", fixture.StartBackend(t, "blue", fixture.BackendOptions{}), "/pet")
	var files []model.CertificateFiles
	for _, name := range tlsSettings.Certificates {
		hosts, there := certificates[name]
		if !there {
			continue
		}
		s.authority.Issue(t, 90*24*time.Hour, hosts...).Write(t, s.path(name+".pem"), s.path(name+".key"))
		files = append(files, model.CertificateFiles{Name: name, Cert: s.path(name + ".pem"), Key: s.path(name + ".key"), Hosts: hosts})
	}
	s.start(func(o *Options) {
		o.Settings.HTTPS, o.Settings.TLS, o.Certificates = "127.0.0.1:0", tlsSettings, files
	}, "shop")
	s.envoy = s.site.envoy()
	s.http, s.https = s.envoy.Address(t, translate.HTTPListener), s.envoy.Address(t, translate.HTTPSListener)
	return s
}

// dial shakes hands as a client that names host, with more settings.
func (s *secure) dial(host string, change func(*tls.Config)) (*tls.Conn, error) {
	c := &tls.Config{ServerName: host, RootCAs: s.authority.Pool, InsecureSkipVerify: host == ""}
	if change != nil {
		change(c)
	}
	return tls.DialWithDialer(&net.Dialer{Timeout: fixture.Patience}, "tcp", s.https, c)
}

// shown is the certificate a client gets that names host, trusted or not.
func (s *secure) shown(host string) *x509.Certificate {
	s.t.Helper()
	conn, err := s.dial(host, func(c *tls.Config) { c.InsecureSkipVerify = true })
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// client speaks one version of HTTP.
func (s *secure) client(host string, h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{ServerName: host, RootCAs: s.authority.Pool}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: fixture.Patience}
}

func TestHTTPSShowsTheCertificateOfTheHost(t *testing.T) {
	t.Parallel()
	s := startSecure(t, model.TLS{Certificates: []string{"first", "second", "third"}}, map[string][]string{
		"first": {"a.test", "127.0.0.1"}, "second": {"*.b.test"}, "third": {"c.b.test", "d.test"},
	})
	s.until("serving", s.Serving)
	for host, want := range map[string]string{
		"a.test": "a.test", "x.b.test": "*.b.test", "c.b.test": "c.b.test", "d.test": "c.b.test",
		"unknown.test": "a.test", "": "a.test", "x.y.b.test": "a.test",
	} {
		if got := s.shown(host).DNSNames[0]; got != want {
			t.Errorf("who names %q is shown the certificate of %s, want %s", host, got, want)
		}
	}
	for host, h2 := range map[string]bool{"a.test": false, "x.b.test": true} {
		res, err := s.client(host, h2).Get("https://" + s.https + "/pets/pet")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || (res.ProtoMajor == 2) != h2 {
			t.Errorf("%s: %d over %s", host, res.StatusCode, res.Proto)
		}
	}
	if status, _ := get("http://" + s.http + "/pets/pet"); status != 200 {
		t.Errorf("the plain listener answers %d", status)
	}
	if _, err := s.dial("a.test", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); err == nil {
		t.Error("a client of TLS 1.1 was served")
	}
	conn, err := s.dial("a.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	if err != nil {
		t.Fatalf("a client of TLS 1.2: %v", err)
	}
	conn.Close()
}

// TestCertificateIsReplaced: who connects gets the new certificate, who is connected notices nothing, and no listener
// changes. What cannot be used changes nothing.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	s := startSecure(t, model.TLS{Certificates: []string{"first"}}, map[string][]string{"first": {"a.test"}})
	s.until("serving", s.Serving)
	url := "https://" + s.https + "/pets/pet"
	kept := s.client("a.test", false) // one connection, from before to after
	address := func() string {
		t.Helper()
		res, err := kept.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := address()
	stop := s.loadTLS("a.test", url)

	next := s.authority.Issue(t, 10*24*time.Hour, "a.test", "new.test")
	next.Write(t, s.path("first.pem"), s.path("first.key"))
	s.until("the new certificate", func() bool { return s.shown("a.test").SerialNumber.String() == next.Serial })
	if got := address(); got != before {
		t.Errorf("the connection from before was not kept: its certificate is %s, want %s", got, before)
	}
	s.until("the log to warn", func() bool { return strings.Contains(s.log.String(), "certificate expires soon") })

	for words, spoil := range map[string]func(){
		"not a certificate and its private key": func() { s.authority.Issue(t, time.Hour, "a.test").Write(t, s.path("first.pem"), s.path("other.key")) },
		"is not good for a.test":                func() { s.authority.Issue(t, time.Hour, "b.test").Write(t, s.path("first.pem"), s.path("first.key")) },
		"no such file":                          func() { must(t, os.Remove(s.path("first.key"))) },
	} {
		next.Write(t, s.path("first.pem"), s.path("first.key"))
		spoil()
		s.until(words, func() bool { return strings.Contains(s.log.String(), words) })
		if got := s.shown("a.test").SerialNumber.String(); got != next.Serial {
			t.Errorf("%s: the certificate is %s, want %s", words, got, next.Serial)
		}
	}
	stop()
	if n := s.envoy.Stat(t, "listener_manager.listener_modified") + s.envoy.Stat(t, "listener_manager.total_listeners_draining"); n != 0 {
		t.Errorf("listeners were changed %d times", n)
	}
	if strings.Contains(s.log.String(), "PRIVATE") || strings.Contains(s.envoy.Log(), "PRIVATE") {
		t.Error("a log tells a key")
	}
}

// TestMountedSecretIsReplaced swaps a link as Kubernetes does.
func TestMountedSecretIsReplaced(t *testing.T) {
	t.Parallel()
	s := &secure{site: newSite(t), authority: fixture.NewAuthority(t)}
	fixture.EnvoyPath(t)
	s.open("shop", "pets", "/pets", fixture.StartBackend(t, "blue", fixture.BackendOptions{}), "/pet")
	put := func(folder string) fixture.Certificate {
		must(t, os.MkdirAll(s.path("mount/"+folder), 0o700))
		c := s.authority.Issue(t, 90*24*time.Hour, "a.test")
		c.Write(t, s.path("mount/"+folder+"/tls.crt"), s.path("mount/"+folder+"/tls.key"))
		must(t, os.Symlink(folder, s.path("mount/..data~")))
		must(t, os.Rename(s.path("mount/..data~"), s.path("mount/..data")))
		return c
	}
	put("..first")
	for _, name := range []string{"tls.crt", "tls.key"} {
		must(t, os.Symlink("..data/"+name, s.path("mount/"+name)))
	}
	s.start(func(o *Options) {
		o.Settings.HTTPS, o.Settings.TLS = "127.0.0.1:0", model.TLS{Certificates: []string{"https/a.test"}}
		o.Certificates = []model.CertificateFiles{{Name: "https/a.test", Cert: s.path("mount/tls.crt"), Key: s.path("mount/tls.key")}}
	}, "shop")
	s.envoy = s.site.envoy()
	s.https = s.envoy.Address(t, translate.HTTPSListener)
	s.until("serving", s.Serving)
	next := put("..second")
	s.until("the new certificate", func() bool { return s.shown("a.test").SerialNumber.String() == next.Serial })
}

func TestMinimumVersionAndClientCertificates(t *testing.T) {
	t.Parallel()
	s := startSecure(t, model.TLS{Certificates: []string{"first"}, MinVersion: "1.3", RequestClientCertificate: true}, map[string][]string{"first": {"a.test"}})
	s.until("serving", s.Serving)
	if _, err := s.dial("a.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
		t.Error("a client of TLS 1.2 was served")
	}
	stranger := fixture.NewAuthority(t).Issue(t, time.Hour, "client.test")
	for name, own := range map[string]*tls.Certificate{"none": {}, "a stranger's": &stranger.TLS} {
		var asked *tls.CertificateRequestInfo
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			ServerName: "a.test", RootCAs: s.authority.Pool,
			GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) { asked = r; return own, nil },
		}}
		req, err := http.NewRequest(http.MethodGet, "https://"+s.https+"/pets/pet", nil)
		must(t, err)
		req.Header.Set("X-Forwarded-Client-Cert", `By=me;Subject="CN=admin"`)
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var echo fixture.Echo
		must(t, json.NewDecoder(res.Body).Decode(&echo))
		res.Body.Close()
		transport.CloseIdleConnections()
		switch {
		case res.StatusCode != 200:
			t.Errorf("%s: %d", name, res.StatusCode)
		case asked == nil:
			t.Errorf("%s: no certificate was asked for", name)
		case len(asked.AcceptableCAs) > 0:
			t.Errorf("%s: only those of %d authorities are asked for", name, len(asked.AcceptableCAs))
		case echo.Headers.Get("X-Forwarded-Client-Cert") != "":
			t.Errorf("%s: the backend is told %q", name, echo.Headers)
		}
	}
}

// TestMissingCertificate: a certificate that never comes keeps the plain listener shut for a moment only.
func TestMissingCertificate(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := startSecure(t, model.TLS{Certificates: []string{"never"}}, nil)
	fixture.WaitFor(t, "the plain listener", func() bool {
		status, _ := get("http://" + s.http + "/pets/pet")
		return status == 200
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := s.dial("a.test", nil); err == nil {
		t.Error("a connection without a certificate was accepted")
	}
}

// TestOnlyEnvoysGetKeys: no other part of a gateway is handed a certificate's key.
func TestOnlyEnvoysGetKeys(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/pet")
	files := model.CertificateFiles{Name: "https/a.test", Cert: p.path("a.pem"), Key: p.path("a.key")}
	fixture.NewAuthority(t).Issue(t, time.Hour, "a.test").Write(t, files.Cert, files.Key)
	p.start(func(o *Options) { o.Certificates = []model.CertificateFiles{files} }, "shop")
	p.until("started", p.Started)
	for role, want := range map[string]bool{xds.RoleEnvoy: true, xds.RoleEnforcer: false, xds.RoleRateLimiter: false} {
		node := xds.Node{ID: "n", Label: xds.DefaultLabel, Role: role}
		for network, private := range map[string]bool{"unix": true, "tcp": false} {
			var local net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 18000}
			if private {
				local = &net.UnixAddr{Name: "xds.sock", Net: network}
			}
			cache, err := p.find(peer.NewContext(t.Context(), &peer.Peer{Addr: local, LocalAddr: local}), node, xds.SecretType)
			if (cache != nil) != (want && private) || (err == nil) != private {
				t.Errorf("%s by %s: %v, %v", role, network, cache, err)
			}
		}
	}
}

func TestBadCertificateFilesAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	a := fixture.NewAuthority(t)
	a.Issue(t, time.Hour, "a.test", "*.b.test").Write(t, p.path("good.pem"), p.path("good.key"))
	l, err := net.Listen("unix", p.socket)
	must(t, err)
	defer l.Close()
	good := model.CertificateFiles{Name: "n", Cert: p.path("good.pem"), Key: p.path("good.key"), Origin: "postern.yaml:7"}
	for words, change := range map[string]func(*model.CertificateFiles){
		"postern.yaml:7: ":                              func(f *model.CertificateFiles) { f.Cert = p.path("none.pem") },
		"none.key: no such file":                        func(f *model.CertificateFiles) { f.Key = p.path("none.key") },
		"is not good for c.test, which hosts names: it": func(f *model.CertificateFiles) { f.Hosts = []string{"a.test", "x.b.test", "*.b.test", "c.test"} },
		"is not good for *.a.test":                      func(f *model.CertificateFiles) { f.Hosts = []string{"*.a.test"} },
		"are not a certificate and its private key":     func(f *model.CertificateFiles) { f.Key = f.Cert },
	} {
		f := good
		change(&f)
		_, err := New(Options{Settings: settings(), Listen: l, Certificates: []model.CertificateFiles{f}})
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("got %v, want %q", err, words)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loadTLS makes requests, on kept and on new connections, until stop, which tells of failures.
func (s *secure) loadTLS(host, url string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var mu sync.Mutex
	calls, failures := 0, map[string]int{}
	for i := range 4 {
		client := s.client(host, i%2 == 0)
		group.Go(func() {
			for ctx.Err() == nil {
				res, err := client.Get(url)
				mu.Lock()
				if calls++; err != nil {
					failures[err.Error()]++
				} else if res.StatusCode != 200 {
					failures[fmt.Sprint(res.StatusCode)]++
				}
				mu.Unlock()
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if i > 1 {
					client.CloseIdleConnections()
				}
				time.Sleep(time.Millisecond) // why: the machine is not ours alone
			}
		})
	}
	return func() {
		s.t.Helper()
		cancel()
		group.Wait()
		if len(failures) > 0 || calls == 0 {
			s.t.Errorf("of %d calls failed: %v", calls, failures)
		}
	}
}
