package config_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/toolkit/certs"
)

// made is a folder with an authority and a certificate of each role, called as the role.
func made(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := certs.Init(dir, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, role := range mtls.Roles {
		if _, err := certs.Issue(dir, certs.Leaf{Identity: mtls.Identity{Role: role, Name: role}, TTL: time.Hour}, certs.Refuse, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func section(dir, name string) string {
	return fmt.Sprintf("tls: {cert: %[1]s/%[2]s.pem, key: %[1]s/%[2]s.key, ca: %[1]s/ca.pem}", dir, name)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir, quiet := made(t), slog.New(slog.DiscardHandler)
	text := "xds: {listen: '0.0.0.0:18000', addresses: ['adapter:18000'], " + section(dir, "enforcer") + "}\n" +
		"enforcer: {listen: '0.0.0.0:18001', address: 'enforcer:18001', admin: '0.0.0.0:9844'}\n" +
		"ratelimiter: {address: 'unix:/run/limiter.sock', " + section(dir, "ratelimiter") + "}\n"
	c, _, err := load(t, text, nil, as(config.Adapter))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	if want := (model.Service{Address: "enforcer:18001", Timeout: time.Second, Role: mtls.RoleEnforcer}); s.Enforcer != want {
		t.Errorf("got %+v, want %+v", s.Enforcer, want)
	}
	if want := (model.Service{Address: "unix:/run/limiter.sock", Timeout: 100 * time.Millisecond}); s.RateLimiter != want {
		t.Errorf("got %+v, want %+v", s.RateLimiter, want)
	}
	_, err = c.LoadXDSTLS(mtls.Options{Role: mtls.RoleAdapter, Log: quiet})
	if want := `:1:74: xds.tls: ` + dir + `/enforcer.pem: its certificate is for role "enforcer" (postern://enforcer/enforcer), and this is for adapter`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}

	c, _, err = load(t, text, nil, as(config.Enforcer))
	if err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func(mtls.Options) (*mtls.Set, error){"xds": c.LoadXDSTLS, "enforcer": c.LoadServiceTLS} {
		set, err := load(mtls.Options{Role: mtls.RoleEnforcer, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if set.Identity().Name != mtls.RoleEnforcer {
			t.Errorf("%s shows %s", name, set.Identity())
		}
	}
}

func TestNoTLS(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.LoadXDSTLS(mtls.Options{Role: mtls.RoleAdapter})
	management, err2 := c.LoadManagementTLS(mtls.Options{})
	if set != nil || management != nil || err != nil || err2 != nil {
		t.Errorf("got %v, %v, %v, %v", set, management, err, err2)
	}
}

func TestManagementTLS(t *testing.T) {
	t.Parallel()
	dir := made(t)
	text := strings.Replace("management: {listen: '0.0.0.0:9843', "+section(dir, "adapter")+"}", " ca:", " clientCA:", 1)
	c, _, err := load(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.LoadManagementTLS(mtls.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil || set.Identity().Name != "adapter" {
		t.Errorf("got %v", err)
	}
}

// TestTLSPaths: what the file names lies beside it, what the environment names where the process runs.
func TestTLSPaths(t *testing.T) {
	t.Parallel()
	dir := made(t)
	write(t, filepath.Join(dir, "postern.yaml"), "xds: {"+section(".", "envoy")+"}")
	c, _, err := config.Load(config.Options{Path: filepath.Join(dir, "postern.yaml"), Lookup: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.LoadXDSTLS(mtls.Options{Role: mtls.RoleEnvoy, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
}
