package project

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// unlimited is the tier that needs no entry in policies.yaml.
const unlimited = "Unlimited"

// policy is one throttle policy of policies.yaml.
type policy struct {
	at    *node
	limit model.Limit // without Per where the place that names it decides (WSO2's resource policies)
	bad   bool        // refused already: whoever names it says nothing more
	// unserved is what this build does not do of it, in words; empty if it does all.
	unserved []string
	used     atomic.Bool // definitions are compiled side by side
}

// policies are those that operations can name: WSO2's resourcePolicies and Postern's own, in one name space.
type policies map[string]*policy

// names are what a tier can be called.
func (p policies) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(unlimited) {
			return
		}
		maps.Keys(p)(yield)
	}
}

var (
	policiesKeys = []string{"resourcePolicies", "applicationPolicies", "subscriptionPolicies", "policies"}
	tierKeys     = []string{"count", "unitTime", "timeUnit"}
	policyKeys   = []string{"name", "per", "limit", "window", "timeZone", "algorithm", "burst", "cost", "when", "mode", "shadow", "onFailure"}
)

// readPolicies reads policies.yaml.
func (c *compiler) readPolicies() policies {
	known := policies{}
	root := c.optional(policiesFile)
	if !c.is(root, policiesFile, object) {
		return known
	}
	c.onlyMembers(root, policiesFile, policiesKeys...)
	for _, key := range policiesKeys[:3] {
		table := policies{}
		if key == "resourcePolicies" {
			table = known
		}
		c.tiers(root.get(key), key, table)
		if key != "resourcePolicies" && len(table) > 0 {
			c.warn(root.get(key).keyAt(), "not-served", "this build counts by API and operation only; %s are checked and have no effect", key)
		}
	}
	own := root.get("policies")
	if c.is(own, "policies", list) {
		for _, n := range own.members {
			if c.is(n, "each item of policies", object) {
				c.ownPolicy(n, known)
			}
		}
	}
	return known
}

// tiers reads one of WSO2's lists, of objects with one key each: the tier's name.
func (c *compiler) tiers(n *node, what string, into policies) {
	if !c.is(n, what, list) {
		return
	}
	for _, item := range n.members {
		if !c.is(item, "each item of "+what, object) {
			continue
		}
		if len(item.members) != 1 {
			c.refuse(item.at(), "bad-policy", "each item of %s is one tier: - Gold: {count: 5000, unitTime: 1, timeUnit: min}", what)
			continue
		}
		tier := item.members[0]
		p := &policy{at: tier, limit: model.Limit{Name: tier.key, Origin: tier.keyAt()}}
		before := len(c.problems)
		if c.is(tier, fmt.Sprintf("the tier %q", tier.key), object) {
			c.onlyMembersWarn(tier, "a tier", tierKeys...)
			p.limit.Count = c.count(tier, "count")
			p.limit.Window = c.unitWindow(tier)
		}
		p.bad = model.Refusing(c.problems[before:])
		c.define(tier, tier.key, p, into)
	}
}

// define adds a policy; a name can be given once.
func (c *compiler) define(n *node, name string, p *policy, into policies) {
	other := into[name]
	switch {
	case strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\"\r\n"):
		c.refuse(n.keyAt(), "bad-policy", "a policy's name is shown to callers: it cannot be empty, or hold quotes or line breaks")
	case name == unlimited:
		c.refuse(n.keyAt(), "bad-policy", "%s is known to everybody as no limit at all; choose another name", unlimited)
	case other != nil:
		c.refuse(n.keyAt(), "duplicate-policy", "the policy %q is defined twice, first at %s; rename one of them", name, other.at.keyAt())
	default:
		into[name] = p
	}
}

// maxCount is what JSON numbers can say exactly.
const maxCount = 1 << 53

// count reads how many requests fit into a window; a variable may stand there.
func (c *compiler) count(n *node, key string) uint64 {
	v := n.get(key)
	if v == nil {
		c.refuse(n.keyAt(), "bad-policy", "%s is missing: how many requests fit into the window", key)
		return 0
	}
	i, ok := c.wholeNumber(v, key)
	if ok && (i < 1 || i > maxCount) {
		c.refuse(v.at(), "bad-policy", "%s must be between 1 and %d", key, maxCount)
	}
	return uint64(max(i, 0))
}

// wholeNumber reads a number that may be written as a variable.
func (c *compiler) wholeNumber(v *node, what string) (int64, bool) {
	if v.kind == text && hasVariable(v.value) {
		word, ok := c.variables.expand(&c.report, v)
		if !ok {
			return 0, false
		}
		resolved := *v
		resolved.kind, resolved.value = number, word
		v = &resolved
	}
	i, ok := v.integer()
	if !ok {
		c.refuse(v.at(), "wrong-type", "%s must be a whole number", what)
	}
	return i, ok
}

// units are WSO2's names of time, a month being 30 days and a year 365.
var units = map[string]time.Duration{
	"sec": time.Second, "second": time.Second, "seconds": time.Second,
	"min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"hour": time.Hour, "hours": time.Hour,
	"day": day, "days": day,
	"month": 30 * day, "months": 30 * day,
	"year": 365 * day, "years": 365 * day,
}

const (
	day       = 24 * time.Hour
	maxWindow = 400 * day
)

// unitWindow reads unitTime and timeUnit.
func (c *compiler) unitWindow(n *node) time.Duration {
	word := n.get("timeUnit")
	if word == nil {
		c.refuse(n.keyAt(), "bad-policy", "timeUnit is missing; write sec, min, hour, day, month or year")
		return 0
	}
	unit, ok := units[strings.ToLower(word.scalar())]
	if !ok {
		c.refuse(word.at(), "bad-policy", "%q is not a timeUnit%s; write sec, min, hour, day, month or year",
			word.scalar(), didYouMean(word.scalar(), maps.Keys(units)))
		return 0
	}
	times := int64(1)
	if v := n.get("unitTime"); v != nil {
		if times, ok = c.wholeNumber(v, "unitTime"); !ok {
			return 0
		}
	}
	if times < 1 || times > int64(maxWindow/unit) {
		c.refuse(n.keyAt(), "bad-policy", "the window must be between 1 second and 400 days")
		return 0
	}
	return time.Duration(times) * unit
}
