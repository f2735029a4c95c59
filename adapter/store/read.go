package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Rollout returns one that is open, or among the last 1000 that ended; else [ErrUnknown].
func (f *File) Rollout(ctx context.Context, id string) (r Rollout, err error) {
	err = f.read(ctx, func(x *txn) error {
		r, err = x.rollout(id)
		return err
	})
	if err == nil && r.State == Opened {
		r.Acks = f.acks(id)
		if lease := f.lease(id); !lease.IsZero() {
			r.Lease = lease
		}
	}
	return r, err
}

// Projects returns the deployed projects in the order of their names: limit of them, those after a name; and whether there are
// more. A limit of 0 or less is none.
func (f *File) Projects(ctx context.Context, after string, limit int) (found []Project, more bool, err error) {
	err = f.read(ctx, func(x *txn) error {
		b, err := x.bucket([]byte(projects))
		if err != nil {
			return err
		}
		c := b.Cursor()
		key, value := c.Seek([]byte(after))
		if after != "" && string(key) == after {
			key, value = c.Next()
		}
		for ; key != nil; key, value = c.Next() {
			if limit > 0 && len(found) == limit {
				more = true
				return nil
			}
			var r projectRecord
			if err := decode(projects, string(key), value, &r); err != nil {
				return err
			}
			p, err := x.whole(string(key), r)
			if err != nil {
				return err
			}
			found = append(found, p)
		}
		return nil
	})
	return found, more, err
}

// Project returns one that is or was deployed; else [ErrUnknown].
func (f *File) Project(ctx context.Context, name string) (p Project, err error) {
	err = f.read(ctx, func(x *txn) error {
		r, _, err := x.project(name)
		if err != nil {
			return err
		}
		if r.Current == 0 {
			return fmt.Errorf("project %s: %w", name, ErrUnknown)
		}
		p, err = x.whole(name, r)
		return err
	})
	return p, err
}

// Revisions returns what is kept of a project, the newest first: the states it was in, being undeployed included. It
// returns [ErrUnknown] for a project that there never was.
func (f *File) Revisions(ctx context.Context, name string) (all []Revision, err error) {
	err = f.read(ctx, func(x *txn) error {
		if all, err = x.revisions(name); err == nil && len(all) == 0 {
			err = fmt.Errorf("project %s: %w", name, ErrUnknown)
		}
		return err
	})
	return all, err
}

// Archive returns what was pushed under a digest, once it is verified; [ErrUnknown] if no revision and no open rollout refers to
// it, and [ErrDamaged] if it is not what it was.
func (f *File) Archive(ctx context.Context, digest string) (archive []byte, err error) {
	err = f.read(ctx, func(x *txn) error {
		archive, err = x.archive(digest)
		return err
	})
	return archive, err
}

// project returns what is kept of one; the zero record if it never was.
func (x *txn) project(name string) (r projectRecord, deployed bool, err error) {
	if deployed, err = x.get(projects, name, &r); err != nil || deployed {
		return r, deployed, err
	}
	_, err = x.get(undeployed, name, &r)
	return r, false, err
}

func (x *txn) whole(name string, r projectRecord) (Project, error) {
	p := Project{Name: name, Claims: r.Claims}
	there, err := x.get(revisions, revisionKey(name, r.Current), &p.Current)
	if err == nil && !there {
		err = fmt.Errorf("%w: revision %d of project %s is missing", ErrDamaged, r.Current, name)
	}
	return p, err
}

// revisionKey puts the revisions of a project side by side, in their order.
func revisionKey(name string, number uint64) string {
	return string(binary.BigEndian.AppendUint64(append([]byte(name), 0), number))
}

// revisions returns those of a project, the newest first.
func (x *txn) revisions(name string) (all []Revision, err error) {
	b, err := x.bucket([]byte(revisions))
	if err != nil {
		return nil, err
	}
	prefix := append([]byte(name), 0)
	c := b.Cursor()
	step := c.Prev
	if beyond, _ := c.Seek(append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, 9)...)); beyond == nil {
		step = c.Last
	}
	for key, value := step(); bytes.HasPrefix(key, prefix); key, value = c.Prev() {
		var r Revision
		if err := decode(revisions, string(key), value, &r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (x *txn) rollout(id string) (r Rollout, err error) {
	there, err := x.get(rollouts, id, &r)
	if err == nil && !there {
		err = fmt.Errorf("rollout %s: %w", id, ErrUnknown)
	}
	return r, err
}

// open returns the rollouts that have not ended.
func (x *txn) open() (all []Rollout, err error) {
	b, err := x.bucket([]byte(open))
	if err != nil {
		return nil, err
	}
	err = b.ForEach(func(key, value []byte) error {
		var id string
		if err := decode(open, string(key), value, &id); err != nil {
			return err
		}
		r, err := x.rollout(id)
		if errors.Is(err, ErrUnknown) {
			err = fmt.Errorf("%w: rollout %s of project %s is missing", ErrDamaged, id, key)
		}
		all = append(all, r)
		return err
	})
	return all, err
}
