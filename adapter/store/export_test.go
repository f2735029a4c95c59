package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// Hold has the writer do something else, and returns when it has begun.
func (f *File) Hold(until <-chan struct{}) {
	began := make(chan struct{})
	go func() {
		_ = f.writer.update(context.Background(), func(*txn) error {
			close(began)
			<-until
			return refusal{nil}
		})
	}()
	<-began
}

// Waiting is how many writes wait for the one under way.
func (f *File) Waiting() int { return len(f.writer.queue) }

// SetMaxSize bounds the file as a disk that is full does.
func (f *File) SetMaxSize(n int) { f.db.MaxSize = n }

// Size is that of what is used of the file.
func (f *File) Size() (n int) {
	_ = f.db.View(func(tx *bbolt.Tx) error { n = int(tx.Size()); return nil })
	return n
}

// Fail has every write fail after it has changed something.
func (f *File) Fail(ctx context.Context, name string) error {
	return f.writer.update(ctx, func(x *txn) error {
		if err := x.put(open, name, "none"); err != nil {
			return err
		}
		return fmt.Errorf("%s fails", name)
	})
}

// CheckPages looks at a file's pages.
func CheckPages(data []byte) error {
	return guard(func() error {
		_, err := (&pages{data: data, size: os.Getpagesize()}).check()
		return err
	})
}

// Check compares all tables with one another.
func (f *File) Check() error {
	return f.read(context.Background(), func(x *txn) error {
		if err := x.verify(); err != nil {
			return err
		}
		c := check{txn: x, refs: map[string]int{}, claimed: map[string]claimRecord{}}
		for _, each := range []func() error{c.projects, c.revisions, c.rollouts, c.kept, c.claims, c.contents, c.chunks} {
			if err := each(); err != nil {
				return err
			}
		}
		return nil
	})
}

type check struct {
	*txn
	refs    map[string]int // digest → how many refer to it
	claimed map[string]claimRecord
}

func each[T any](c *check, t table, do func(key string, value T) error) error {
	return c.Bucket([]byte(t)).ForEach(func(key, value []byte) error {
		var v T
		if err := decode(t, string(key), value, &v); err != nil {
			return err
		}
		return do(string(key), v)
	})
}

func (c *check) projects() error {
	for _, t := range []table{projects, undeployed} {
		err := each(c, t, func(name string, p projectRecord) error {
			all, err := c.txn.revisions(name)
			if err != nil {
				return err
			}
			if len(all) == 0 || all[0].Number != p.Current || (all[0].Digest == "") != (t == undeployed) {
				return fmt.Errorf("%s %s is at %d, and has the revisions %v", t, name, p.Current, all)
			}
			kept := 0
			for _, r := range all {
				kept += min(len(r.Digest), 1)
			}
			if p.Kept != kept && p.Kept != 0 {
				return fmt.Errorf("%s is said to have %d revisions to return to, and has %d", name, p.Kept, kept)
			}
			for _, claim := range p.Claims {
				c.claimed[string(claim)] = claimRecord{Project: name, Committed: true}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *check) revisions() error {
	return each(c, revisions, func(key string, r Revision) error {
		if r.Digest != "" {
			c.refs[r.Digest]++
		}
		name, _, _ := bytes.Cut([]byte(key), []byte{0})
		if _, _, err := c.project(string(name)); err != nil || revisionKey(string(name), r.Number) != key {
			return fmt.Errorf("revision %q of nothing: %v", key, err)
		}
		return nil
	})
}

func (c *check) rollouts() error {
	opened, over := map[string]string{}, []string{}
	err := each(c, open, func(project, id string) error { opened[project] = id; return nil })
	if err != nil {
		return err
	}
	if err := each(c, ended, func(_, id string) error { over = append(over, id); return nil }); err != nil {
		return err
	}
	if len(over) > EndedKept {
		return fmt.Errorf("%d rollouts that ended", len(over))
	}
	n := 0
	err = each(c, rollouts, func(id string, r Rollout) error {
		n++
		if r.State != Opened {
			if !slices.Contains(over, id) {
				return fmt.Errorf("rollout %s ended and is not among those", id)
			}
			return nil
		}
		if opened[r.Project] != id {
			return fmt.Errorf("rollout %s is open and not among those", id)
		}
		if r.Digest != "" {
			c.refs[r.Digest]++
		}
		for _, claim := range r.Claims {
			held := c.claimed[string(claim)]
			if held.Project != "" && held.Project != r.Project {
				return fmt.Errorf("%s and %s both have %q", held.Project, r.Project, claim)
			}
			held.Project, held.Rollout = r.Project, id
			c.claimed[string(claim)] = held
		}
		return nil
	})
	if err == nil && n != len(opened)+len(over) {
		err = fmt.Errorf("%d rollouts, %d open, %d ended", n, len(opened), len(over))
	}
	return err
}

func (c *check) kept() error {
	return each(c, keeping, func(_ string, r keptRecord) error {
		c.refs[r.Digest]++
		return nil
	})
}

// AsSchema2 makes of a store what the version before would have written.
func (f *File) AsSchema2() error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(
			tx.DeleteBucket([]byte(keeping)), tx.Bucket(bucketMeta).Delete(sumKey(keeping)), (&txn{Tx: tx}).setSchema(2))
	})
}

func (c *check) claims() error {
	err := each(c, claims, func(claim string, held claimRecord) error {
		if c.claimed[claim] != held {
			return fmt.Errorf("%q is held by %v, and should be by %v", claim, held, c.claimed[claim])
		}
		delete(c.claimed, claim)
		return nil
	})
	if err == nil && len(c.claimed) > 0 {
		err = fmt.Errorf("claims are missing: %v", c.claimed)
	}
	return err
}

func (c *check) contents() error {
	err := each(c, contents, func(digest string, r contentRecord) error {
		if c.refs[digest] != r.Refs {
			return fmt.Errorf("%s is said to have %d that refer to it, and has %d", digest, r.Refs, c.refs[digest])
		}
		delete(c.refs, digest)
		_, err := c.archive(digest)
		return err
	})
	if err == nil && len(c.refs) > 0 {
		err = fmt.Errorf("archives are missing: %v", c.refs)
	}
	return err
}

func (c *check) chunks() error {
	return c.Bucket(bucketChunks).ForEach(func(key, _ []byte) error {
		var r contentRecord
		if there, err := c.get(contents, string(key[:len(key)-4]), &r); err != nil || !there {
			return fmt.Errorf("a chunk of nothing, %q: %v", key, err)
		}
		return nil
	})
}
