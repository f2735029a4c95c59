package store_test

import (
	"path/filepath"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Store {
		f, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "postern.db"), History: storetest.History})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return f
	})
}
