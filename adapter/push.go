package adapter

import (
	"fmt"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
)

// Push asks for a project to be served in place of what is served of it: everywhere, or not at all (design §5).
type Push struct {
	Project string
	// Archive is the project as a zip. None, and no Revision: nothing of it is to be served any longer.
	Archive []byte
	// Revision is an earlier one to return to, instead of an Archive.
	Revision uint64
	Author   string

	// Wait bounds all of it; 0 is the gateway's own (pushes.wait). Require is who must serve it; the zero value is
	// the gateway's own (pushes.require).
	Wait    time.Duration
	Require publish.Require
	// DryRun goes as far as can be gone without telling a gateway anything.
	DryRun bool
	// Now has the policies of what is undeployed removed at once, and not when no gateway can refer to them.
	Now bool

	// IfRevision is the only revision that may be replaced; 0 is any. IfNone: nothing may be replaced.
	IfRevision uint64
	IfNone     bool
	// AllowBreaking has it served though it breaks consumers of what is served, whatever pushes.breaking says.
	AllowBreaking bool
	// Allowed is asked about the labels of the project, now and before, as soon as they are known, and about those of one of
	// this name that another source has; no labels: they cannot be told, and only who may everywhere may. nil: anybody may.
	// Push returns its error as it is.
	Allowed func(labels []string) error
}

// Outcome is what became of a push.
type Outcome struct {
	Rollout   string // its id; "" where nothing was to be done
	Project   string
	Revision  uint64 // that is served now, or that undeployed the project; 0: there never was any
	Digest    string // of the archive's content, SHA-256 in hex digits
	Created   bool   // nothing of the project was there before
	Unchanged bool   // the content is that of the revision there was
	Committed bool
	// RolledBack: some gateway had a part of it, and has what was before again.
	RolledBack bool
	APIs       []PushedAPI
	Gateways   []publish.Verdict
	Warnings   []model.Problem
}

// PushedAPI is one API of a push.
type PushedAPI struct {
	Name, Version, BasePath string
	State                   model.Lifecycle
}

// Reason is why a push came to nothing.
type Reason string

// The reasons.
const (
	Invalid     Reason = "invalid"      // the project has problems
	Conflict    Reason = "conflict"     // another project has what it claims, or another source has the project
	Outdated    Reason = "outdated"     // IfRevision or IfNone does not hold
	Breaking    Reason = "breaking"     // it breaks consumers of what is served, and pushes.breaking is refuse
	Refused     Reason = "refused"      // a gateway rejected it
	ProbeFailed Reason = "probe-failed" // a gateway took it, and does not serve it
	Silent      Reason = "silent"       // not enough gateways answered in time
	Busy        Reason = "busy"         // rollouts of the same resources took all the time there was
	Unknown     Reason = "unknown"      // there is no such project or revision
	Unavailable Reason = "unavailable"  // the store fails, or the adapter is starting or stopping
)

// PushError is why a push came to nothing. What is served is what was before.
type PushError struct {
	Reason   Reason
	Words    string
	Problems []model.Problem // of Invalid, Conflict, Breaking, and, with the gateway's words, Refused and ProbeFailed
	Outcome  Outcome         // as far as it came
}

func (e *PushError) Error() string {
	if e.Words == "" && len(e.Problems) > 0 {
		return fmt.Sprintf("%s: %s: %s", e.Reason, e.Problems[0].Origin, e.Problems[0].Message)
	}
	return string(e.Reason) + ": " + e.Words
}

// RolloutInfo is one push under way or done.
type RolloutInfo struct {
	ID, Project, Author string
	Began, Deadline     time.Time
	Ended               time.Time // zero: it has not
	Labels              []string  // of what is to be served; none where nothing is, any longer
	Outcome             Outcome   // as far as it is known
	Err                 *PushError
}

// ProjectInfo is one project, whatever its source.
type ProjectInfo struct {
	Name     string
	Source   string // "push", "folder PATH" or "git URL#BRANCH"
	Labels   []string
	Revision uint64 // of a pushed one
	Digest   string // of a pushed one
	Author   string // of a pushed one
	At       time.Time
	State    State
	Words    string // why it is not live
	// WordsAt are those of labels where an API of it is not live: Words may be one of them.
	WordsAt  map[string]string
	APIs     []PushedAPI
	Problems []model.Problem
}

// RevisionInfo is one state that a pushed project was in.
type RevisionInfo struct {
	Number  uint64
	Digest  string // "" where the project was undeployed
	Labels  []string
	Author  string
	At      time.Time
	APIs    []PushedAPI
	Current bool
}
