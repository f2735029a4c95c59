package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/postern-gateway/postern/internal/whole"
)

const (
	// defaultHistory is how many revisions of a project are kept where nobody says.
	defaultHistory = 10
	// EndedKept is how many rollouts are kept that have ended.
	EndedKept = 1000
	// patience is how long another process may take to let go of the file: that of an adapter that is just stopping.
	patience = time.Second
	// mapped is how much of the file is mapped at first: while it fits, a long reader never makes a writer wait.
	mapped = 256 << 20
	// growth is by how much the file grows at least.
	growth = 1 << 20
)

// Options are where a store is, and how much it keeps.
type Options struct {
	Path string // of the file; its folder must exist
	// History is how many revisions of each project can be returned to, the deployed one included; 0: 10.
	History int
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nowhere
}

// File is a store in one file, for one process at a time. Its methods may be called by many goroutines at once. What they
// return outlives the machine, but for what Acknowledge and Renew note, which are written when the rollout ends: the owner of
// every open rollout is this process, and they end with it.
type File struct {
	options Options
	db      *bbolt.DB
	writer  *writer
	metrics *metrics
	counts  atomic.Pointer[map[table]uint64]

	mu   sync.Mutex
	held map[string]*hold // the open rollouts
}

// hold is what is known of an open rollout besides what is written.
type hold struct {
	lease time.Time
	acks  []Ack
}

// Open opens the file, or makes one. It verifies every record, and brings a file of an older schema to the present one after
// keeping a copy beside it. A file that is damaged, of a newer Postern or open elsewhere is an error that says what to do.
func Open(o Options) (*File, error) {
	if o.History = cmp.Or(max(o.History, 0), defaultHistory); o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := os.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
		if err := create(o.Path); err != nil {
			return nil, fmt.Errorf("cannot make the store %s: %w", o.Path, err)
		}
	}
	db, err := openDB(o.Path)
	if err != nil {
		return nil, err
	}
	f := &File{options: o, db: db, held: map[string]*hold{}, metrics: newMetrics()}
	if err := f.begin(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	f.writer = newWriter(f)
	sweep(filepath.Dir(o.Path), o.Now())
	return f, nil
}

// sweep removes what was being made when a process was killed. What is younger than a day may still be worked on.
func sweep(folder string, now time.Time) {
	left, _ := filepath.Glob(filepath.Join(folder, ".postern-store-*"))
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path)
		}
	}
}

// begin brings the file to the present schema and verifies it.
func (f *File) begin() error {
	err := f.checkFile()
	if err == nil {
		err = migrate(f.db, f.options.Path, f.options.Log)
	}
	if err == nil {
		err = guard(func() error {
			return f.db.View(func(tx *bbolt.Tx) error {
				x := &txn{Tx: tx}
				err := x.verify()
				f.count(x.sums)
				if err != nil {
					return err
				}
				all, err := x.open()
				for _, r := range all {
					f.hold(r.ID, time.Time{}) // its owner is gone
				}
				return err
			})
		})
	}
	if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%s: %w; put a backup in its place with `postern restore`", f.options.Path, err)
	}
	return err
}

// Close waits for the writes under way.
func (f *File) Close() error {
	f.writer.close()
	return f.db.Close()
}

// create makes an empty store, whole or not at all.
func create(path string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".postern-store-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if err := temporary.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temporary.Name(), 0o600, &bbolt.Options{Timeout: patience})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(found), db.Close()); err != nil {
		return err
	}
	if err := place(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// place gives a file another name, which must be free: of two that try at once, one wins.
func place(from, to string) error {
	err := os.Link(from, to)
	if err != nil && !errors.Is(err, fs.ErrExist) { // some file systems have no links
		if _, there := os.Stat(to); there == nil {
			return fs.ErrExist
		}
		err = os.Rename(from, to)
	}
	return cmp.Or(err, whole.SyncFolder(filepath.Dir(to)))
}

// found makes the buckets of an empty store.
func found(tx *bbolt.Tx) error {
	if err := foundAs(tx, schema); err != nil {
		return err
	}
	x := &txn{Tx: tx, sums: map[table]sum{}}
	for _, t := range tables {
		x.sums[t] = sum{}
	}
	return x.writeSums()
}

// openDB opens and locks the file.
func openDB(path string) (*bbolt.DB, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, fmt.Errorf("%s is no store: remove it, or put a backup in its place with `postern restore`", path)
	}
	var opened *os.File
	o := &bbolt.Options{Timeout: patience, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped}
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		opened, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
		return opened, err
	}
	var db *bbolt.DB
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, o)
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s is in use by another adapter: stop it, or give this one a dataDir of its own", path)
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read as a store (%w): put a backup in its place with `postern restore`", path, err)
	}
	ours, err := opened.Stat()
	if err == nil {
		info, err = os.Stat(path)
	}
	if err != nil || !os.SameFile(ours, info) { // why: a restore may have put another there before this one was locked
		return nil, errors.Join(fmt.Errorf("%s was replaced while it was opened: start again", path), err, db.Close())
	}
	db.AllocSize = growth
	return db, nil
}

// checkFile looks at the pages before any is written over.
func (f *File) checkFile() error {
	file, err := os.Open(f.options.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	one, err := checkPages(file, f.db.Info().PageSize)
	if one {
		f.options.Log.Warn("one of the store's two heads is damaged; unless the machine lost power while it was written, the last write is lost", "file", f.options.Path)
	}
	return err
}

// read runs a function that reads.
func (f *File) read(ctx context.Context, do func(*txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error { return do(&txn{Tx: tx}) })
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// count keeps how many records there are, for metrics.
func (f *File) count(sums map[table]sum) {
	counts := make(map[table]uint64, len(sums))
	for t, s := range sums {
		counts[t] = s.n
	}
	f.counts.Store(&counts)
}
