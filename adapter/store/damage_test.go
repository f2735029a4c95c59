package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/storetest"
)

// TestDamagedArchive: a bit that flips in an archive is found when it is read and when a backup is made, and the same push
// again mends it. When it is of an earlier revision, a backup does without it.
func TestDamagedArchive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	f := openAt(t, path)
	c := storetest.Of("shop", strings.Repeat("an archive's content ", 10_000), "default /shop")
	push(t, f, c)
	damage := func() {
		t.Helper()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; ; at++ { // wherever it was written
			next := bytes.Index(whole[at:], []byte("content an archive"))
			if next < 0 {
				break
			}
			at += next
			whole[at] ^= 0x10
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	var log fixture.Log
	f, err := store.Open(store.Options{Path: path, Log: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Archive(t.Context(), c.Digest); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	var backup bytes.Buffer
	err = f.Backup(t.Context(), &backup)
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "project shop is deployed in it") || backup.Len() > 0 {
		t.Errorf("got %d bytes, %v", backup.Len(), err)
	}
	push(t, f, c)
	check(t, f)
	push(t, f, storetest.Of("shop", "changed", "default /shop"))

	damage()
	if f, err = store.Open(store.Options{Path: path, Log: log.Logger()}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	log.Wait(t, "was left out of a backup; earlier revisions that have it cannot be returned to\" digest="+c.Digest)
	elsewhere := filepath.Join(t.TempDir(), "postern.db")
	if _, err := store.Restore(elsewhere, &backup); err != nil {
		t.Fatal(err)
	}
	restored := openAt(t, elsewhere)
	if all, err := restored.Revisions(t.Context(), "shop"); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := restored.Archive(t.Context(), c.Digest); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	push(t, restored, c) // and it is there again
	check(t, restored)
}

// TestDamaged flips bits anywhere. What the file says then is what was written, or that it is damaged; the process lives on.
func TestDamaged(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	f := openAt(t, filepath.Join(folder, "postern.db"))
	for i := range 60 {
		name := fmt.Sprintf("project-%d", i%20)
		push(t, f, storetest.Of(name, fmt.Sprintf("%s %d", name, i), store.Claim("default /"+name), store.Claim("default /x/"+name)))
	}
	want := everything(t.Context(), f)
	used := f.Size() / os.Getpagesize()
	if err := errors.Join(want.err, f.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(folder, "postern.db"))
	if err != nil {
		t.Fatal(err)
	}
	found, harmless := 0, 0
	t.Logf("%d pages", used)
	for range 300 {
		at := rand.N(used)*os.Getpagesize() + rand.N(200) // where pages say what they are
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << rand.N(8)
		path := filepath.Join(folder, "damaged.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var log fixture.Log
		f, err := store.Open(store.Options{Path: path, Log: log.Logger()})
		if err != nil || strings.Contains(log.String(), "one of the store's two heads is damaged") {
			found++
			if err == nil {
				_ = f.Close()
			}
			continue
		}
		got := everything(t.Context(), f)
		switch {
		case got.err != nil:
			found++
		case cmp.Diff(want, got, cmp.AllowUnexported(state{})) != "":
			t.Errorf("byte %d: nobody noticed", at)
		default:
			harmless++
			surviving(t, f, path, at)
		}
		_ = f.Close()
	}
	t.Logf("%d were found, %d did no harm", found, harmless)
}

// surviving writes on to a damaged file in which nothing was found. Nothing of what was there may suffer.
func surviving(t *testing.T, f *store.File, path string, at int) {
	t.Helper()
	for i := range 3 {
		name := fmt.Sprintf("project-%d", i)
		r, err := f.Begin(t.Context(), storetest.Of(name, fmt.Sprint("again ", i), store.Claim("default /"+name)))
		if err == nil {
			_, err = f.Commit(t.Context(), r.ID, nil)
		}
		if err != nil {
			t.Logf("byte %d: %v", at, err)
			return
		}
	}
	_ = f.Close()
	f, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Errorf("byte %d: after some writes: %v", at, err)
		return
	}
	check(t, f)
	_ = f.Close()
}

// state is all that a store says.
type state struct {
	Projects  []store.Project
	Revisions map[string][]store.Revision
	Archives  map[string]string
	Rollouts  map[string]store.Rollout
	err       error
}

func everything(ctx context.Context, f *store.File) state {
	s := state{Revisions: map[string][]store.Revision{}, Archives: map[string]string{}, Rollouts: map[string]store.Rollout{}}
	s.Projects, _, s.err = f.Projects(ctx, "", 0)
	for _, p := range s.Projects {
		all, err := f.Revisions(ctx, p.Name)
		s.Revisions[p.Name], s.err = all, errors.Join(s.err, err)
		for _, r := range all {
			archive, err := f.Archive(ctx, r.Digest)
			rollout, err2 := f.Rollout(ctx, r.Rollout)
			s.Archives[r.Digest], s.Rollouts[r.Rollout], s.err = string(archive), rollout, errors.Join(s.err, err, err2)
		}
	}
	return s
}

// TestNoStore: what is no store is refused with words, and left alone.
func TestNoStore(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"empty": "", "text": strings.Repeat("This is no store. ", 10_000), "short": "x"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(store.Options{Path: path})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "`postern restore`") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != content {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}
