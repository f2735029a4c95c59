package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Begin notes that a project is to become a candidate, and claims what that needs, in one transaction. It returns a
// *[StaleError] if another revision is deployed than Expect says, a *[BusyError] if the project has an open rollout, a
// *[ClaimedError] if another project or its open rollout has a claim, and [ErrUnknown] for a Digest without an archive that is
// not there, and for undeploying what is not deployed; then nothing was written.
func (f *File) Begin(ctx context.Context, c Candidate) (Rollout, error) {
	if err := c.check(); err != nil {
		return Rollout{}, err
	}
	r := Rollout{Candidate: c, State: Opened, Began: f.options.Now().UTC()}
	r.ID, r.Archive = newID(r.Began), nil
	f.hold(r.ID, c.Lease) // why before it is written: from then on Expire looks at it
	err := f.writer.update(ctx, func(x *txn) error {
		now, deployed, err := x.project(c.Project)
		if err != nil {
			return err
		}
		if err := x.admit(c, now, deployed); err != nil {
			return err
		}
		if c.Digest != "" {
			if err := x.retain(c.Digest, c.Archive); err != nil { // why first: it may refuse
				return err
			}
		}
		for _, claim := range c.Claims {
			var held claimRecord // why read again: a claim may come twice
			if _, err := x.get(claims, string(claim), &held); err != nil {
				return err
			}
			held.Project, held.Rollout = c.Project, r.ID
			if err := x.put(claims, string(claim), held); err != nil {
				return err
			}
		}
		r.Base = now.Current
		return errors.Join(x.put(open, c.Project, r.ID), x.put(rollouts, r.ID, r))
	})
	if err != nil {
		f.forget(r.ID)
		return Rollout{}, err
	}
	return r, nil
}

// check refuses what no store could keep.
func (c *Candidate) check() error {
	switch {
	case c.Project == "" || len(c.Project) > 1024 || strings.ContainsRune(c.Project, 0) || !utf8.ValidString(c.Project):
		return fmt.Errorf("%q cannot be the name of a project: 1 to 1024 bytes of UTF-8, none of them zero", c.Project)
	case c.Archive != nil && digestOf(c.Archive) != c.Digest:
		return fmt.Errorf("project %s: the archive's digest is %s, and %q was said", c.Project, digestOf(c.Archive), c.Digest)
	case c.Digest != "" && !isDigest(c.Digest):
		return fmt.Errorf("project %s: %q is no SHA-256 in lower-case hex digits", c.Project, c.Digest)
	case c.Digest == "" && len(c.Claims) > 0:
		return fmt.Errorf("project %s is undeployed, and claims %q", c.Project, c.Claims[0])
	}
	for _, claim := range c.Claims {
		if claim == "" || len(claim) > 16<<10 || !utf8.ValidString(string(claim)) {
			return fmt.Errorf("project %s: %.100q cannot be a claim: 1 to 16384 bytes of UTF-8", c.Project, claim)
		}
	}
	return nil
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}

// admit refuses a candidate that cannot be begun now.
func (x *txn) admit(c Candidate, now projectRecord, deployed bool) error {
	current := now.Current
	if !deployed {
		current = 0
	}
	if c.Expect != nil && *c.Expect != current {
		return refusal{&StaleError{Project: c.Project, Expected: *c.Expect, Current: current}}
	}
	var id string
	if busy, err := x.get(open, c.Project, &id); err != nil {
		return err
	} else if busy {
		return refusal{&BusyError{Project: c.Project, Rollout: id}}
	}
	if c.Digest == "" && !deployed {
		return refusal{fmt.Errorf("project %s: %w", c.Project, ErrUnknown)}
	}
	for _, claim := range c.Claims {
		var held claimRecord
		there, err := x.get(claims, string(claim), &held)
		if err != nil {
			return err
		}
		if !there || held.Project == c.Project {
			continue
		}
		e := &ClaimedError{Claim: claim, Holder: held.Project, Rollout: held.Rollout}
		if held.Committed {
			e.Rollout = ""
		}
		return refusal{e}
	}
	return nil
}

// newID is a name for a rollout that sorts by its begin, so that new ones are written side by side, and that nobody guesses.
func newID(began time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(began.UnixMilli()))[2:]
	b = append(b, make([]byte, 8)...)
	_, _ = rand.Read(b[6:]) // why: it never fails
	return hex.EncodeToString(b)
}
