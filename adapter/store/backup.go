package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A backup is a line, records, and a SHA-256 over all before it. A record is the name of its bucket, its key and its value,
// each behind its length as a uvarint; an empty name ends them. So it can be read by a store of another kind, and a page of
// the file that is damaged is not handed on.
const (
	backupLine = "postern backup 1 schema %d\n"
	// maxField bounds what a damaged length can ask for.
	maxField = 256 << 20
)

// Backup writes everything as of one moment, while others read and write. It first writes to a file of its own beside the
// store's, so that a slow receiver holds nobody up, and verifies every record and archive: an error before the first byte
// is written is [ErrDamaged], or one of that file. A damaged archive of an earlier revision is left out, which is logged: else
// there would be no backup any more of what is deployed.
func (f *File) Backup(ctx context.Context, w io.Writer) error {
	spool, err := os.CreateTemp(filepath.Dir(f.options.Path), ".postern-backup-*") // 0600
	if err != nil {
		return err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil { // why now: it is gone however this ends
		return err
	}
	buffered := bufio.NewWriterSize(spool, chunkSize)
	var lost []string
	if err := f.read(ctx, func(x *txn) error { lost, err = x.dump(ctx, buffered); return err }); err != nil {
		return fmt.Errorf("no backup of %s was made: %w", f.options.Path, err)
	}
	for _, digest := range lost {
		f.options.Log.Error("an archive is damaged and was left out of a backup; earlier revisions that have it cannot be returned to", "digest", digest)
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, &cancelled{ctx, spool})
	return err
}

// cancelled reads as long as a context goes on.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// dump writes a backup, and returns the digests of archives that were left out.
func (x *txn) dump(ctx context.Context, to io.Writer) (lost []string, err error) {
	if err := x.verify(); err != nil {
		return nil, err
	}
	digest := sha256.New()
	w := io.MultiWriter(to, digest)
	if _, err := fmt.Fprintf(w, backupLine, schema); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := x.dumpTable(ctx, w, t); err != nil {
			return nil, err
		}
	}
	if lost, err = x.eachArchive(func(key string, archive []byte) error {
		for i := range chunksOf(len(archive)) {
			if err := errors.Join(ctx.Err(), writeFields(w, bucketChunks, chunkKey(key, i), chunkOf(archive, i))); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := writeFields(w, nil); err != nil {
		return nil, err
	}
	_, err = to.Write(digest.Sum(nil))
	return lost, err
}

func (x *txn) dumpTable(ctx context.Context, w io.Writer, t table) error {
	b, err := x.bucket([]byte(t))
	if err != nil {
		return err
	}
	err = b.ForEach(func(key, value []byte) error {
		return errors.Join(ctx.Err(), writeFields(w, []byte(t), key, value))
	})
	if err != nil {
		return err
	}
	return writeFields(w, bucketMeta, sumKey(t), new(x.sums[t]).bytes())
}

// eachArchive reads all of them. What is damaged is an error if a project is deployed in it, and else returned.
func (x *txn) eachArchive(do func(digest string, archive []byte) error) (lost []string, err error) {
	b, err := x.bucket([]byte(contents))
	if err != nil {
		return nil, err
	}
	err = b.ForEach(func(key, _ []byte) error {
		archive, damaged := x.archive(string(key))
		if damaged == nil {
			return do(string(key), archive)
		}
		holder, err := x.deployedIn(string(key))
		switch {
		case err != nil || !errors.Is(damaged, ErrDamaged):
			return errors.Join(damaged, err)
		case holder != "":
			return fmt.Errorf("%w, and project %s is deployed in it", damaged, holder)
		}
		lost = append(lost, string(key))
		return nil
	})
	return lost, err
}

// deployedIn returns a project that is deployed in an archive; "" if there is none.
func (x *txn) deployedIn(digest string) (holder string, err error) {
	b, err := x.bucket([]byte(projects))
	if err != nil {
		return "", err
	}
	err = b.ForEach(func(name, value []byte) error {
		var r projectRecord
		if err := decode(projects, string(name), value, &r); err != nil {
			return err
		}
		p, err := x.whole(string(name), r)
		if p.Current.Digest == digest {
			holder = string(name)
		}
		return err
	})
	return holder, err
}

func writeFields(w io.Writer, fields ...[]byte) error {
	for _, field := range fields {
		if _, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(field))), field...)); err != nil {
			return err
		}
	}
	return nil
}
