// Package store keeps what was pushed: projects with their revisions, what they claim, and the rollouts that lead from one
// revision to the next; and of projects that are followed what was good last. It only compares and keeps; what a project, a claim or an outcome means is known by its users: it
// must import neither adapter nor project, translate, publish and rest.
//
// [File] is the store of one adapter, in an embedded file. Its methods are the verbs that a store of several adapters has
// too (design §5); the suite of test/storetest says what each of them owes.
package store

import (
	"encoding/json"
	"time"
)

// Claim is what one project may have at a time, as the adapter spells it: "label host+basePath" or "label name/version".
type Claim string

// API is what is kept of an API of a revision, for those who list revisions.
type API struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	BasePath string   `json:"basePath"`
	Hosts    []string `json:"hosts,omitempty"`
	State    string   `json:"state,omitempty"`
}

// Candidate is what a project is to become.
type Candidate struct {
	Project string `json:"project"`
	// Digest is the SHA-256 of Archive's bytes in lower-case hex digits. Both empty: the project is undeployed. A Digest without
	// an Archive is that of a revision there is, which the project returns to.
	Digest  string   `json:"digest,omitempty"`
	Archive []byte   `json:"-"`
	Labels  []string `json:"labels,omitempty"`
	Author  string   `json:"author,omitempty"`
	APIs    []API    `json:"apis,omitempty"`
	Claims  []Claim  `json:"claims,omitempty"`
	// Expect is the revision that must be deployed now; 0: the project must not be deployed; nil: whatever there is.
	Expect *uint64 `json:"expect,omitempty"`
	// Owner is the adapter that carries the rollout out. It has to renew the Lease before it is over. The Deadline is when it
	// gives up by itself, for others to read.
	Owner    string    `json:"owner,omitempty"`
	Lease    time.Time `json:"lease"`
	Deadline time.Time `json:"deadline"`
}

// State is how far a rollout is.
type State string

// The states. A rollout that has ended stays what it is.
const (
	Opened    State = "open"
	Committed State = "committed"
	Discarded State = "discarded"
)

// Rollout is a candidate on its way. Its Archive is nil: see Archive for that.
type Rollout struct {
	ID string `json:"id"`
	Candidate
	State   State           `json:"state"`
	Began   time.Time       `json:"began"`
	Ended   time.Time       `json:"ended"` // zero while it is open
	Acks    []Ack           `json:"acks,omitempty"`
	Outcome json.RawMessage `json:"outcome,omitempty"` // as Commit or Discard were given it; nil of one that expired
	// Base is the number of the project's revision when it began, one that undeployed it included; 0: there was none.
	// Revision is what Commit made of it.
	Base     uint64 `json:"base"`
	Revision uint64 `json:"revision,omitempty"`
}

// Ack is the last word of a gateway on a rollout.
type Ack struct {
	Gateway string    `json:"gateway"`
	Role    string    `json:"role"`
	Label   string    `json:"label"`
	State   string    `json:"state"`
	Detail  string    `json:"detail,omitempty"`
	At      time.Time `json:"at"`
}

// Revision is one state that a project was in.
type Revision struct {
	Number  uint64    `json:"number"`           // from 1; none comes twice in a project
	Digest  string    `json:"digest,omitempty"` // "" where the project was undeployed
	Labels  []string  `json:"labels,omitempty"`
	Author  string    `json:"author,omitempty"`
	At      time.Time `json:"at"`
	APIs    []API     `json:"apis,omitempty"`
	Rollout string    `json:"rollout"`
}

// Project is a project with its newest revision, whose Digest is "" if the project is undeployed.
type Project struct {
	Name    string
	Current Revision
	Claims  []Claim
}
