package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

// small is a store in a new file that keeps what the suite asks for. At its end all of it is compared with itself.
func small(t *testing.T, path string) *store.File {
	t.Helper()
	f, err := store.Open(store.Options{Path: path, History: storetest.History})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Store {
		f := small(t, filepath.Join(t.TempDir(), "postern.db"))
		t.Cleanup(func() {
			if err := errors.Join(f.Check(), f.Close()); err != nil {
				t.Error(err)
			}
		})
		return f
	})
}

func TestProperty(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	var f *store.File
	end := func(t *testing.T) {
		if f == nil {
			return
		}
		if err := errors.Join(f.Check(), f.Close()); err != nil {
			t.Fatal(err)
		}
		f = nil
	}
	t.Cleanup(func() { end(t) })
	storetest.Property(t, func(t *testing.T) (storetest.Store, func() storetest.Store) {
		end(t)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		f = small(t, path)
		return f, func() storetest.Store {
			end(t)
			f = small(t, path)
			return f
		}
	})
}
