package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// TestRestore: a backup becomes what an adapter of the data folder was pushed, when none is running there.
func TestRestore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	backup, data := filepath.Join(folder, "gateway.backup"), filepath.Join(folder, "data")
	source := pushedTo(t, filepath.Join(folder, storeFile), "shop")
	writeBackup(t, source, backup)

	out, err := restore(backup, data)
	if want := filepath.Join(data, storeFile) + ": 1 projects, 1 revisions\n"; err != nil || out != want {
		t.Fatalf("got %q, %v", out, err)
	}
	running := pushedTo(t, filepath.Join(data, storeFile), "late")
	if _, err := restore(backup, data); err == nil || !strings.Contains(err.Error(), "is in use by an adapter: stop it first") {
		t.Errorf("got %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	out, err = restore(backup, data, "--output", "json")
	if err != nil || !regexp.MustCompile(`"kept": ".*/postern\.db\.before-restore-\d+T[\d.]+Z"`).MatchString(out) {
		t.Errorf("got %q, %v", out, err)
	}
	again := openStore(t, filepath.Join(data, storeFile))
	found, _, err := again.Projects(t.Context(), "", 0)
	if err != nil || len(found) != 1 || found[0].Name != "shop" {
		t.Errorf("got %v, %v", found, err)
	}
}

func restore(backup, data string, more ...string) (string, error) {
	c := newRoot()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(append([]string{"restore", backup, "--data-dir", data}, more...))
	err := c.Execute()
	return out.String(), err
}

// pushedTo opens a store, and has a project in it.
func pushedTo(t *testing.T, path, project string) *store.File {
	t.Helper()
	s := openStore(t, path)
	r, err := s.Begin(t.Context(), storetest.Of(project, "archive", store.Claim("default /"+project)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), r.ID, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func openStore(t *testing.T, path string) *store.File {
	t.Helper()
	s, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func writeBackup(t *testing.T, s *store.File, path string) {
	t.Helper()
	var content bytes.Buffer
	if err := s.Backup(t.Context(), &content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
