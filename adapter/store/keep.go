package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Kept is what was good of a project that is followed, and not pushed.
type Kept struct {
	Digest  string
	Archive []byte
	At      time.Time // when it was kept
}

type keptRecord struct {
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

// maxPath is how long a path may be, in bytes.
const maxPath = 16 << 10

// Keep keeps what is good of the project at a path, in place of what was kept of it. The digest is the SHA-256 of the
// archive's bytes in lower-case hex digits. Where that is kept already nothing is written.
func (f *File) Keep(ctx context.Context, path, digest string, archive []byte) error {
	switch {
	case path == "" || len(path) > maxPath:
		return fmt.Errorf("%.100q cannot be kept: a path has 1 to %d bytes", path, maxPath)
	case digestOf(archive) != digest:
		return fmt.Errorf("%s: the archive's digest is %s, and %q was said", path, digestOf(archive), digest)
	}
	return f.writer.update(ctx, func(x *txn) error {
		var was keptRecord
		there, err := x.get(keeping, path, &was)
		if err != nil {
			return err
		}
		if there && was.Digest == digest {
			return refusal{nil}
		}
		if archive == nil {
			archive = []byte{} // why: retain takes none for one that is there
		}
		return errors.Join(
			x.retain(digest, archive),
			x.release(was.Digest),
			x.put(keeping, path, keptRecord{Digest: digest, At: f.options.Now().UTC()}))
	})
}

// Kept returns what is kept of the project at a path, once it is verified. It is [ErrDamaged] if it is not what it was.
func (f *File) Kept(ctx context.Context, path string) (k Kept, there bool, err error) {
	err = f.read(ctx, func(x *txn) error {
		var r keptRecord
		if there, err = x.get(keeping, path, &r); err != nil || !there {
			return err
		}
		k = Kept{Digest: r.Digest, At: r.At}
		k.Archive, err = x.archive(r.Digest)
		return err
	})
	return k, there && err == nil, err
}

// KeptDigest is that of what is kept of the project at a path; "" if nothing is.
func (f *File) KeptDigest(ctx context.Context, path string) (digest string, err error) {
	err = f.read(ctx, func(x *txn) error {
		var r keptRecord
		_, err := x.get(keeping, path, &r)
		digest = r.Digest
		return err
	})
	return digest, err
}

// KeptPaths are the paths of which something is kept, sorted.
func (f *File) KeptPaths(ctx context.Context) (paths []string, err error) {
	err = f.read(ctx, func(x *txn) error {
		b, err := x.bucket([]byte(keeping))
		if err != nil {
			return err
		}
		return b.ForEach(func(key, _ []byte) error {
			paths = append(paths, string(key))
			return nil
		})
	})
	return paths, err
}

// Forget keeps nothing of the project at a path any longer.
func (f *File) Forget(ctx context.Context, path string) error {
	return f.writer.update(ctx, func(x *txn) error {
		var was keptRecord
		there, err := x.get(keeping, path, &was)
		if err != nil {
			return err
		}
		if !there {
			return refusal{nil}
		}
		return errors.Join(x.release(was.Digest), x.remove(keeping, path))
	})
}

// migrateFrom2 makes the table of what is kept.
func migrateFrom2(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists([]byte(keeping)); err != nil {
		return err
	}
	x := &txn{Tx: tx, sums: map[table]sum{keeping: {}}}
	return errors.Join(x.writeSums(), x.setSchema(schema))
}
