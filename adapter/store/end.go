package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Acknowledge notes what gateways said, in place of what they said before. It returns [ErrUnknown] if there is no such
// rollout, and [ErrLost] if it has ended.
func (f *File) Acknowledge(ctx context.Context, id string, acks ...Ack) error {
	return f.note(ctx, id, func(h *hold) {
		for _, a := range acks {
			if i := slices.IndexFunc(h.acks, a.same); i >= 0 {
				h.acks[i] = a
			} else {
				h.acks = append(h.acks, a)
			}
		}
	})
}

func (a Ack) same(b Ack) bool {
	return a.Gateway == b.Gateway && a.Role == b.Role && a.Label == b.Label
}

// Renew says until when the owner of an open rollout may be silent. Errors are those of Acknowledge.
func (f *File) Renew(ctx context.Context, id string, lease time.Time) error {
	return f.note(ctx, id, func(h *hold) { h.lease = lease })
}

// note changes what is known of an open rollout besides what is written.
func (f *File) note(ctx context.Context, id string, change func(*hold)) error {
	if f.change(id, change) {
		return nil
	}
	if _, err := f.Rollout(ctx, id); err != nil {
		return err
	}
	return fmt.Errorf("rollout %s: %w", id, ErrLost)
}

func (f *File) change(id string, change func(*hold)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.held[id]
	if ok {
		change(h)
	}
	return ok
}

// Commit makes the candidate the project's revision, has it release what it no longer claims, and drops revisions beyond the
// history. It returns [ErrUnknown] if there is no such rollout, and [ErrLost] if it was discarded. One that was committed
// before gives its revision again.
func (f *File) Commit(ctx context.Context, id string, outcome json.RawMessage) (Revision, error) {
	var made Revision
	err := f.writer.update(ctx, func(x *txn) error {
		r, err := x.rollout(id)
		if err != nil {
			return refusal{err}
		}
		if r.State == Committed {
			_, err := x.get(revisions, revisionKey(r.Project, r.Revision), &made)
			return refusal{err}
		}
		now, deployed, err := x.project(r.Project)
		if err != nil {
			return err
		}
		if r.State != Opened || now.Current != r.Base {
			return refusal{fmt.Errorf("rollout %s of project %s: %w", id, r.Project, ErrLost)}
		}
		made = Revision{
			Number: r.Base + 1, Digest: r.Digest, Labels: r.Labels, Author: r.Author, At: f.options.Now().UTC(), APIs: r.APIs, Rollout: id,
		}
		r.Revision = made.Number
		_, err = x.end(r, Committed, outcome, made.At, f.acks(id))
		return errors.Join(err, x.become(r, now, deployed, made, f.options.History))
	})
	if err != nil {
		return Revision{}, err
	}
	f.forget(id)
	return made, nil
}

// become makes a revision the current one.
func (x *txn) become(r Rollout, was projectRecord, deployed bool, made Revision, history int) error {
	for _, claim := range was.Claims {
		if slices.Contains(r.Claims, claim) {
			continue
		}
		if err := x.remove(claims, string(claim)); err != nil {
			return err
		}
	}
	for _, claim := range r.Claims {
		if err := x.put(claims, string(claim), claimRecord{Project: r.Project, Committed: true}); err != nil {
			return err
		}
	}
	to, from := projects, undeployed
	if made.Digest == "" {
		to, from = undeployed, projects
	}
	if deployed == (to == undeployed) {
		if err := x.remove(from, r.Project); err != nil {
			return err
		}
	}
	kept, err := x.prune(r.Project, was, made, history)
	return errors.Join(err,
		x.put(to, r.Project, projectRecord{Current: made.Number, Kept: kept, Claims: r.Claims}),
		x.put(revisions, revisionKey(r.Project, made.Number), made))
}

// prune drops the oldest revisions of a project until so many are left that can be returned to, the one to be made
// included, and says how many that are. It reads what it drops, and not what it keeps.
func (x *txn) prune(name string, was projectRecord, made Revision, history int) (kept int, err error) {
	if kept = was.Kept; kept == 0 && was.Current > 0 { // why: schema 1 did not count them
		all, err := x.revisions(name)
		if err != nil {
			return 0, err
		}
		for _, r := range all {
			kept += min(len(r.Digest), 1)
		}
	}
	kept += min(len(made.Digest), 1)
	b, err := x.bucket([]byte(revisions))
	if err != nil {
		return 0, err
	}
	var drop []Revision
	prefix := append([]byte(name), 0)
	c := b.Cursor()
	for key, value := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, value = c.Next() {
		var r Revision
		if err := decode(revisions, string(key), value, &r); err != nil {
			return 0, err
		}
		if kept < history || kept == history && r.Digest != "" {
			break
		}
		kept -= min(len(r.Digest), 1)
		drop = append(drop, r)
	}
	for _, r := range drop {
		if err := errors.Join(x.remove(revisions, revisionKey(name, r.Number)), x.release(r.Digest)); err != nil {
			return 0, err
		}
	}
	return kept, nil
}

// Discard ends a rollout that leads nowhere. It returns [ErrUnknown] if there is no such rollout, and [ErrLost] if it was
// committed. One that was discarded before stays as it is.
func (f *File) Discard(ctx context.Context, id string, outcome json.RawMessage) error {
	err := f.writer.update(ctx, func(x *txn) error {
		r, err := x.rollout(id)
		switch {
		case err != nil:
			return refusal{err}
		case r.State == Discarded:
			return refusal{nil}
		case r.State != Opened:
			return refusal{fmt.Errorf("rollout %s of project %s was committed: %w", id, r.Project, ErrLost)}
		}
		_, err = x.discard(r, outcome, f.options.Now().UTC(), f.acks(id))
		return err
	})
	if err == nil {
		f.forget(id)
	}
	return err
}

// Expire discards the open rollouts whose lease is over, and returns them. Those that were begun by a process before this one
// have none: nobody else can have the file open.
func (f *File) Expire(ctx context.Context, now time.Time) ([]Rollout, error) {
	var over []Rollout
	err := f.writer.update(ctx, func(x *txn) error {
		over = nil
		all, err := x.open()
		if err != nil {
			return err
		}
		for _, r := range all {
			if lease := f.lease(r.ID); lease.After(now) {
				continue
			}
			if r, err = x.discard(r, nil, f.options.Now().UTC(), f.acks(r.ID)); err != nil {
				return err
			}
			over = append(over, r)
		}
		if len(over) == 0 {
			return refusal{nil}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range over {
		f.forget(r.ID)
	}
	return over, nil
}

// discard releases what the candidate has and the project has not.
func (x *txn) discard(r Rollout, outcome json.RawMessage, at time.Time, acks []Ack) (Rollout, error) {
	for _, claim := range r.Claims {
		var held claimRecord
		if _, err := x.get(claims, string(claim), &held); err != nil {
			return r, err
		}
		err := x.remove(claims, string(claim))
		if held.Committed {
			held.Rollout = ""
			err = x.put(claims, string(claim), held)
		}
		if err != nil {
			return r, err
		}
	}
	if err := x.release(r.Digest); err != nil {
		return r, err
	}
	return x.end(r, Discarded, outcome, at, acks)
}

// end notes how a rollout ended, and drops the record of the oldest one that did.
func (x *txn) end(r Rollout, state State, outcome json.RawMessage, at time.Time, acks []Ack) (Rollout, error) {
	r.State, r.Outcome, r.Ended, r.Acks = state, outcome, at, acks
	b, err := x.bucket([]byte(ended))
	if err != nil {
		return r, err
	}
	n := uint64(1)
	if last, _ := b.Cursor().Last(); len(last) == 8 {
		n += binary.BigEndian.Uint64(last)
	}
	err = errors.Join(
		x.remove(open, r.Project), x.put(rollouts, r.ID, r), x.put(ended, string(binary.BigEndian.AppendUint64(nil, n)), r.ID))
	for err == nil && x.sums[ended].n > EndedKept {
		err = x.dropOldest()
	}
	return r, err
}

func (x *txn) dropOldest() error {
	b, err := x.bucket([]byte(ended))
	if err != nil {
		return err
	}
	key, value := b.Cursor().First()
	key = bytes.Clone(key) // why: what is removed moves it
	var id string
	if err := decode(ended, string(key), value, &id); err != nil {
		return err
	}
	return errors.Join(x.remove(rollouts, id), x.remove(ended, string(key)))
}

func (f *File) hold(id string, lease time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[id] = &hold{lease: lease}
}

func (f *File) lease(id string) (lease time.Time) {
	f.change(id, func(h *hold) { lease = h.lease })
	return lease
}

// acks returns what gateways said of an open rollout, in an order of its own.
func (f *File) acks(id string) (acks []Ack) {
	f.change(id, func(h *hold) { acks = slices.Clone(h.acks) })
	slices.SortFunc(acks, func(a, b Ack) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Role, b.Role))
	})
	return acks
}

func (f *File) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, id)
}
