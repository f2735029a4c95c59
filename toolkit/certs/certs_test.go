package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func leaf(role, name string, more ...func(*Leaf)) Leaf {
	l := Leaf{Identity: mtls.Identity{Role: role, Name: name}, TTL: LeafTTL}
	for _, m := range more {
		m(&l)
	}
	return l
}

func read(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(content(t, path))
	if block == nil {
		t.Fatalf("%s is no PEM", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func initialize(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "certs")
	w, err := Init(dir, AuthorityTTL, now)
	if err != nil {
		t.Fatal(err)
	}
	if w.Kept || !w.NotAfter.Equal(now.Add(AuthorityTTL)) {
		t.Errorf("got %+v", w)
	}
	return dir
}

func TestInitKeeps(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	before := content(t, filepath.Join(dir, "ca.pem"))
	w, err := Init(dir, time.Hour, now)
	if err != nil || !w.Kept || !bytes.Equal(before, content(t, w.Cert)) {
		t.Errorf("got %+v, %v", w, err)
	}
	if err := os.Remove(w.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, time.Hour, now); err == nil || !strings.Contains(err.Error(), "ca.key is not: put it back") {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(before, content(t, w.Cert)) {
		t.Error("the authority was replaced")
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for role, want := range map[string][]x509.ExtKeyUsage{
		mtls.RoleAdapter: {server}, mtls.RoleEnforcer: {server, client}, mtls.RoleRateLimiter: {server, client},
		mtls.RoleEnvoy: {client}, mtls.RoleClient: {client},
	} {
		w, err := Issue(dir, leaf(role, role+"-1", func(l *Leaf) {
			l.Labels, l.Hosts = []string{"blue"}, []string{"a.example.com", "*.b", "127.0.0.1", "::1"}
		}), Refuse, now)
		if err != nil {
			t.Fatal(err)
		}
		c := read(t, w.Cert)
		if !slices.Equal(c.ExtKeyUsage, want) {
			t.Errorf("%s may be used for %v", role, c.ExtKeyUsage)
		}
		who, err := mtls.IdentityOf(c)
		if err != nil || who.String() != "postern://"+role+"/"+role+"-1" || !slices.Equal(who.Labels, []string{"blue"}) {
			t.Errorf("got %s, %v", who, err)
		}
		if len(c.DNSNames) != 2 || len(c.IPAddresses) != 2 || !c.NotAfter.Equal(now.Add(LeafTTL)) || c.IsCA {
			t.Errorf("got %+v", c)
		}
		if err := c.CheckSignatureFrom(read(t, w.CA)); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{"ca.key", "envoy-1.key"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", file, info.Mode(), err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 12 {
		t.Errorf("%d files are there, %v", len(left), err)
	}
}

func TestExisting(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	l := leaf(mtls.RoleEnvoy, "edge-1")
	first, err := Issue(dir, l, Refuse, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Issue(dir, l, Refuse, now); err == nil || !strings.Contains(err.Error(), "is there already; --renew") {
		t.Errorf("got %v", err)
	}
	if w, err := Issue(dir, l, Keep, now.Add(LeafTTL/2)); err != nil || !w.Kept || !w.NotAfter.Equal(first.NotAfter) {
		t.Errorf("got %+v, %v", w, err)
	}
	old := content(t, first.Key)
	for name, c := range map[string]struct {
		leaf  Leaf
		keep  Existing
		later time.Duration
	}{
		"asked for": {l, Replace, 0},
		"old":       {l, Keep, LeafTTL * 3 / 4},
		"label":     {leaf(mtls.RoleEnvoy, "edge-1", func(l *Leaf) { l.Labels = []string{"blue"} }), Keep, 0},
		"host":      {leaf(mtls.RoleEnvoy, "edge-1", func(l *Leaf) { l.Hosts = []string{"b"} }), Keep, 0},
	} {
		w, err := Issue(dir, c.leaf, c.keep, now.Add(c.later))
		if err != nil || w.Kept || bytes.Equal(old, content(t, w.Key)) {
			t.Errorf("%s: got %+v, %v", name, w, err)
		}
		old = content(t, w.Key)
	}
	for _, existing := range []Existing{Replace, Keep} {
		if _, err := Issue(dir, leaf(mtls.RoleClient, "edge-1"), existing, now); err == nil || !strings.Contains(err.Error(), "is not of postern://client/edge-1") {
			t.Errorf("another's certificate was replaced: %v", err)
		}
	}
}

func TestNothingOutlivesTheAuthority(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	w, err := Issue(dir, leaf(mtls.RoleEnvoy, "edge-1"), Refuse, now.Add(AuthorityTTL-time.Hour))
	if err != nil || !w.NotAfter.Equal(now.Add(AuthorityTTL)) {
		t.Errorf("got %+v, %v", w, err)
	}
	if _, err := Issue(dir, leaf(mtls.RoleEnvoy, "edge-2"), Refuse, now.Add(AuthorityTTL)); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("got %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	for words, l := range map[string]Leaf{
		"is not a role":          leaf("root", "a"),
		"is not a name":          leaf(mtls.RoleEnvoy, "../a"),
		"the authority's files":  leaf(mtls.RoleEnvoy, "ca"),
		"is no host":             leaf(mtls.RoleAdapter, "a", func(l *Leaf) { l.Hosts = []string{"https://a"} }),
		"cannot be a label":      leaf(mtls.RoleEnvoy, "a", func(l *Leaf) { l.Labels = []string{"a b"} }),
		"must live for some":     leaf(mtls.RoleEnvoy, "a", func(l *Leaf) { l.TTL = 0 }),
		"there is no authority":  leaf(mtls.RoleEnvoy, "nowhere"),
		"is not an authority th": leaf(mtls.RoleEnvoy, "foreign"),
	} {
		where := dir
		switch l.Name {
		case "nowhere":
			where = t.TempDir()
		case "foreign": // a leaf in the authority's place
			where = initialize(t)
			if _, err := Issue(where, leaf(mtls.RoleEnvoy, "edge-1"), Refuse, now); err != nil {
				t.Fatal(err)
			}
			for from, to := range map[string]string{"edge-1.pem": "ca.pem", "edge-1.key": "ca.key"} {
				if err := os.Rename(filepath.Join(where, from), filepath.Join(where, to)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := Issue(where, l, Refuse, now); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %s", err, words)
		}
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leaves := []Leaf{leaf(mtls.RoleAdapter, "adapter"), leaf(mtls.RoleEnvoy, "edge-1")}
	for _, kept := range []bool{false, true} {
		made, err := Set(dir, leaves, now)
		if err != nil || len(made) != 3 {
			t.Fatalf("got %d, %v", len(made), err)
		}
		for _, w := range made {
			if w.Kept != kept {
				t.Errorf("%s: kept is %v", w.Cert, w.Kept)
			}
		}
	}
}

func TestHTTPSNamesNoPart(t *testing.T) {
	t.Parallel()
	dir := initialize(t)
	w, err := Issue(dir, leaf(HTTPS, "https", func(l *Leaf) { l.Hosts, l.Apart = []string{"localhost", "127.0.0.1"}, true }), Refuse, now)
	if err != nil {
		t.Fatal(err)
	}
	c := read(t, w.Cert)
	if who, err := mtls.IdentityOf(c); err != nil || who.Role != mtls.RoleNone || len(c.URIs) > 0 {
		t.Errorf("it names %s, %v", who, err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content(t, w.CA))
	if _, err := c.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: pool, CurrentTime: now}); err != nil {
		t.Error(err)
	}
	if _, err := Issue(dir, leaf(HTTPS, "other"), Refuse, now); err == nil || !strings.Contains(err.Error(), "needs the hosts") {
		t.Errorf("got %v", err)
	}
	if _, err := Issue(dir, leaf(HTTPS, "a/b", func(l *Leaf) { l.Hosts = []string{"localhost"} }), Refuse, now); err == nil {
		t.Error("a name that leads elsewhere was taken")
	}
}
