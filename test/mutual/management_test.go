package mutual

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestManagementByCertificate: who shows a certificate that the tokens file lists has its roles, and a token counts more.
func TestManagementByCertificate(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.write("data/adapter/tokens.yaml", "certificates: [{name: ops, roles: [viewer/partner]}]\n")
	s.postern("tokens", "create", "ci", "--role", "deployer", "--config", "adapter.yaml")
	ops := s.certificate("certs", mtls.Identity{Role: mtls.RoleClient, Name: "ops"}, 0)
	other := s.certificate("certs", mtls.Identity{Role: mtls.RoleClient, Name: "other"}, 0)
	s.run("adapter", "adapter")
	ask := func(set *mtls.Set, path, token string) (int, string) {
		config := set.ClientConfig(mtls.RoleAdapter)
		config.NextProtos = []string{"http/1.1"}
		return ask(t, config, "https://"+s.address["management"]+path, token)
	}
	fixture.WaitFor(t, "the adapter", func() bool { status, _ := ask(ops, "/api/v1/whoami", ""); return status == http.StatusOK })
	if _, body := ask(ops, "/api/v1/whoami", ""); !strings.Contains(body, `"name":"postern://client/ops","by":"certificate"`) && !strings.Contains(body, `"by":"certificate","name":"postern://client/ops","roles":["viewer/partner"]`) {
		t.Errorf("ops is %s", body)
	}
	if status, body := ask(ops, "/api/v1/backup", ""); status != http.StatusForbidden || !strings.Contains(body, "lacks the role admin") {
		t.Errorf("a backup for a viewer: %d %s", status, body)
	}
	if status, body := ask(other, "/api/v1/gateways", ""); status != http.StatusForbidden {
		t.Errorf("not listed: %d %s", status, body)
	}
	if status, body := ask(other, "/api/v1/whoami", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d %s", status, body)
	}
	if _, err := os.Stat(filepath.Join(s.folder, "data/adapter/admin.token")); err == nil {
		t.Error("a token of an admin was made though there was a file of tokens")
	}
}

// TestManagementByToken: TLS and tokens are enough for a listener that others reach, and what needs no token needs none.
func TestManagementByToken(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	text, err := os.ReadFile(filepath.Join(s.folder, "adapter.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(s.address["management"], ":")
	s.write("adapter.yaml", strings.NewReplacer(", clientCA: certs/ca.pem", "", s.address["management"], "0.0.0.0:"+port).Replace(string(text)))
	s.run("adapter", "adapter")
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // a test's: the adapter's name is none of a host
	url := "https://127.0.0.1:" + port
	fixture.WaitFor(t, "the adapter", func() bool { status, _ := ask(t, config, url+"/healthz", ""); return status == http.StatusOK })
	var token []byte
	fixture.WaitFor(t, "the first token", func() bool {
		token, err = os.ReadFile(filepath.Join(s.folder, "data/adapter/admin.token"))
		return err == nil
	})
	fixture.WaitFor(t, "the management API", func() bool {
		status, _ := ask(t, config, url+"/api/v1/gateways", strings.TrimSpace(string(token)))
		return status == http.StatusOK
	})
	if status, _ := ask(t, config, url+"/api/v1/gateways", ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
}

func ask(t *testing.T, config *tls.Config, url, token string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}
