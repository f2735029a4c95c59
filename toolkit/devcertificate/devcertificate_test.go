package devcertificate_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-gateway/postern/toolkit/devcertificate"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	now := time.Now()
	serial := func(at time.Time) string {
		t.Helper()
		cert, key, err := devcertificate.Open(dir, at)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"localhost", "shop.localhost", "127.0.0.1", "::1"} {
			if err := pair.Leaf.VerifyHostname(host); err != nil {
				t.Error(err)
			}
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's file: %v %v", info, err)
		}
		return pair.Leaf.SerialNumber.String()
	}
	first := serial(now)
	if serial(now.Add(300*24*time.Hour)) != first {
		t.Error("a good certificate was replaced")
	}
	second := serial(now.Add(350 * 24 * time.Hour))
	if second == first {
		t.Error("a certificate that is about to expire was kept")
	}
	if err := os.WriteFile(filepath.Join(dir, devcertificate.KeyFile), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial(now) == second {
		t.Error("a broken key was kept")
	}
}
