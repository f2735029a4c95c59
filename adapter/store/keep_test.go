package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// TestMigrateFrom2: a file of schema 2 has all that it had, and can keep what is followed.
func TestMigrateFrom2(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	f := small(t, path)
	push(t, f, storetest.Of("shop", "one", "default /shop"))
	if err := f.AsSchema2(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openAt(t, path)
	check(t, f)
	c := storetest.Of("/srv/shop", "one")
	if err := f.Keep(t.Context(), "/srv/shop", c.Digest, c.Archive); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Project(t.Context(), "shop"); err != nil || p.Current.Digest != c.Digest {
		t.Errorf("%+v, %v", p, err)
	}
	check(t, f)
	for _, name := range []string{path, path + ".schema2"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 { // there are secrets in projects
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestKeptIsBackedUp: a backup has what is kept.
func TestKeptIsBackedUp(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	c := storetest.Of("/srv/shop", "one")
	if err := f.Keep(t.Context(), "/srv/shop", c.Digest, c.Archive); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := f.Backup(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "postern.db")
	if _, err := store.Restore(path, &whole); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, path)
	check(t, again)
	if k, there, err := again.Kept(t.Context(), "/srv/shop"); err != nil || !there || string(k.Archive) != "one" {
		t.Errorf("%+v, %v, %v", k, there, err)
	}
}
