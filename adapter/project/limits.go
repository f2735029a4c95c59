package project

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// keysLater are what a limit may count by once the builds that know callers and requests arrive.
var keysLater = []string{"application", "subscription", "user", "token", "key", "certificate", "ip"}

// ownPolicy reads one item of Postern's own list. What a later build will do is accepted while nobody names it.
func (c *compiler) ownPolicy(n *node, into policies) {
	before := len(c.problems)
	c.onlyMembers(n, "a policy", policyKeys...)
	name := n.get("name")
	if !c.is(name, "name", text, number) {
		if name == nil {
			c.refuse(n.at(), "bad-policy", "this policy has no name; give it one, so that an API can ask for it")
		}
		return
	}
	p := &policy{at: n, limit: model.Limit{Name: name.value, Origin: n.at()}}
	p.limit.Per, p.unserved = c.per(n)
	p.limit.Count = c.count(n, "limit")
	window, later := c.window(n)
	p.limit.Window = window
	p.unserved = append(p.unserved, later...)
	p.unserved = append(p.unserved, c.policyOptions(n)...)
	p.limit.Shadow = c.is(n.get("shadow"), "shadow", boolean) && n.get("shadow").isTrue()
	if v := n.get("onFailure"); c.is(v, "onFailure", text) {
		p.limit.OnFailure = model.OnFailure(v.value)
		if !slices.Contains([]string{"deny", "allow", "local"}, v.value) {
			c.refuse(v.at(), "bad-policy", "onFailure is deny, allow or local, not %q", v.value)
		}
	}
	p.bad = model.Refusing(c.problems[before:])
	c.define(n, name.value, p, into)
}

// per reads what a policy counts by, sorted as the API before the operation.
func (c *compiler) per(n *node) (keys []model.LimitKey, unserved []string) {
	v := n.get("per")
	words := c.strings(v, "per")
	if len(words) == 0 {
		if v == nil || len(v.members) == 0 {
			c.refuse(n.at(), "bad-policy", "per is missing: what to count by; write per: [api] or per: [operation]")
		}
		return nil, nil
	}
	known := append([]string{"api", "operation", "header:NAME", "query:NAME", "claim:NAME"}, keysLater...)
	for _, word := range words {
		prefix, name, dynamic := strings.Cut(word, ":")
		switch {
		case word == "api":
			keys = append(keys, model.PerAPI)
		case word == "operation":
			keys = append(keys, model.PerOperation)
		case slices.Contains(keysLater, word),
			dynamic && name != "" && slices.Contains([]string{"header", "query", "claim"}, prefix):
			unserved = append(unserved, "counting per "+word)
		default:
			c.refuse(v.at(), "bad-policy", "nothing can be counted per %q%s", word, didYouMean(word, slices.Values(known)))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), unserved
}

var calendarWindows = []string{"calendar-day", "calendar-week", "calendar-month", "calendar-year"}

// window reads a length of time from 1s to 400d, or a calendar's.
func (c *compiler) window(n *node) (window time.Duration, unserved []string) {
	v := n.get("window")
	if v == nil {
		c.refuse(n.at(), "bad-policy", "window is missing; write a length of time such as 60s, 1h or 30d")
		return 0, nil
	}
	word := v.scalar()
	if hasVariable(word) {
		var ok bool
		if word, ok = c.variables.expand(&c.report, v); !ok {
			return 0, nil
		}
	}
	if slices.Contains(calendarWindows, word) {
		return 0, []string{"windows by the calendar"}
	}
	window, ok := duration(word)
	switch {
	case !ok:
		c.refuse(v.at(), "bad-policy", "the window is no length of time; write one such as 60s, 1h or 30d")
	case window < time.Second || window > maxWindow || window%time.Second != 0:
		c.refuse(v.at(), "bad-policy", "the window must be whole seconds, from 1s to 400d")
	}
	return window, nil
}

// duration reads Go's durations and, as 30d, days.
func duration(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * day, err == nil
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// policyOptions reads what says how to count, and names what this build does not do of it.
func (c *compiler) policyOptions(n *node) (unserved []string) {
	choice := func(key, served string, later ...string) {
		v := n.get(key)
		if !c.is(v, key, text) || v.value == served {
			return
		}
		if !slices.Contains(later, v.value) {
			c.refuse(v.at(), "bad-policy", "%s is %s or %s, not %q", key, served, strings.Join(later, " or "), v.value)
			return
		}
		unserved = append(unserved, fmt.Sprintf("%s %s", key, v.value))
	}
	choice("algorithm", "fixed", "sliding", "gcra")
	choice("mode", "exact", "quota")
	if v := n.get("cost"); c.is(v, "cost", number, text) && v.value != "1" {
		unserved = append(unserved, "a cost other than 1")
	}
	for _, key := range []string{"when", "timeZone"} {
		if v := n.get(key); c.is(v, key, text) {
			unserved = append(unserved, key)
		}
	}
	if v := n.get("burst"); c.is(v, "burst", number) {
		unserved = append(unserved, "burst")
	}
	return unserved
}

// warnUnused reports the policies that nobody asked for and that this build could not have served.
func (c *compiler) warnUnused(known policies) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		p := known[name]
		if !p.used.Load() && !p.bad && len(p.unserved) > 0 {
			c.warn(p.at.at(), "not-served", "this build does not serve %s; no API may ask for the policy %q yet", strings.Join(p.unserved, ", "), p.limit.Name)
		}
	}
}
