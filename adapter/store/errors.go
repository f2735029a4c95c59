package store

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknown: there is no such project, rollout or archive.
	ErrUnknown = errors.New("not in the store")
	// ErrLost: the rollout was discarded before, perhaps by another adapter because its lease was over.
	ErrLost = errors.New("the rollout has ended already")
	// ErrStale is what every *StaleError is.
	ErrStale = errors.New("another revision is deployed")
	// ErrDamaged: what was read is not what was written. The way back is a backup.
	ErrDamaged = errors.New("the store is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// ClaimedError says who has what a candidate claims.
type ClaimedError struct {
	Claim   Claim
	Holder  string // the project
	Rollout string // the open rollout that wants it; "" if it is the holder's already
}

func (e *ClaimedError) Error() string {
	if e.Rollout != "" {
		return fmt.Sprintf("rollout %s of project %s is about to have %q", e.Rollout, e.Holder, e.Claim)
	}
	return fmt.Sprintf("project %s has %q", e.Holder, e.Claim)
}

// StaleError says that another revision is deployed than was expected.
type StaleError struct {
	Project  string
	Expected uint64
	Current  uint64 // 0: nothing of it is deployed
}

func (e *StaleError) Error() string {
	switch {
	case e.Current == 0:
		return fmt.Sprintf("project %s is not deployed, and its revision %d was expected", e.Project, e.Expected)
	case e.Expected == 0:
		return fmt.Sprintf("project %s is deployed in revision %d, and none was expected", e.Project, e.Current)
	}
	return fmt.Sprintf("project %s is deployed in revision %d, and %d was expected", e.Project, e.Current, e.Expected)
}

// Is makes it an ErrStale.
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// BusyError says that a project has a rollout that has not ended.
type BusyError struct{ Project, Rollout string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("project %s has an open rollout, %s", e.Project, e.Rollout)
}
