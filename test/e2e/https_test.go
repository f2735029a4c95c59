package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// status is what the https listener answers a client that trusts these authorities.
func (g *gateway) secure(address, host string, pool *x509.CertPool, path string) (int, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: fixture.Patience}).Get("https://" + address + path)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// TestDevelopmentCertificate: --dev with listen.https and nothing else serves HTTPS, and says how to trust it.
func TestDevelopmentCertificate(t *testing.T) {
	t.Parallel()
	https := fixture.Address(t)
	g := start(t, []string{"POSTERN_VAR_PETS=" + backend(t).Listener.Addr().String()}, petstore, "--listen-https", https)
	_, port, _ := strings.Cut(https, ":")
	for _, words := range []string{"https://localhost:" + port + "/petstore/1.0.0", "curl --cacert " + filepath.Join(g.dataDir, "dev-https.pem")} {
		fixture.WaitFor(t, words, func() bool { return strings.Contains(g.stderr.String(), words) })
	}
	text, err := os.ReadFile(filepath.Join(g.dataDir, "dev-https.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	if status, err := g.secure(https, "localhost", pool, "/petstore/1.0.0/pet/1"); status != 401 {
		t.Errorf("%d %v", status, err)
	}
	if !strings.Contains(g.metrics(), `postern_certificate_not_after_timestamp_seconds{certificate="https/localhost"} 1.`) {
		t.Error("no metric tells when the certificate expires")
	}
	if strings.Contains(g.stderr.String()+g.stdout.String(), "PRIVATE") {
		t.Error("a key is told")
	}
}

// TestHTTPSAlone: certificates of the configuration, its file's folder being what they are relative to, replaced while the
// gateway runs; no plain listener; and translate tells no key.
func TestHTTPSAlone(t *testing.T) {
	t.Parallel()
	https, dir, authority := fixture.Address(t), fixture.TempDir(t), fixture.NewAuthority(t)
	config := filepath.Join(dir, "postern.yaml")
	text := "listen: {http: '', https: '" + https + "'}\ntls:\n  minVersion: '1.3'\n  certificates:\n  - {cert: shop.pem, key: shop.key, hosts: [shop.test]}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	put := func() {
		authority.Issue(t, time.Hour, "shop.test").Write(t, filepath.Join(dir, "shop.pem"), filepath.Join(dir, "shop.key"))
	}
	put()
	env := []string{"POSTERN_VAR_PETS=" + backend(t).Listener.Addr().String(), "POSTERN_LISTEN_HTTP="}
	g := launch(t, env, petstore, "--config", config)
	g.ready()
	if status, err := g.secure(https, "shop.test", authority.Pool, "/petstore/1.0.0/pet/1"); status != 401 {
		t.Errorf("%d %v", status, err)
	}
	put()
	fixture.WaitFor(t, "the log to tell of the new certificate", func() bool { return strings.Contains(g.stderr.String(), "certificate replaced") })
	if status, err := g.secure(https, "shop.test", authority.Pool, "/none"); status != 404 {
		t.Errorf("%d %v", status, err)
	}
	cmd := command(t, g.dataDir, "translate", petstore, "--config", config)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "https/shop.test") || !strings.Contains(string(out), "[redacted]") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "shop.key")); err != nil {
		t.Fatal(err)
	}
	again := launch(t, append(env, "POSTERN_LISTEN_HTTPS="+fixture.Address(t)), petstore, "--config", config)
	if code := again.exit(); code != 1 || !strings.Contains(again.stderr.String(), config+":5:5: tls.certificates[0]: private key: open "+filepath.Join(dir, "shop.key")+": no such file") {
		t.Errorf("exit %d:\n%s", code, again.stderr)
	}
}

// apart starts one service of a gateway, in a data folder that it shares with others, until the test ends or stop.
func apart(t *testing.T, dataDir string, args ...string) (stderr *output, stop func()) {
	t.Helper()
	cmd := command(t, dataDir, append(args, "--management-listen", fixture.Address(t))...)
	cmd.Env = append(cmd.Env, "POSTERN_ENVOY_CONCURRENCY=1", "POSTERN_ENVOY_DRAIN=0s")
	stderr = &output{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait() // how it ends is another test's
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], stderr)
		}
	})
	t.Cleanup(stop)
	return stderr, stop
}

// TestHTTPSWithoutAnAdapter: an Envoy that starts while no adapter is there shows the last good certificate, and the
// current one as soon as an adapter is back.
func TestHTTPSWithoutAnAdapter(t *testing.T) {
	t.Parallel()
	https, dir, authority := fixture.Address(t), fixture.TempDir(t), fixture.NewAuthority(t)
	config, data := filepath.Join(dir, "postern.yaml"), filepath.Join(dir, "data")
	text := "listen: {http: '" + fixture.Address(t) + "', https: '" + https + "'}\ntls: {certificates: [{cert: shop.pem, key: shop.key}]}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	put := func() string {
		c := authority.Issue(t, time.Hour, "shop.test")
		c.Write(t, filepath.Join(dir, "shop.pem"), filepath.Join(dir, "shop.key"))
		return c.Serial
	}
	shown := func() string {
		conn, err := tls.Dial("tcp", https, &tls.Config{ServerName: "shop.test", RootCAs: authority.Pool})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := put()
	_, stopAdapter := apart(t, data, "adapter", petstore, "--config", config)
	envoy, _ := apart(t, data, "envoy", "--config", config)
	fixture.WaitFor(t, "the certificate", func() bool { return shown() == old })
	fixture.WaitFor(t, "Envoy to have accepted everything", func() bool { return command(t, data, "healthy", "adapter", "--ready").Run() == nil })

	stopAdapter()
	next := put()
	pid := regexp.MustCompile(`msg="envoy is live".* pid=(\d+)`).FindStringSubmatch(envoy.String())
	if pid == nil {
		t.Fatalf("no Envoy is live:\n%s", envoy)
	}
	if n, _ := strconv.Atoi(pid[1]); syscall.Kill(n, syscall.SIGKILL) != nil {
		t.Fatalf("no process %s", pid[1])
	}
	fixture.WaitFor(t, "another Envoy", func() bool { return strings.Count(envoy.String(), "envoy is live") == 2 })
	fixture.WaitFor(t, "the last good certificate", func() bool { return shown() == old })

	apart(t, data, "adapter", petstore, "--config", config)
	fixture.WaitFor(t, "the new certificate", func() bool { return shown() == next })
}
