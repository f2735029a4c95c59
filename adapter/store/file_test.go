package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/store"
)

func openAt(t *testing.T, path string) *store.File {
	t.Helper()
	f, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestInUse: a second adapter is told which file it is, and what to do.
func TestInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	f := openAt(t, path)
	_, err := store.Open(store.Options{Path: path})
	if err == nil || !strings.Contains(err.Error(), path+" is in use by another adapter") {
		t.Fatalf("got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

// TestClosed: who comes after the end is told so.
func TestClosed(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Project(t.Context(), "shop"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Expire(t.Context(), time.Now()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestLeftOvers: what a process that was killed has left is removed, and what another may be making is not.
func TestLeftOvers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old, young := filepath.Join(folder, ".postern-store-1"), filepath.Join(folder, ".postern-store-2")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	openAt(t, filepath.Join(folder, "postern.db"))
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", old, err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
