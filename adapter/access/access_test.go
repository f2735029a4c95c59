package access_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/test/fixture"
)

func grants(t *testing.T, texts ...string) access.Grants {
	t.Helper()
	var g access.Grants
	for _, text := range texts {
		grant, err := access.ParseGrant(text)
		if err != nil {
			t.Fatal(err)
		}
		g = append(g, grant)
	}
	return g
}

func TestGrants(t *testing.T) {
	t.Parallel()
	g := grants(t, "viewer", "deployer/partner", "viewer/partner")
	if g.At("") != access.Viewer || g.At("partner") != access.Deployer || g.At("other") != access.Viewer || g.Anywhere() != access.Deployer {
		t.Errorf("at: %v %v %v, anywhere %v", g.At(""), g.At("partner"), g.At("other"), g.Anywhere())
	}
	if lacks, ok := g.Lacking(access.Deployer, "partner", "b", "a"); !ok || lacks.String() != "deployer/a" {
		t.Errorf("lacking %v, %v", lacks, ok)
	}
	if lacks, ok := g.Lacking(access.Deployer, "partner"); ok {
		t.Errorf("lacking %v", lacks)
	}
	one := grants(t, "deployer/partner")
	if !one.Sees("a", "partner") || one.Sees("a") || one.Sees() || !g.Sees() {
		t.Error("who sees what is wrong")
	}
	if diff := cmp.Diff([]string{"viewer", "deployer/partner", "viewer/partner"}[0], g.Strings()[0]); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"", "nobody", "Admin", "owner", "admin/", "admin/a/b", "admin/-"} {
		if g, err := access.ParseGrant(wrong); err == nil {
			t.Errorf("%q is %v", wrong, g)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	got := access.FromScopes([]string{"openid", "postern:deployer/shop", "postern:viewer", "postern:owner", "postern:", "admin", "xpostern:admin"})
	if diff := cmp.Diff([]string{"viewer", "deployer/shop"}, got.Strings()); diff != "" {
		t.Error(diff)
	}
}

func TestCreateAndRevoke(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "tokens.yaml")
	now := time.Now()
	first, err := access.Create(path, "ci", grants(t, "deployer/partner"), now.Add(time.Hour), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := access.Create(path, "ops", grants(t, "admin"), time.Time{}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := access.Create(path, "ci", grants(t, "viewer"), time.Time{}, now); err == nil {
		t.Error("two tokens have one name")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), first) || strings.Contains(string(text), second) || !strings.HasPrefix(string(text), "# Who may") {
		t.Errorf("the file is\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	clock := now
	r, err := access.Open(path, slog.New(slog.DiscardHandler), func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	who, ok := r.Token(first)
	if !ok || who.Name != "ci" || who.By != access.ByToken || who.Grants.At("partner") != access.Deployer {
		t.Errorf("ci is %+v, %v", who, ok)
	}
	clock = now.Add(2 * time.Hour)
	if _, ok := r.Token(first); ok {
		t.Error("an expired token is good")
	}
	for _, wrong := range []string{"", "ptk_", first + "x", first[:len(first)-1], access.Hash(second)} {
		if who, ok := r.Token(wrong); ok {
			t.Errorf("%q is %+v", wrong, who)
		}
	}
	if err := access.Revoke(path, "ci"); err != nil {
		t.Fatal(err)
	}
	if err := access.Revoke(path, "ci"); err == nil {
		t.Error("a token was revoked twice")
	}
	f, err := access.Read(path)
	if err != nil || len(f.Tokens) != 1 || f.Tokens[0].Name != "ops" {
		t.Errorf("left: %+v, %v", f, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "# Who may") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestEditKeepsTheRest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	const before = "# ours\ncertificates:\n  # the build farm\n  - name: farm\n    roles: [deployer]\ntokens: []\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := access.Create(path, "a", grants(t, "viewer"), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := access.Revoke(path, "a"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# ours", "# the build farm", "name: farm"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is gone:\n%s", want, text)
		}
	}
}

func TestMany(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := access.Create(path, "t"+string(rune('a'+i)), access.Grants{{Role: access.Viewer}}, time.Time{}, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if f, err := access.Read(path); err != nil || len(f.Tokens) != 8 {
		t.Errorf("%d tokens, %v", len(f.Tokens), err)
	}
}

func TestFirstToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, admin := filepath.Join(dir, "tokens.yaml"), filepath.Join(dir, "admin.token")
	made, err := access.FirstToken(path, admin, time.Now())
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	token, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(admin); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r, err := access.Open(path, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if who, ok := r.Token(strings.TrimSpace(string(token))); !ok || who.Grants.At("") != access.Admin {
		t.Errorf("the first token is %+v, %v", who, ok)
	}
	if made, err := access.FirstToken(path, admin, time.Now()); err != nil || made {
		t.Errorf("made again: %v, %v", made, err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	sum := access.Hash("x")
	for text, words := range map[string]string{
		"tokens: [{name: a, sha256: " + sum + "}]":                                                                   "roles are missing",
		"tokens: [{name: a, sha256: abc, roles: [viewer]}]":                                                          "not a SHA-256",
		"tokens: [{name: a, sha256: " + sum + ", roles: [owner]}]":                                                   "not a role",
		"tokens: [{name: a b, sha256: " + sum + ", roles: [viewer]}]":                                                "cannot be a name",
		"tokens: [{name: a, sha256: " + sum + ", roles: [viewer]}, {name: a, sha256: " + sum + ", roles: [viewer]}]": "twice",
		"tokens: [{name: a, sha256: " + sum + ", roles: [viewer]}, {name: b, sha256: " + sum + ", roles: [viewer]}]": "same token",
		"tokens: [{name: a, sha256: " + sum + ", roles: [viewer], token: secret}]":                                   "not found",
		"users: []": "not found",
		"certificates: [{name: a/b, roles: [viewer]}]": "cannot be a name",
		"tokens: []\n---\ntokens: []":                  "more than one",
		"tokens: {":                                    "did not find",
	} {
		if f, err := access.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %+v, %v; want %q", text, f, err, words)
		}
	}
	for _, text := range []string{"", "# nothing\n", "tokens:\n", "tokens: []\ncertificates: []\n"} {
		if _, err := access.Parse([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	old, err := access.Create(path, "old", grants(t, "viewer"), time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var log fixture.Log
	r, err := access.Open(path, slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	// What changes before it is followed is not missed.
	fresh, err := access.Create(path, "new", grants(t, "viewer"), time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Follow(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	fixture.WaitFor(t, "the new token", func() bool { _, ok := r.Token(fresh); return ok })
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("tokens: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the refusal", func() bool { return strings.Contains(log.String(), "rejected") })
	if _, ok := r.Token(old); !ok {
		t.Error("a broken file locks everybody out")
	}
	fixture.WaitFor(t, "the reason", func() bool { return strings.Contains(r.Stale(), "tokens.yaml") })
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the end of the reason", func() bool { return r.Stale() == "" })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the reason of one that is gone", func() bool { return r.Stale() != "" })
	if _, ok := r.Token(old); !ok {
		t.Error("a file that is gone locks everybody out")
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := access.Revoke(path, "old"); err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the revocation", func() bool { _, ok := r.Token(old); return !ok })
	if _, ok := r.Token(fresh); !ok {
		t.Error("another token went with it")
	}
	if strings.Contains(log.String(), fresh) || strings.Contains(log.String(), old) {
		t.Error("a token is in the log")
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(path, []byte("certificates: [{name: ci, roles: [deployer/partner]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := access.Open(path, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	who, ok := r.Certificate(mtls.Identity{Role: mtls.RoleClient, Name: "ci"})
	if !ok || who.Name != "postern://client/ci" || who.By != access.ByCertificate || who.Grants.Anywhere() != access.Deployer {
		t.Errorf("%+v, %v", who, ok)
	}
	for _, i := range []mtls.Identity{{Role: mtls.RoleClient, Name: "cj"}, {Role: mtls.RoleEnvoy, Name: "ci"}, {Name: "ci"}, {}} {
		if who, ok := r.Certificate(i); ok {
			t.Errorf("%v is %+v", i, who)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("tokens: [{name: a, sha256: " + access.Hash("x") + ", roles: [viewer], expires: 2026-01-01T00:00:00Z}]"))
	f.Add([]byte("certificates: [{name: a, roles: [deployer/x]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := access.Parse(text)
		if err != nil {
			return
		}
		for _, token := range file.Tokens {
			if len(token.SHA256) != 64 || token.Roles.Anywhere() == access.Nobody {
				t.Errorf("%+v", token)
			}
		}
	})
}

// TestFollowSeesASwappedToken: a token that is changed for another is revoked, though size and time of the file stay.
func TestFollowSeesASwappedToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	text := func(token string) []byte {
		return []byte("tokens: [{name: ci, sha256: " + access.Hash(token) + ", roles: [viewer]}]\n")
	}
	then := time.Unix(1, 0) // as image builders and some package managers date everything
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(path+".new", text(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path+".new", then, then); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	r, err := access.Open(path, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	go r.Follow(t.Context())
	write("two")
	fixture.WaitFor(t, "the new token", func() bool { _, ok := r.Token("two"); return ok })
	if _, ok := r.Token("one"); ok {
		t.Error("the old token is good still")
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for roles, want := range map[string]string{"admin": "[admin/a admin/b]", "deployer/a": "[deployer/a]", "viewer/c": "[]"} {
		grant, err := access.ParseGrant(roles)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(access.Grants{grant}.Within([]string{"a", "b"}).Strings()); got != want {
			t.Errorf("%s: %s, want %s", roles, got, want)
		}
	}
}
