package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern-gateway/postern/internal/whole"
)

// Restored says what a restore has put in place.
type Restored struct {
	Projects  int    // that are deployed
	Revisions int    // of all projects
	Aside     string // where the file is that was there before; "" if there was none
}

// Restore makes a store of a backup, at path. It reads and verifies all of it before it replaces anything; the file that was
// there is kept as path.before-restore-TIME. While an adapter has that file open it refuses. What the backup has of open
// rollouts is discarded by the first Expire.
func Restore(path string, r io.Reader) (Restored, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return Restored{}, err
	}
	there, err := lock(path) // why first: who cannot be replaced is not worth reading for
	if err != nil {
		return Restored{}, err
	}
	if there != nil {
		defer there.Close()
	}
	temporary, err := os.CreateTemp(folder, ".postern-store-*") // 0600
	if err != nil {
		return Restored{}, err
	}
	defer os.Remove(temporary.Name())
	if err := temporary.Close(); err != nil {
		return Restored{}, err
	}
	done, err := rebuild(temporary.Name(), r)
	if err != nil {
		return Restored{}, fmt.Errorf("%w; nothing was changed", err)
	}
	if done.Aside, err = replace(path, temporary.Name(), there); err != nil {
		return Restored{}, err
	}
	return done, nil
}

// lock keeps adapters from a file, if it is there, until it is closed.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(patience / 50) { // as bbolt does: one that stops or starts a process has it for a moment
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(began) > patience {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s is in use by an adapter: stop it first", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// replace puts a file in the place of another, which is kept.
func replace(path, by string, there *os.File) (aside string, err error) {
	owner, err := os.Stat(filepath.Dir(path))
	if there != nil {
		owner, err = there.Stat()
	}
	if err != nil {
		return "", err
	}
	if s, ok := owner.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 { // why: the adapter is often somebody else
		if err := os.Chown(by, int(s.Uid), int(s.Gid)); err != nil {
			return "", err
		}
	}
	if there == nil {
		return "", place(by, path) // which does not replace what an adapter has made meanwhile
	}
	aside = path + ".before-restore-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := place(path, aside); err != nil {
		return "", err
	}
	return aside, errors.Join(os.Rename(by, path), whole.SyncFolder(filepath.Dir(path)))
}

// rebuild makes a store of a backup in an empty file, and verifies it.
func rebuild(path string, r io.Reader) (done Restored, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: patience, NoSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return done, err
	}
	err = newBackup(r).load(db)
	if err == nil {
		err = guard(func() error { return upgrade(db) })
	}
	if err == nil {
		err = db.View(func(tx *bbolt.Tx) error { return (&txn{Tx: tx}).audit(&done) })
	}
	if err == nil {
		err = db.Sync()
	}
	return done, errors.Join(err, db.Close())
}

// audit verifies everything, archives included, and counts. Archives that the backup had to leave out are not there.
func (x *txn) audit(done *Restored) error {
	if err := x.verify(); err != nil {
		return err
	}
	done.Projects, done.Revisions = int(x.sums[projects].n), int(x.sums[revisions].n)
	_, err := x.eachArchive(func(string, []byte) error { return nil })
	return err
}

// backup reads one, and takes its digest.
type backup struct {
	r      *bufio.Reader
	digest hash.Hash
	at     int64
}

// portion is how much of a backup goes into one transaction.
const portion = 16 << 20

// CheckBackup reads a backup to its end, and says whether it is whole and what is in it.
func CheckBackup(r io.Reader) (Restored, error) {
	b := newBackup(r)
	if _, err := b.begin(); err != nil {
		return Restored{}, err
	}
	var found Restored
	for {
		name, _, _, err := b.next()
		switch {
		case err != nil:
			return Restored{}, err
		case name == nil:
			return found, b.end()
		case string(name) == string(projects):
			found.Projects++
		case string(name) == string(revisions):
			found.Revisions++
		}
	}
}

// load puts all records of a backup into a store.
func (b *backup) load(db *bbolt.DB) error {
	version, err := b.begin()
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return foundAs(tx, version) }); err != nil {
		return err
	}
	for more := true; more; {
		if err := db.Update(func(tx *bbolt.Tx) error { more, err = b.loadSome(tx); return err }); err != nil {
			return err
		}
	}
	return b.end()
}

// loadSome loads a portion, and says whether there is more.
func (b *backup) loadSome(tx *bbolt.Tx) (more bool, err error) {
	for end := b.at + portion; b.at < end; {
		name, key, value, err := b.next()
		if err != nil || name == nil {
			return false, err
		}
		into := tx.Bucket(name)
		if into == nil || len(key) == 0 || len(key) > bbolt.MaxKeySize || bytes.Equal(key, keySchema) && bytes.Equal(name, bucketMeta) {
			return false, fmt.Errorf("the backup is damaged: byte %d ends no record of any table", b.at)
		}
		if err := into.Put(key, value); err != nil {
			return false, err
		}
	}
	return true, nil
}

func newBackup(r io.Reader) *backup {
	return &backup{r: bufio.NewReaderSize(r, chunkSize), digest: sha256.New()}
}

// begin reads the first line.
func (b *backup) begin() (version int, err error) {
	line, err := b.r.ReadSlice('\n')
	if err == nil {
		_, err = fmt.Sscanf(string(line), backupLine, &version)
	}
	switch {
	case err != nil:
		return 0, errors.New("this is no backup of a postern store: the first line does not say so")
	case version > schema:
		return 0, newerError("the backup", version)
	case version < 1:
		return 0, fmt.Errorf("the backup has the schema %d, which there never was", version)
	}
	b.taken(line)
	return version, nil
}

// next reads a record; a nil name is the end of them.
func (b *backup) next() (name, key, value []byte, err error) {
	if name, err = b.field(); err != nil || len(name) == 0 {
		return nil, nil, nil, err
	}
	if key, err = b.field(); err == nil {
		value, err = b.field()
	}
	return name, key, value, err
}

// end reads what follows the records.
func (b *backup) end() error {
	want, got := b.digest.Sum(nil), make([]byte, sha256.Size)
	if _, err := io.ReadFull(b.r, got); err != nil {
		return b.broken(err)
	}
	if !bytes.Equal(want, got) {
		return errors.New("the backup is damaged: it is not what its digest says")
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("the backup is damaged: something follows its end")
	}
	return nil
}

func (b *backup) field() ([]byte, error) {
	var length []byte
	for {
		c, err := b.r.ReadByte()
		if err != nil {
			return nil, b.broken(err)
		}
		if length = append(length, c); c < 0x80 || len(length) > binary.MaxVarintLen64 {
			break
		}
	}
	n, size := binary.Uvarint(length)
	if size <= 0 || n > maxField {
		return nil, fmt.Errorf("the backup is damaged: no length at byte %d", b.at)
	}
	b.taken(length)
	// why not make([]byte, n): a damaged length would ask for memory that the rest does not fill
	var field bytes.Buffer
	if _, err := io.CopyN(&field, b.r, int64(n)); err != nil {
		return nil, b.broken(err)
	}
	b.taken(field.Bytes())
	return slices.Clip(field.Bytes()), nil
}

func (b *backup) taken(what []byte) {
	b.digest.Write(what)
	b.at += int64(len(what))
}

func (b *backup) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the backup is cut off after byte %d", b.at)
	}
	return fmt.Errorf("reading the backup at byte %d: %w", b.at, err)
}
