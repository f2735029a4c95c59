package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	https := address(t)
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
	https, dir, authority := address(t), fixture.TempDir(t), fixture.NewAuthority(t)
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
	again := launch(t, append(env, "POSTERN_LISTEN_HTTPS="+address(t)), petstore, "--config", config)
	if code := again.exit(); code != 1 || !strings.Contains(again.stderr.String(), config+":5:5: tls.certificates[0]: private key: open "+filepath.Join(dir, "shop.key")+": no such file") {
		t.Errorf("exit %d:\n%s", code, again.stderr)
	}
}
