// Package lastgood keeps on disk what a part of the gateway accepted last over xDS, so that it can go on from there when it
// is started again while nobody is there to tell it. It must not import a part of the gateway: it knows names and bytes.
package lastgood

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/socket"
)

const (
	quiet = 2 * time.Millisecond // what is put within it is written together
	every = time.Second          // how often what was written is put on the disk, to outlive the machine too
	retry = 5 * time.Second      // after a write that failed
)

// Options of Open.
type Options struct {
	Path string
	// Of says whose state it is, in a few words: "enforcer default". A file of somebody else's is an error.
	Of  string
	Log *slog.Logger // nil: slog.Default()
}

// Store is one file of resources by type and name. Its methods may be called by many goroutines.
type Store struct {
	path string
	log  *slog.Logger
	lock *os.File

	file  sync.Mutex // of the four below
	j     *journal
	loose bool // something was written that is not on the disk yet
	sick  bool // the last write failed, which was told

	mu      sync.Mutex // of the three below; never held while the disk works
	pending changes
	said    time.Time // when a source had the say, if that is not written yet
	closed  bool

	wake, ended chan struct{}
}

// changes by type and name; nil is a removal. A type without any is one of which the full set is empty.
type changes map[string]map[string]*discoveryv3.Resource

// Open opens the file at o.Path or begins it. One that is damaged is moved aside, which is logged, and an empty one begun.
// It is an error if another process has it open, or if it is somebody else's.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	lock, err := socket.Lock(o.Path + ".lock")
	if errors.Is(err, socket.ErrLocked) {
		return nil, fmt.Errorf("the last good configuration in %s is in use by another process; give each its own dataDir", o.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("last good configuration: %w", err)
	}
	j, err := open(o.Path, o.Of, o.Log)
	var refused refusal
	if errors.As(err, &refused) {
		aside := o.Path + ".refused"
		o.Log.Error("the last good configuration is not used", "file", o.Path, "err", refused, "kept", aside)
		if err = os.Rename(o.Path, aside); err == nil {
			j, err = open(o.Path, o.Of, o.Log)
		}
	}
	if err != nil {
		socket.Unlock(lock)
		return nil, fmt.Errorf("last good configuration: %w", err)
	}
	s := &Store{path: o.Path, log: o.Log, lock: lock, j: j, pending: changes{}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	s.loose = !j.marked && len(j.index) > 0 // of a process that was killed
	go s.write()
	return s, nil
}

// Put replaces and removes resources of a type, as a source says. It costs what it is given and does not wait for the disk. Neither slice
// need have any: then it is noted that there are none. The resources must not be changed afterwards.
func (s *Store) Put(typeURL string, put []*discoveryv3.Resource, remove []string) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	of := s.pending.of(typeURL)
	for _, name := range remove {
		of[name] = nil
	}
	for _, r := range put {
		of[r.GetName()] = r
	}
	s.said = time.Now()
	s.mu.Unlock()
	s.signal()
}

// Drop removes resources that no source has said anything of: what was put stays as old as it is.
func (s *Store) Drop(typeURL string, names []string) {
	s.mu.Lock()
	for _, name := range names {
		s.pending.of(typeURL)[name] = nil
	}
	s.mu.Unlock()
	s.signal()
}

// Confirm notes that a source has the say at this moment, and what was put is all there is. It costs next to nothing, and
// does not wait for the disk.
func (s *Store) Confirm() {
	s.mu.Lock()
	if !s.closed {
		s.said = time.Now()
	}
	s.mu.Unlock()
	s.signal()
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// Load returns the resources of a type in no order, what was put a moment ago included. known says that the type was ever
// put: without it there may be resources that nobody has told us of.
func (s *Store) Load(typeURL string) (resources []*discoveryv3.Resource, known bool, err error) {
	s.file.Lock()
	defer s.file.Unlock()
	s.mu.Lock()
	fresh, known := s.pending[typeURL]
	over := make(map[string]*discoveryv3.Resource, len(fresh))
	for name, r := range fresh {
		over[name] = r
		if r != nil {
			resources = append(resources, r)
		}
	}
	s.mu.Unlock()
	for name, e := range s.j.index[typeURL] {
		if _, newer := over[name]; newer {
			continue
		}
		r, err := s.j.read(name, e)
		if err != nil {
			return nil, false, fmt.Errorf("last good configuration %s: %w", s.path, err)
		}
		resources = append(resources, r)
	}
	_, stored := s.j.index[typeURL]
	return resources, known || stored, nil
}

// SavedAt is when a source last had the say (see Put and Confirm); the zero time if none ever had.
func (s *Store) SavedAt() time.Time {
	s.file.Lock()
	defer s.file.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.said.IsZero() {
		return s.said
	}
	return s.j.savedAt
}

// Flush writes what was put, and puts it on the disk.
func (s *Store) Flush() error {
	s.file.Lock()
	defer s.file.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	return s.sync()
}

// flush writes what was put. The caller holds s.file.
func (s *Store) flush() error {
	s.mu.Lock()
	taken, said := s.pending, s.said
	s.pending, s.said = changes{}, time.Time{}
	s.mu.Unlock()
	if len(taken) == 0 && said.IsZero() {
		return nil
	}
	when := said
	if when.IsZero() {
		when = s.j.savedAt
	}
	err := s.judge(s.j.append(taken, when))
	if err != nil {
		s.mu.Lock()
		s.pending = taken.then(s.pending)
		if s.said.IsZero() {
			s.said = said
		}
		s.mu.Unlock()
		return err
	}
	s.loose = true
	return nil
}

// sync puts what was written on the disk. The caller holds s.file.
func (s *Store) sync() error {
	if !s.loose {
		return nil
	}
	err := s.judge(s.j.sync())
	s.loose = err != nil
	return err
}

// judge says once that writing fails.
func (s *Store) judge(err error) error {
	if err == nil {
		s.sick = false
		return nil
	}
	err = fmt.Errorf("last good configuration %s: %w", s.path, err)
	if !s.sick {
		s.sick = true
		s.log.Error("the last good configuration cannot be written; a restart would go back to an older one", "err", err)
	}
	return err
}

// Close writes what was put and lets the next one have the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.signal()
	<-s.ended
	err := s.Flush()
	s.file.Lock()
	defer s.file.Unlock()
	err = errors.Join(err, s.j.close())
	socket.Unlock(s.lock)
	return err
}

// write writes in the background, until Close.
func (s *Store) write() {
	defer close(s.ended)
	var again, sync <-chan time.Time
	for {
		due := false
		select {
		case <-s.wake:
			time.Sleep(quiet) // why: what a source sends in a burst is one write
		case <-again:
			again = nil
		case <-sync:
			sync, due = nil, true
		}
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		s.file.Lock()
		if s.flush() != nil {
			again = time.After(retry)
		}
		if due {
			_ = s.sync() // judge has said what is wrong
		}
		if s.loose && sync == nil {
			wait := every
			if s.sick {
				wait = retry
			}
			sync = time.After(wait)
		}
		s.file.Unlock()
	}
}

func (c changes) of(typeURL string) map[string]*discoveryv3.Resource {
	of, ok := c[typeURL]
	if !ok {
		of = map[string]*discoveryv3.Resource{}
		c[typeURL] = of
	}
	return of
}

// then is c with what came after it.
func (c changes) then(later changes) changes {
	for typeURL, resources := range later {
		of := c.of(typeURL)
		for name, r := range resources {
			of[name] = r
		}
	}
	return c
}

// refusal is why a file is not read.
type refusal struct{ words string }

func (r refusal) Error() string { return r.words }

func refuse(format string, arguments ...any) error { return refusal{fmt.Sprintf(format, arguments...)} }

// exists says whether there is a file to read.
func exists(path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return true, refuse("%s is not a file", path)
	}
	return true, nil
}
