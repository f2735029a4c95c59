package diff

import (
	"cmp"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// comparison is that of one API as it was with what it is. One of them may be nil.
type comparison struct {
	before, after *model.API
	what          []string
	operations    []Operation
	findings      []Finding
}

func (c *comparison) changed(what string) { c.what = append(c.what, what) }

func (c *comparison) find(s Severity, rule string, o *operation, at model.Origin, format string, args ...any) {
	f := Finding{Rule: rule, Severity: s, Origin: at, Text: fmt.Sprintf(format, args...)}
	if o != nil {
		f.Operation, f.Before = o.id(), o.after == nil
	}
	c.findings = append(c.findings, f)
}

// added makes a report of an API that was not there.
func (c *comparison) added() {
	for _, o := range c.after.Operations {
		c.operations = append(c.operations, Operation{Method: o.Method, Path: o.Path, Change: Added})
	}
}

// removed makes one of an API that is not there any more.
func (c *comparison) removed() {
	for _, o := range c.before.Operations {
		c.operations = append(c.operations, Operation{Method: o.Method, Path: o.Path, Change: Removed, Breaking: true})
	}
	c.findings = append(c.findings, Finding{
		Rule: "api-removed", Severity: Breaking, Before: true, Origin: c.before.Origin,
		Text: fmt.Sprintf("the API %s is removed: nothing answers at %s any longer", c.before.ID(), c.before.BasePath),
	})
}

// compare makes one of an API that was there and is.
func (c *comparison) compare(before, after fs.FS) error {
	c.address()
	c.state(nil, c.before.State, c.after.State)
	if !reflect.DeepEqual(c.before.CORS, c.after.CORS) {
		c.changed("CORS")
		c.cors()
	}
	if !sameLimits(apiLimits(c.before), apiLimits(c.after)) {
		c.changed("limits")
		c.limits(nil, apiLimits(c.before), apiLimits(c.after), c.after.Origin)
	}
	operations := match(c.before, c.after)
	d, err := definitionsOf(c, before, after)
	if err != nil {
		return err
	}
	c.findings = append(c.findings, d.findings...)
	for _, o := range operations {
		c.operation(o, d)
	}
	return nil
}

// address looks at where the API is found.
func (c *comparison) address() {
	at := c.after.Origin
	if c.before.ID() != c.after.ID() {
		c.changed("identity")
		c.find(Info, "identity-changed", nil, at, "the API that was %s is %s now", c.before.ID(), c.after.ID())
	}
	if gone := without(c.before.BasePaths(), c.after.BasePaths()); len(gone) > 0 {
		c.find(Breaking, "base-path-changed", nil, at, "it is not served under %s any longer, but under %s", strings.Join(gone, " and "), strings.Join(c.after.BasePaths(), " and "))
	}
	if !slices.Equal(c.before.BasePaths(), c.after.BasePaths()) {
		c.changed("base path")
	}
	if slices.Equal(c.before.Hosts, c.after.Hosts) {
		return
	}
	c.changed("hosts")
	switch {
	case len(c.after.Hosts) == 0:
	case len(c.before.Hosts) == 0:
		c.find(Breaking, "hosts-changed", nil, at, "it was served on any host and is on %s only", strings.Join(c.after.Hosts, ", "))
	default:
		if gone := without(c.before.Hosts, c.after.Hosts); len(gone) > 0 {
			c.find(Breaking, "hosts-changed", nil, at, "it is not served on %s any longer", strings.Join(gone, ", "))
		}
	}
}

// without are those of all that are not in others.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// state looks at whether the API, or an operation, is served. It says whether the state is another one.
func (c *comparison) state(o *operation, before, after model.Lifecycle) bool {
	before, after = cmp.Or(before, model.Deployed), cmp.Or(after, model.Deployed)
	if before == after {
		return false
	}
	at, severity := c.after.Origin, Info
	if o != nil {
		at = o.after.Origin
	}
	if after.Status() != 0 && before.Status() == 0 {
		severity = Breaking
	}
	c.find(severity, "state-changed", o, at, "it was %s and is %s", before, answers(after))
	if o == nil {
		c.changed("state")
	}
	return true
}

// answers is a state, and what comes of it.
func answers(l model.Lifecycle) string {
	if status := l.Status(); status != 0 {
		return fmt.Sprintf("%s: every request to it is answered with %d", l, status)
	}
	return string(l)
}

// cors warns where pages of other origins may do less than before.
func (c *comparison) cors() {
	before, after := c.before.CORS, c.after.CORS
	if before == nil || after == nil || !before.Enabled {
		return // the gateway's own is a matter of its configuration
	}
	at := c.after.Origin
	if !after.Enabled {
		c.find(Warning, "cors-narrowed", nil, at, "pages of other origins may not call it any longer: CORS is switched off")
		return
	}
	for what, lists := range map[string][2][]string{
		"origins": {before.Origins, after.Origins}, "methods": {before.Methods, after.Methods},
		"headers": {before.Headers, after.Headers}, "exposed headers": {before.Expose, after.Expose},
	} {
		if gone := without(lists[0], lists[1]); len(gone) > 0 && !slices.Contains(lists[1], "*") {
			c.find(Warning, "cors-narrowed", nil, at, "CORS does not allow these %s any longer: %s", what, strings.Join(gone, ", "))
		}
	}
	if before.Credentials && !after.Credentials {
		c.find(Warning, "cors-narrowed", nil, at, "CORS does not allow credentials any longer")
	}
}

// maxFindings bounds what is told of one API.
const maxFindings = 1000

// api is what came of it all.
func (c *comparison) api() API {
	now, change := c.after, Changed
	switch {
	case c.before == nil:
		change = Added
	case c.after == nil:
		now, change = c.before, Removed
	}
	a := API{
		Name: now.Name, Version: now.Version, BasePath: now.BasePath, Change: change,
		What: c.what, Operations: c.operations, Findings: c.findings,
	}
	if change == Changed && c.before.ID() != c.after.ID() {
		a.Was = c.before.ID()
	}
	slices.SortStableFunc(a.Operations, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	severities := []Severity{Breaking, Warning, Info}
	slices.SortStableFunc(a.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Text, b.Text),
		)
	})
	a.Findings = slices.CompactFunc(a.Findings, func(a, b Finding) bool {
		return a.Rule == b.Rule && a.Operation == b.Operation && a.Text == b.Text
	})
	a.Breaking = slices.ContainsFunc(a.Findings, func(f Finding) bool { return f.Severity == Breaking })
	for i, o := range a.Operations {
		a.Operations[i].Breaking = o.Breaking || slices.ContainsFunc(a.Findings, func(f Finding) bool {
			return f.Severity == Breaking && keyNamed(f.Operation) == keyNamed(o.ID())
		})
		a.Operations[i].What = orEmpty(o.What)
	}
	if n := len(a.Findings) - maxFindings; n > 0 {
		more := Finding{Rule: "more", Severity: a.Findings[maxFindings].Severity, Text: fmt.Sprintf("and %d more", n), Origin: now.Origin}
		a.Findings = append(a.Findings[:maxFindings], more)
	}
	a.What, a.Operations, a.Findings = orEmpty(a.What), orEmpty(a.Operations), orEmpty(a.Findings)
	return a
}

// orEmpty is a list that JSON has as [], not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
