package devissuer_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/postern-gateway/postern/toolkit/devissuer"
)

func TestTokenIsGoodForTheIssuersKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	issuer, err := devissuer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signed, err := issuer.Sign(devissuer.Token{Subject: "ann", Scopes: []string{"read:pets", "write:pets"}, Claims: map[string]any{"aud": "petstore", "n": 1}, TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}

	again, err := devissuer.Open(dir) // as another process does
	if err != nil {
		t.Fatal(err)
	}
	resource, err := again.Resource()
	if err != nil {
		t.Fatal(err)
	}
	if text := string(resource.GetJwks()); strings.Contains(text, `"d"`) {
		t.Fatalf("the private key is handed out: %s", text)
	}
	keys, err := jwk.Parse(resource.GetJwks())
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse([]byte(signed), jwt.WithKeySet(keys), jwt.WithIssuer(devissuer.Name), jwt.WithAudience("petstore"))
	if err != nil {
		t.Fatal(err)
	}
	var scope, client string
	_ = token.Get("scope", &scope)
	_ = token.Get("azp", &client)
	expires, _ := token.Expiration()
	if subject, _ := token.Subject(); subject != "ann" || scope != "read:pets write:pets" || client != "postern-dev" || expires.Sub(now) > time.Hour {
		t.Errorf("got %v", token)
	}
	info, err := os.Stat(filepath.Join(dir, devissuer.File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info.Mode(), err)
	}
}

func TestReservedClaims(t *testing.T) {
	t.Parallel()
	issuer, err := devissuer.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Sign(devissuer.Token{Claims: map[string]any{"iss": "https://keys.example.com"}}, time.Now()); err == nil {
		t.Error("a token of another issuer was signed")
	}
}

func TestBadKeyFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"garbage":  {"{", 0o600, "is not a key of ours: remove it, a new one is made"},
		"readable": {"{}", 0o644, "remove it, a new one is made"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, devissuer.File)
			if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := devissuer.Open(dir); err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestManyAtOnceMakeOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var jwks sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			issuer, err := devissuer.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			resource, err := issuer.Resource()
			if err != nil {
				t.Error(err)
				return
			}
			jwks.Store(string(resource.GetJwks()), true)
		})
	}
	all.Wait()
	n := 0
	jwks.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d keys", n)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files left: %v", files)
	}
}
