package store_test

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// FuzzBackup: whatever comes as a backup is whole or an error.
func FuzzBackup(f *testing.F) {
	s, _ := seed(f)
	var backup bytes.Buffer
	if err := s.Backup(f.Context(), &backup); err != nil {
		f.Fatal(err)
	}
	f.Add(backup.Bytes())
	f.Add([]byte("postern backup 1 schema 3\n\x01a\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if found, err := store.CheckBackup(bytes.NewReader(data)); err == nil && found.Projects > len(data) {
			t.Errorf("%+v in %d bytes", found, len(data))
		}
	})
}

// FuzzPages: whatever a file's pages say, it is said that they are whole or that they are not, in the time that takes.
func FuzzPages(f *testing.F) {
	_, path := seed(f)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := store.CheckPages(whole); err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), uint64(1))
	f.Add(uint32(3*os.Getpagesize()+10), uint64(0xff))
	f.Fuzz(func(_ *testing.T, at uint32, change uint64) {
		data := bytes.Clone(whole)
		i := int(at) % (len(data) - 8)
		binary.NativeEndian.PutUint64(data[i:], binary.NativeEndian.Uint64(data[i:])^change)
		for head := range 2 { // why: their checksums would end most tries at once
			m := data[head*os.Getpagesize()+16:]
			sum := fnv.New64a()
			sum.Write(m[:56])
			binary.NativeEndian.PutUint64(m[56:], sum.Sum64())
		}
		_ = store.CheckPages(data)
	})
}

// seed is a small store.
func seed(f *testing.F) (*store.File, string) {
	f.Helper()
	path := filepath.Join(f.TempDir(), "postern.db")
	s, err := store.Open(store.Options{Path: path})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	for _, name := range []string{"a", "b", "c"} {
		r, err := s.Begin(f.Context(), storetest.Of(name, "archive", store.Claim(name)))
		if err == nil {
			_, err = s.Commit(f.Context(), r.ID, nil)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	return s, path
}
