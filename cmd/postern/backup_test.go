package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
)

// backups serves what send writes as a backup, for the token "admin".
func backups(t *testing.T, send func(w io.Writer) error) (server string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/backup" || r.Header.Get("Authorization") != "Bearer admin" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"type":"about:blank","title":"Forbidden","status":403,"code":"forbidden","detail":"this takes an admin"}`)
			return
		}
		if send(w) != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func backup(args ...string) (string, error) {
	c := newRoot()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SetArgs(append([]string{"backup"}, args...))
	err := c.Execute()
	return out.String(), err
}

// TestBackup: a backup is in its file, which can be restored, or in the output; none takes the place of another.
func TestBackup(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	source := pushedTo(t, filepath.Join(folder, storeFile), "shop")
	server := backups(t, func(w io.Writer) error { return source.Backup(t.Context(), w) })
	file := filepath.Join(folder, "gateway.backup")
	as := []string{"--server", server, "--token", "admin"}

	out, err := backup(append(as, file)...)
	if err != nil || !strings.HasPrefix(out, file+": 1 projects, 1 revisions, ") {
		t.Fatalf("got %q, %v", out, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := restore(file, filepath.Join(folder, "data")); err != nil {
		t.Error(err)
	}
	if _, err := backup(append(as, file)...); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("got %v", err)
	}
	out, err = backup(append(as, "-")...)
	if _, wrong := store.CheckBackup(strings.NewReader(out)); err != nil || wrong != nil {
		t.Errorf("got %v, %v", err, wrong)
	}
	out, err = backup(append(as, filepath.Join(folder, "second"), "--output", "json")...)
	var told struct{ Projects, Revisions, Bytes int }
	if wrong := json.Unmarshal([]byte(out), &told); err != nil || wrong != nil || told.Projects != 1 || told.Revisions != 1 || told.Bytes == 0 {
		t.Errorf("got %q, %v, %v", out, err, wrong)
	}
}

// TestBackupFails: a backup that was not let out, broke off or is damaged leaves no file, and the exit code says which it was.
func TestBackupFails(t *testing.T) {
	t.Parallel()
	source := pushedTo(t, filepath.Join(t.TempDir(), storeFile), "shop")
	var whole bytes.Buffer
	if err := source.Backup(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole.Bytes())
	damaged[len(damaged)/2] ^= 1
	for _, c := range []struct {
		name, token, words string
		code               int
		send               func(io.Writer) error
	}{
		{"not an admin", "deployer", "this takes an admin", exitBadInput, nil},
		{"broken off", "admin", "", exitUnreachable, func(w io.Writer) error {
			_, err := w.Write(whole.Bytes()[:whole.Len()/2])
			return errors.Join(err, errors.New("no more"))
		}},
		{"damaged", "admin", "sent what cannot be restored: the backup is damaged", exitUnreachable, func(w io.Writer) error {
			_, err := w.Write(damaged)
			return err
		}},
		{"another server", "admin", "sent what cannot be restored: this is no backup", exitUnreachable, func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("Welcome! ", 100_000))
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			_, err := backup("--server", backups(t, c.send), "--token", c.token, filepath.Join(folder, "gateway.backup"))
			var f failure
			if !errors.As(err, &f) || f.code != c.code || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
				t.Errorf("%v is left: %v", left, err)
			}
		})
	}
}
