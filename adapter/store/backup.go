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
// is written is [ErrDamaged], or one of that file.
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
	if err := f.read(ctx, func(x *txn) error { return x.dump(ctx, buffered) }); err != nil {
		return fmt.Errorf("no backup of %s was made: %w", f.options.Path, err)
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

// dump writes a backup.
func (x *txn) dump(ctx context.Context, to io.Writer) error {
	if err := x.verify(); err != nil {
		return err
	}
	digest := sha256.New()
	w := io.MultiWriter(to, digest)
	if _, err := fmt.Fprintf(w, backupLine, schema); err != nil {
		return err
	}
	for _, t := range tables {
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
		if err := writeFields(w, bucketMeta, sumKey(t), new(x.sums[t]).bytes()); err != nil {
			return err
		}
	}
	if err := x.dumpArchives(ctx, w); err != nil {
		return err
	}
	if err := writeFields(w, nil); err != nil {
		return err
	}
	_, err := to.Write(digest.Sum(nil))
	return err
}

// dumpArchives writes those that something refers to.
func (x *txn) dumpArchives(ctx context.Context, w io.Writer) error {
	b, err := x.bucket([]byte(contents))
	if err != nil {
		return err
	}
	return b.ForEach(func(key, _ []byte) error {
		archive, err := x.archive(string(key))
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		for i := range chunksOf(len(archive)) {
			if err := writeFields(w, bucketChunks, chunkKey(string(key), i), chunkOf(archive, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeFields(w io.Writer, fields ...[]byte) error {
	for _, field := range fields {
		if _, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(field))), field...)); err != nil {
			return err
		}
	}
	return nil
}
