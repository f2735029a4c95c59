// Package diff says what a change of a project means for those who call its APIs: what is added, removed and changed, and
// what of it breaks them. It is pure but for one thing: a deprecated operation may go without breaking anybody once its
// sunset has passed, for which the clock is asked. It must not import adapter/publish, adapter/rest or gRPC.
package diff

import (
	"cmp"
	"io/fs"
	"slices"

	"github.com/postern-gateway/postern/adapter/model"
)

// Side is a state of a project, before or after: its files, and the APIs they were compiled to. The zero value is that
// there is nothing of it.
type Side struct {
	Files fs.FS
	APIs  []model.API
}

// Report is the difference between two states of a project. What is the same is not in it.
type Report struct {
	Project string `json:"project,omitempty"` // where somebody said it: Compare does not know it
	APIs    []API  `json:"apis"`              // by name and version
	// Breaking: a consumer of what there was may not get on with what there is.
	Breaking bool `json:"breaking"`
	// Resources are those of the data plane that would change. Compare leaves them to who knows.
	Resources []Touched `json:"resources"`
}

// Change is what became of an API or an operation.
type Change string

// The changes.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// API is one that is not as it was.
type API struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Was      string `json:"was,omitempty"` // its name/version before, if that was another: it has the address of that one
	BasePath string `json:"basePath"`
	Change   Change `json:"change"`
	Breaking bool   `json:"breaking"`
	// What of the API as a whole is changed: "identity", "base path", "hosts", "state", "limits", "CORS".
	What []string `json:"what"`
	// Operations that are added, removed or changed, by path and method.
	Operations []Operation `json:"operations"`
	// Findings say what that means, the worst first.
	Findings []Finding `json:"findings"`
}

// ID is "name/version".
func (a API) ID() string { return a.Name + "/" + a.Version }

// Operation is one that is not as it was.
type Operation struct {
	Method   string `json:"method"`
	Path     string `json:"path"` // its template below the base path, as it is now if it still is
	Change   Change `json:"change"`
	Breaking bool   `json:"breaking"`
	// What is changed: "definition", "backend", "security", "limits", "state".
	What []string `json:"what"`
}

// ID is "METHOD /path".
func (o Operation) ID() string { return o.Method + " " + o.Path }

// Severity is what a finding means to consumers.
type Severity string

// The severities, the worst first.
const (
	Breaking Severity = "breaking"
	Warning  Severity = "warning" // it may disturb some, and a program cannot tell
	Info     Severity = "info"
)

// Finding is one thing that is not as it was.
type Finding struct {
	// Rule names the kind of finding: those of the library that compares definitions (oasdiff), or one of ours.
	Rule      string   `json:"rule"`
	Severity  Severity `json:"severity"`
	Operation string   `json:"operation,omitempty"` // "METHOD /path"; "" is the API as a whole
	Text      string   `json:"text"`
	Why       string   `json:"why,omitempty"` // more about the severity, where there is
	// Before: the place is one of the files as they were, as of what is no longer there.
	Before bool `json:"before,omitempty"`
	model.Origin
}

// Touched is a resource of the data plane that a change would put or take away.
type Touched struct {
	Type   string `json:"type"` // "Cluster", "RouteConfiguration", "Policy" …
	Name   string `json:"name"`
	Label  string `json:"label"`  // of the gateways that have it
	Action string `json:"action"` // "put" or "remove"
}

// Compare says how a project differs from what it was. Definitions are compared by oasdiff, and what OpenAPI does not say,
// such as where they are served, by their models. An error is that a definition cannot be read any more.
func Compare(before, after Side) (Report, error) {
	r := Report{APIs: []API{}, Resources: []Touched{}}
	for _, p := range pairs(before.APIs, after.APIs) {
		c := comparison{before: p.before, after: p.after}
		switch {
		case p.before == nil:
			c.added()
		case p.after == nil:
			c.removed()
		default:
			if err := c.compare(before.Files, after.Files); err != nil {
				return Report{}, err
			}
		}
		if a := c.api(); len(a.What)+len(a.Operations)+len(a.Findings) > 0 || a.Change != Changed {
			r.APIs = append(r.APIs, a)
			r.Breaking = r.Breaking || a.Breaking
		}
	}
	return r, nil
}

// pair is an API as it was and as it is; one of them may be nil.
type pair struct{ before, after *model.API }

// pairs are sorted by name and version. APIs of the same name and version belong together, and of those that are left such
// at the same address: their callers do not see by which name they are deployed.
func pairs(before, after []model.API) []pair {
	var all []pair
	left := map[string]*model.API{}
	for i, a := range before {
		left[a.ID()] = &before[i]
	}
	rest := make([]*model.API, 0, len(after))
	for i, a := range after {
		if was := left[a.ID()]; was != nil {
			all = append(all, pair{was, &after[i]})
			delete(left, a.ID())
			continue
		}
		rest = append(rest, &after[i])
	}
	for _, a := range rest {
		was := atAddressOf(a, before, left)
		if was != nil {
			delete(left, was.ID())
		}
		all = append(all, pair{was, a})
	}
	for _, was := range left {
		all = append(all, pair{before: was})
	}
	slices.SortFunc(all, func(a, b pair) int { return cmp.Compare(a.id(), b.id()) })
	return all
}

// atAddressOf is the one of those left that was where a is: the first in the order of before.
func atAddressOf(a *model.API, before []model.API, left map[string]*model.API) *model.API {
	for _, was := range before {
		if left[was.ID()] != nil && was.BasePath == a.BasePath && slices.Equal(was.Hosts, a.Hosts) {
			return left[was.ID()]
		}
	}
	return nil
}

func (p pair) id() string {
	if p.after != nil {
		return p.after.ID()
	}
	return p.before.ID()
}
