package diff

import (
	"reflect"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// operation is one as it was and as it is; one of them may be nil.
type operation struct{ before, after *model.Operation }

func (o *operation) id() string {
	if o.after != nil {
		return o.after.ID()
	}
	return o.before.ID()
}

// match pairs the operations that answer the same requests, whatever their parameters are called.
func match(before, after *model.API) []operation {
	var all []operation
	left := map[string]*model.Operation{}
	for i, o := range before.Operations {
		left[keyOf(o)] = &before.Operations[i]
	}
	for i, o := range after.Operations {
		all = append(all, operation{left[keyOf(o)], &after.Operations[i]})
		delete(left, keyOf(o))
	}
	for i, o := range before.Operations { // why not over left: in order
		if left[keyOf(o)] != nil {
			all = append(all, operation{before: &before.Operations[i]})
		}
	}
	return all
}

// keyOf is the same for operations that answer the same requests.
func keyOf(o model.Operation) string { return o.Method + " " + model.ParseTemplate(o.Path).String() }

// keyNamed is that of the operation that is called "METHOD /path".
func keyNamed(id string) string {
	method, path, _ := strings.Cut(id, " ")
	return keyOf(model.Operation{Method: method, Path: path})
}

// operation looks at one. What its definition says is known already.
func (c *comparison) operation(o operation, d definitions) {
	switch {
	case o.before == nil:
		c.operations = append(c.operations, Operation{Method: o.after.Method, Path: o.after.Path, Change: Added})
		return
	case o.after == nil:
		c.operations = append(c.operations, Operation{Method: o.before.Method, Path: o.before.Path, Change: Removed})
		if !d.judged[keyOf(*o.before)] {
			c.find(Breaking, "operation-removed", &o, o.before.Origin, "the operation is removed")
		}
		return
	}
	var what []string
	if d.changed[keyOf(*o.after)] {
		what = append(what, "definition")
	}
	if !reflect.DeepEqual(o.before.Production, o.after.Production) || !reflect.DeepEqual(o.before.Sandbox, o.after.Sandbox) {
		what = append(what, "backend")
	}
	if !reflect.DeepEqual(o.before.Security, o.after.Security) {
		what = append(what, "security")
		c.security(&o)
	}
	if before, after := ownLimits(o.before), ownLimits(o.after); !sameLimits(before, after) || o.before.Untiered != o.after.Untiered {
		what = append(what, "limits")
		c.limits(&o, before, after, o.after.Origin)
	}
	if o.before.State != o.after.State && c.state(&o, c.before.StateOf(*o.before), c.after.StateOf(*o.after)) {
		what = append(what, "state")
	}
	if len(what) > 0 {
		c.operations = append(c.operations, Operation{Method: o.after.Method, Path: o.after.Path, Change: Changed, What: what})
	}
}

// apiLimits are those that an API has as a whole, its tier among them.
func apiLimits(a *model.API) []model.Limit { return withTier(a.Tier, a.Limits) }

// ownLimits are those of an operation alone.
func ownLimits(o *model.Operation) []model.Limit { return withTier(o.Tier, o.Limits) }

func withTier(tier *model.Limit, limits []model.Limit) []model.Limit {
	if tier == nil {
		return limits
	}
	return append([]model.Limit{*tier}, limits...)
}

// sameLimits compares them wherever they are written.
func sameLimits(a, b []model.Limit) bool {
	return slices.EqualFunc(a, b, func(a, b model.Limit) bool {
		a.Origin, b.Origin = model.Origin{}, model.Origin{}
		return reflect.DeepEqual(a, b)
	})
}

// limits warns of less than there was: of a new limit, and of one that lets fewer requests through.
func (c *comparison) limits(o *operation, before, after []model.Limit, at model.Origin) {
	for _, now := range after {
		if now.Shadow {
			continue
		}
		if now.Origin.File != "" {
			at = now.Origin
		}
		i := slices.IndexFunc(before, func(l model.Limit) bool { return slices.Equal(l.Per, now.Per) && l.Window == now.Window && !l.Shadow })
		if i < 0 {
			i = slices.IndexFunc(before, func(l model.Limit) bool { return slices.Equal(l.Per, now.Per) && !l.Shadow })
		}
		if i < 0 {
			c.find(Warning, "limit-added", o, at, "there is a new limit, %s: %d requests in %s", now.Name, now.Count, now.Window)
		} else if was := before[i]; rate(now) < rate(was) {
			c.find(Warning, "limit-lowered", o, at, "the limit was %d requests in %s (%s) and is %d in %s (%s)", was.Count, was.Window, was.Name, now.Count, now.Window, now.Name)
		}
	}
}

// rate is what a limit lets through, in requests a second.
func rate(l model.Limit) float64 { return float64(l.Count) / l.Window.Seconds() }
