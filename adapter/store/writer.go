package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// writer takes what is to be written, as much as has come while the disk was busy, into one transaction: the twentieth of
// those who come at once waits for two syncs and not for twenty, and one that is alone waits for nobody.
type writer struct {
	file   *File
	queue  chan *write
	ending chan struct{}
	ended  sync.WaitGroup
	once   sync.Once
	broken error // why nothing can be written any more
}

// write is one to be written. Before it changes anything, do may return a refusal: then nothing of it is written, and the
// others' is. Any other error undoes the whole transaction.
type write struct {
	ctx    context.Context
	do     func(*txn) error
	answer chan error
	err    error
}

// refusal is an error of a write that has changed nothing.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// batch is how much goes into one transaction at most.
const batch = 256

func newWriter(f *File) *writer {
	w := &writer{file: f, queue: make(chan *write, batch), ending: make(chan struct{})}
	w.ended.Go(w.run)
	return w
}

func (w *writer) close() {
	w.once.Do(func() { close(w.ending) })
	w.ended.Wait()
}

// update has something written, and returns when it is on the disk. A context that ends before its turn comes ends it; once
// it is being written it is waited for, so that who gets an error knows that nothing was written.
func (w *writer) update(ctx context.Context, do func(*txn) error) error {
	one := &write{ctx: ctx, do: do, answer: make(chan error, 1)}
	select {
	case w.queue <- one:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ending:
		return ErrClosed
	}
	select {
	case err := <-one.answer:
		return err
	case <-w.ending:
	}
	w.ended.Wait() // why: it may have been the last one
	select {
	case err := <-one.answer:
		return err
	default:
		return ErrClosed
	}
}

func (w *writer) run() {
	for {
		select {
		case one := <-w.queue:
			w.writeAll(w.drain(one))
		case <-w.ending:
			return
		}
	}
}

func (w *writer) drain(first *write) []*write {
	all := []*write{first}
	for len(all) < batch {
		select {
		case one := <-w.queue:
			all = append(all, one)
		default:
			return all
		}
	}
	return all
}

// writeAll writes all of them in one transaction. If one of them breaks it, each gets its own.
func (w *writer) writeAll(all []*write) {
	err := w.transact(all)
	if err != nil && len(all) > 1 {
		for _, one := range all {
			w.writeAll([]*write{one})
		}
		return
	}
	for _, one := range all {
		if one.err == nil {
			one.err = err
		}
		one.answer <- one.err
	}
}

// transact writes all of them, or none.
func (w *writer) transact(all []*write) error {
	if w.broken != nil {
		return w.broken
	}
	began, id := time.Now(), 0
	var sums map[table]sum
	err := guard(func() error {
		return w.file.db.Update(func(tx *bbolt.Tx) error {
			x := &txn{Tx: tx}
			if err := x.readSums(); err != nil {
				return err
			}
			if err := apply(x, all); err != nil {
				return err
			}
			id, sums = tx.ID(), x.sums
			return x.writeSums()
		})
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	w.file.metrics.wrote(time.Since(began), err)
	if err == nil {
		w.file.count(sums)
	} else if id != 0 {
		w.doubt(id, err)
	}
	return err
}

// apply runs writes in a transaction. Those that refuse have an error of their own.
func apply(x *txn, all []*write) error {
	wrote := false
	for _, one := range all {
		if one.err = one.ctx.Err(); one.err != nil {
			continue
		}
		var no refusal
		switch err := one.do(x); {
		case errors.As(err, &no):
			one.err = no.error
		case err != nil:
			return err
		default:
			wrote = true
		}
	}
	if !wrote {
		return errNothing
	}
	return nil
}

// doubt ends all writing if a transaction that failed shows nevertheless: then the disk has refused to confirm what it may
// have, and nobody knows what the next start will find. One that does not show has left nothing, and others may follow:
// the disk may have been full.
func (w *writer) doubt(id int, err error) {
	_ = guard(func() error {
		return w.file.db.View(func(tx *bbolt.Tx) error {
			if tx.ID() >= id {
				w.broken = fmt.Errorf("%s takes nothing until the adapter is started again, because the disk did not confirm a write: %w", w.file.options.Path, err)
			}
			return nil
		})
	})
}

// errNothing rolls a transaction back in which nothing was written, which costs no sync.
var errNothing = errors.New("nothing was written")

// guard makes errors of what bbolt does with a damaged file: it panics, or reads where nothing is mapped.
func guard(do func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(was)
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return do()
}
