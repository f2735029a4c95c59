package model

import (
	"slices"
	"time"
)

// Lifecycle is a state of an API or of one operation: whether it is served.
type Lifecycle string

// The states there are. The zero value is like Deployed.
const (
	Deployed Lifecycle = "deployed"
	// Prototyped is served like Deployed, with the security and the limits that are written; it is a word to consumers.
	Prototyped Lifecycle = "prototyped"
	Blocked    Lifecycle = "blocked" // 503, code 700700
	Retired    Lifecycle = "retired" // 410, code 900410
)

// Lifecycles are all states.
var Lifecycles = []Lifecycle{Deployed, Prototyped, Blocked, Retired}

// Status is what the gateway answers in this state before it asks anybody; 0: it serves.
func (l Lifecycle) Status() int {
	switch l {
	case Blocked:
		return statusServiceUnavailable
	case Retired:
		return statusGone
	}
	return 0
}

// Lifespan is what consumers are told about the end of an operation. The zero value tells nothing.
type Lifespan struct {
	// The operation should not be used any more if Deprecated, as of Since. A zero Since is a day nobody has named.
	Deprecated bool      `yaml:"deprecated,omitempty"`
	Since      time.Time `yaml:"since,omitempty"`
	// Sunset is when the operation retires; zero is never.
	Sunset time.Time `yaml:"sunset,omitempty"`
	// Link is a page about the deprecation, an absolute URL; "" is none.
	Link string `yaml:"link,omitempty"`
}

// StateOf is the state an operation of the API is in: its API's, where that is not served, else its own.
func (a API) StateOf(o Operation) Lifecycle {
	if a.State.Status() != 0 || o.State == "" {
		return a.State
	}
	return o.State
}

// At is the API at a moment: operations whose sunset has come are retired, and so is an API that has no others. Next is
// when the answer changes by itself; zero is never. The API itself stays as it is, so that it can be asked again.
func (a API) At(now time.Time) (at API, next time.Time) {
	for _, o := range a.Operations {
		if sunset := o.Lifespan.Sunset; sunset.After(now) && (next.IsZero() || sunset.Before(next)) {
			next = sunset
		}
	}
	if !a.RetiredBy(now) {
		return a, next
	}
	a.Operations = slices.Clone(a.Operations)
	open := false
	for i := range a.Operations {
		o := &a.Operations[i]
		if o.Lifespan.endedBy(now) {
			o.State = Retired
		}
		open = open || o.State != Retired
	}
	if !open {
		a.State = Retired
	}
	return a, next
}

// RetiredBy says that the sunset of an operation has come by then.
func (a API) RetiredBy(now time.Time) bool {
	return slices.ContainsFunc(a.Operations, func(o Operation) bool { return o.Lifespan.endedBy(now) })
}

func (l Lifespan) endedBy(now time.Time) bool { return !l.Sunset.IsZero() && !l.Sunset.After(now) }

// BasePaths are all base paths of the API, its own first.
func (a API) BasePaths() []string {
	return append([]string{a.BasePath}, a.Aliases...)
}
