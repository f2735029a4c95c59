package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// filled is a store with a bit of everything, and an open rollout.
func filled(t *testing.T, path string) *store.File {
	t.Helper()
	f := openAt(t, path)
	for i := range 30 {
		name := fmt.Sprintf("project-%d", i%10)
		push(t, f, storetest.Of(name, strings.Repeat(fmt.Sprintf("%s %d ", name, i), 20_000), store.Claim("default /"+name)))
	}
	push(t, f, storetest.Undeploy("project-7"))
	if _, err := f.Begin(t.Context(), storetest.Of("project-1", "new", "default /new")); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBackup: what is restored is what was there when the backup was made, whatever was pushed meanwhile.
func TestBackup(t *testing.T) {
	t.Parallel()
	f := filled(t, filepath.Join(t.TempDir(), "postern.db"))
	want := everything(t.Context(), f)
	r, w := io.Pipe()
	var busy sync.WaitGroup
	busy.Go(func() { w.CloseWithError(f.Backup(t.Context(), w)) })
	first := make([]byte, 10) // from here on it is of one moment
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	push(t, f, storetest.Of("late", "late", "default /late"))
	elsewhere := filepath.Join(t.TempDir(), "new", "postern.db")
	done, err := store.Restore(elsewhere, io.MultiReader(bytes.NewReader(first), r))
	if err != nil {
		t.Fatal(err)
	}
	busy.Wait()
	if done != (store.Restored{Projects: 9, Revisions: 31}) {
		t.Errorf("%+v", done)
	}
	restored := openAt(t, elsewhere)
	check(t, restored)
	if d := cmp.Diff(want, everything(t.Context(), restored), cmp.AllowUnexported(state{})); d != "" {
		t.Error(d)
	}
	over, err := restored.Expire(t.Context(), time.Now())
	if err != nil || len(over) != 1 || over[0].Project != "project-1" {
		t.Errorf("expired %v, %v", over, err)
	}
	push(t, restored, storetest.Of("project-1", "newer", "default /new"))
	check(t, restored)
	if info, err := os.Stat(elsewhere); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestRestoreInPlace: the file that was there is kept, and one that is in use is not replaced.
func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "postern.db")
	f := filled(t, path)
	var backup bytes.Buffer
	if err := f.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Restore(path, bytes.NewReader(backup.Bytes())); err == nil || !strings.Contains(err.Error(), "in use by an adapter: stop it first") {
		t.Errorf("got %v", err)
	}
	push(t, f, storetest.Of("late", "late", "default /late"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := store.Restore(path, &backup)
	if err != nil {
		t.Fatal(err)
	}
	f = openAt(t, path)
	if _, err := f.Project(t.Context(), "late"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	aside := openAt(t, done.Aside)
	if _, err := aside.Project(t.Context(), "late"); err != nil {
		t.Error(err)
	}
	alone(t, folder, path, done.Aside)
}

// alone holds that a folder has these files alone.
func alone(t *testing.T, folder string, files ...string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*"))
	hidden, err2 := filepath.Glob(filepath.Join(folder, ".*"))
	if err := errors.Join(err, err2); err != nil || len(found) != len(files) || len(hidden) > 0 {
		t.Errorf("there are %v and %v, and should be %v: %v", found, hidden, files, err)
	}
}

// TestRestoreRefuses: what is not a whole backup changes nothing. A file that is damaged can be replaced.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	f := openAt(t, filepath.Join(t.TempDir(), "postern.db"))
	push(t, f, storetest.Of("shop", "one", "default /shop"))
	var backup bytes.Buffer
	if err := f.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	whole := backup.Bytes()
	if found, err := store.CheckBackup(bytes.NewReader(whole)); err != nil || found != (store.Restored{Projects: 1, Revisions: 1}) {
		t.Errorf("%+v, %v", found, err)
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "postern.db")
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, content []byte, words string) {
		t.Helper()
		if _, err := store.CheckBackup(bytes.NewReader(content)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", what, err)
		}
		_, err := store.Restore(path, bytes.NewReader(content))
		if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := 0; n < len(whole); n += 7 {
		refused(fmt.Sprint("cut after ", n), whole[:n], "backup")
	}
	for at := 0; at < len(whole); at += 11 {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x04
		refused(fmt.Sprint("flipped ", at), flipped, "backup")
	}
	refused("more", append(bytes.Clone(whole), 'x'), "something follows its end")
	refused("newer", bytes.Replace(whole, []byte("schema 3"), []byte("schema 4"), 1), "the backup has the schema 4 and this Postern knows those up to 3")
	if now, err := os.ReadFile(path); err != nil || string(now) != "damaged" {
		t.Errorf("%q, %v", now, err)
	}
	alone(t, folder, path)
	if _, err := store.Restore(path, bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
	check(t, openAt(t, path))
}

// TestBackupEnds: who no longer listens is not written to.
func TestBackupEnds(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	f := openAt(t, filepath.Join(folder, "postern.db"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Backup(ended, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	alone(t, folder, "postern.db")
}
