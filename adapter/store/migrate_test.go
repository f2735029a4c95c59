package store_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/storetest"
)

var update = flag.Bool("update", false, "write the fixture of schema 1 anew")

const fixture1 = "testdata/schema1.db.gz.base64"

// TestFixture writes the fixture, if asked: a file of schema 1, as its version wrote it.
func TestFixture(t *testing.T) {
	if !*update {
		if _, err := os.Stat(fixture1); err != nil {
			t.Error(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "postern.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return write1(tx) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), os.MkdirAll("testdata", 0o755)); err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(zipped.Bytes())
	lines := slices.Collect(slices.Chunk([]byte(text), 100))
	if err := os.WriteFile(fixture1, append(bytes.Join(lines, []byte("\n")), '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// write1 writes what schema 1 had: bare JSON, deployed and undeployed projects side by side, and no table of claims.
func write1(tx *bbolt.Tx) error {
	one, two := storetest.Of("shop", "one"), storetest.Of("shop", strings.Repeat("two ", 20_000))
	other, new := storetest.Of("other", "other"), storetest.Of("shop", "new")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	revision := func(n uint64, digest, rollout string) store.Revision {
		return store.Revision{Number: n, Digest: digest, Labels: []string{"default"}, Author: "ci", At: at, Rollout: rollout}
	}
	opened := store.Rollout{ID: "r5", Candidate: new, State: store.Opened, Began: at, Base: 2}
	opened.Claims = []store.Claim{"default /shop", "default /new"}
	buckets := map[string]map[string]any{
		"projects": {
			"shop":  map[string]any{"current": 2, "claims": []string{"default /shop", "default /old"}},
			"other": map[string]any{"current": 1, "claims": []string{"default /other"}},
			"gone":  map[string]any{"current": 2},
		},
		"revisions": {
			"shop\x00\x00\x00\x00\x00\x00\x00\x00\x01":  revision(1, one.Digest, "r1"),
			"shop\x00\x00\x00\x00\x00\x00\x00\x00\x02":  revision(2, two.Digest, "r2"),
			"other\x00\x00\x00\x00\x00\x00\x00\x00\x01": revision(1, other.Digest, "r3"),
			"gone\x00\x00\x00\x00\x00\x00\x00\x00\x01":  revision(1, one.Digest, "r0"),
			"gone\x00\x00\x00\x00\x00\x00\x00\x00\x02":  revision(2, "", "r4"),
		},
		"rollouts": {"r5": opened, "r4": store.Rollout{ID: "r4", State: store.Committed, Candidate: store.Candidate{Project: "gone"}, Revision: 2}},
		"open":     {"shop": "r5"},
		"ended":    {"\x00\x00\x00\x00\x00\x00\x00\x09": "r4"},
		"contents": {},
		"chunks":   {},
		"meta":     {},
	}
	refs := map[string]int{one.Digest: 2, two.Digest: 1, other.Digest: 1, new.Digest: 1}
	for _, c := range []store.Candidate{one, two, other, new} {
		buckets["contents"][c.Digest] = map[string]int{"size": len(c.Archive), "refs": refs[c.Digest]}
	}
	for _, name := range slices.Sorted(maps.Keys(buckets)) {
		b, err := tx.CreateBucket([]byte(name))
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(buckets[name])) {
			value, err := json.Marshal(buckets[name][key])
			if err := errors.Join(err, b.Put([]byte(key), value)); err != nil {
				return err
			}
		}
	}
	for _, c := range []store.Candidate{one, two, other, new} {
		for i, chunk := range slices.Collect(slices.Chunk(c.Archive, 64<<10)) {
			if err := tx.Bucket([]byte("chunks")).Put(append([]byte(c.Digest), 0, 0, 0, byte(i)), chunk); err != nil {
				return err
			}
		}
	}
	return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("1"))
}

// schema1 puts the fixture into a folder.
func schema1(t *testing.T) (path string) {
	t.Helper()
	text, err := os.ReadFile(fixture1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	path = filepath.Join(t.TempDir(), "postern.db")
	if err := errors.Join(err, os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMigrate: a file of schema 1 has all that it had, and what later ones have besides; as it was it is kept.
func TestMigrate(t *testing.T) {
	t.Parallel()
	path := schema1(t)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var log fixture.Log
	f, err := store.Open(store.Options{Path: path, Log: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	check(t, f)
	for claim, holder := range map[store.Claim]string{"default /shop": "shop", "default /old": "shop", "default /new": "shop", "default /other": "other"} {
		_, err := f.Begin(t.Context(), storetest.Of("third", "x", claim))
		var claimed *store.ClaimedError
		if !errors.As(err, &claimed) || claimed.Holder != holder {
			t.Errorf("%s: %v", claim, err)
		}
	}
	if r, err := f.Commit(t.Context(), "r5", nil); err != nil || r.Number != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	push(t, f, storetest.Of("third", "x", "default /old"))
	for name, n := range map[string]int{"shop": 3, "other": 1, "gone": 2, "third": 1} {
		if all, err := f.Revisions(t.Context(), name); err != nil || len(all) != n {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	check(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	aside := path + ".schema1"
	if !strings.Contains(log.String(), aside) {
		t.Errorf("the log says %s", log.String())
	}
	kept, err := os.ReadFile(aside)
	if err != nil || !bytes.Equal(kept[2*os.Getpagesize():], was[2*os.Getpagesize():len(kept)]) { // but for the heads, which are written anew
		t.Errorf("what was kept is not what was: %v", err)
	}
	check(t, openAt(t, aside)) // it can be used
	openAt(t, path)            // and this needs nothing any more
}

// TestMigrateRefuses: a file that cannot be migrated stays what it is.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, words string
		change      func(*bbolt.Tx) error
	}{
		{"two have one claim", `both have "default /shop"`, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("projects")).Put([]byte("other"), []byte(`{"current":1,"claims":["default /shop"]}`))
		}},
		{"a revision is missing", "revision 7 of project other is missing", func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("projects")).Put([]byte("other"), []byte(`{"current":7}`))
		}},
		{"a table is missing", "it has no revisions", func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("revisions")) }},
		{"newer", "has the schema 4 and this Postern knows those up to 3", func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("4"))
		}},
		{"no schema", `its schema is "x"`, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("x")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := schema1(t)
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(c.change), db.Close()); err != nil {
				t.Fatal(err)
			}
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = store.Open(store.Options{Path: path}); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v", err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, was) {
				t.Errorf("it was changed: %v", err)
			}
		})
	}
}
