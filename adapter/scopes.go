package adapter

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/postern-gateway/postern/adapter/translate"
)

// Crowded is a route scope with so many operations that a change of one of them is worth a hint (design §4.1).
type Crowded struct {
	Label, Scope string
	Operations   int
}

// Hint says what to do about it.
func (c Crowded) Hint() string {
	if c.Scope == translate.FlatScope {
		return fmt.Sprintf("label %s: all %d operations are in one route table, and any change sends it whole: consider routing.mode scoped", c.Label, c.Operations)
	}
	return fmt.Sprintf("label %s: %d operations are in the route table of /%s, and a change of one of its APIs sends it whole: "+
		"consider longer base paths, or a later routing.scopeSegment", c.Label, c.Operations, c.Scope)
}

// CrowdedScopes are those there are now, by label and name.
func (a *Adapter) CrowdedScopes() []Crowded {
	var all []Crowded
	for _, l := range a.known() {
		l.board.mu.Lock()
		for scope, n := range l.board.scopes {
			all = append(all, Crowded{l.name, scope, n})
		}
		l.board.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Crowded) int { return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Scope, b.Scope)) })
	return all
}
