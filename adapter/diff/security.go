package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// security looks whether everybody who was let in still is.
func (c *comparison) security(o *operation) {
	before, after := o.before.Security, o.after.Security
	if after.Anonymous() {
		return
	}
	if before.Anonymous() {
		c.find(Breaking, "security-added", o, o.after.Origin, "anybody could call it, and now a credential is asked for: %s", oneOf(after.Alternatives))
		return
	}
	for _, a := range before.Alternatives {
		for _, caller := range callers(a) {
			if !slices.ContainsFunc(after.Alternatives, func(b model.Alternative) bool { return admits(b, caller) }) {
				c.find(Breaking, "security-tightened", o, o.after.Origin, "who could call it with %s cannot any longer; now it takes %s", words(caller), oneOf(after.Alternatives))
			}
		}
	}
}

// maxCallers bounds how many kinds of callers of one alternative are told apart.
const maxCallers = 64

// callers are those with the least that an alternative lets in: where one of several scopes is enough, one for each.
func callers(a model.Alternative) []model.Alternative {
	all := []model.Alternative{{}}
	for _, r := range a.Requirements {
		choices := [][]string{r.Scopes}
		if r.AnyScope && len(r.Scopes) > 1 {
			choices = choices[:0]
			for _, scope := range r.Scopes {
				choices = append(choices, []string{scope})
			}
		}
		if len(all)*len(choices) > maxCallers {
			choices = choices[:1]
		}
		var more []model.Alternative
		for _, caller := range all {
			for _, scopes := range choices {
				has := append(slices.Clone(caller.Requirements), model.Requirement{Scheme: r.Scheme, Scopes: scopes})
				more = append(more, model.Alternative{Requirements: has})
			}
		}
		all = more
	}
	return all
}

// admits says whether the caller has all that an alternative asks for.
func admits(a, caller model.Alternative) bool {
	for _, r := range a.Requirements {
		if !slices.ContainsFunc(caller.Requirements, func(has model.Requirement) bool { return enough(r, has) }) {
			return false
		}
	}
	return true
}

func enough(r, has model.Requirement) bool {
	r.Scheme.Name, has.Scheme.Name = "", "" // what a definition calls it is nothing to a caller
	if r.Scheme != has.Scheme {
		return false
	}
	missing := without(r.Scopes, has.Scopes)
	if r.AnyScope && len(r.Scopes) > 0 {
		return len(missing) < len(r.Scopes)
	}
	return len(missing) == 0
}

func oneOf(all []model.Alternative) string {
	var out []string
	for _, a := range all {
		out = append(out, words(a))
	}
	return strings.Join(out, ", or ")
}

func words(a model.Alternative) string {
	if len(a.Requirements) == 0 {
		return "no credential"
	}
	var out []string
	for _, r := range a.Requirements {
		s := "a credential for " + r.Scheme.Name
		switch {
		case len(r.Scopes) > 1 && r.AnyScope:
			s += fmt.Sprintf(" with one of the scopes %s", strings.Join(r.Scopes, " "))
		case len(r.Scopes) > 1:
			s += fmt.Sprintf(" with the scopes %s", strings.Join(r.Scopes, " "))
		case len(r.Scopes) == 1:
			s += fmt.Sprintf(" with the scope %s", r.Scopes[0])
		}
		out = append(out, s)
	}
	return strings.Join(out, " and ")
}
