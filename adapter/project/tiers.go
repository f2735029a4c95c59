package project

import (
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// tier is the throttling tier named at one level: nil if none is. Untiered says that it is "Unlimited".
func (d *definition) tier(l leveled, per model.LimitKey) (limit *model.Limit, untiered bool) {
	n := l.at("x-wso2-throttling-tier")
	if other := l.at("x-throttling-tier"); n == nil {
		n = other
	} else if other != nil && other.scalar() != n.scalar() {
		d.warn(other.keyAt(), "conflicting-extensions", "x-wso2-throttling-tier names another tier and wins; remove one of them")
	}
	if n == nil || n.scalar() == "" {
		return nil, false
	}
	if n.scalar() == unlimited {
		return nil, true
	}
	p := d.policy(n)
	if p == nil {
		return nil, false
	}
	named := p.limit
	if named.Per == nil {
		named.Per = []model.LimitKey{per}
	}
	if !slices.Equal(named.Per, []model.LimitKey{per}) {
		d.refuse(n.at(), "bad-tier", "a tier here counts per %s, but the policy %q counts otherwise; ask for it with x-postern-limits", per, named.Name)
		return nil, false
	}
	return &named, false
}

// operationTier is the tier of the operation itself, or of its path.
func (d *definition) operationTier(p place) (*model.Limit, bool) {
	for _, l := range p.levels() {
		if l.level == atAPI {
			continue
		}
		if limit, untiered := d.tier(l, model.PerOperation); limit != nil || untiered {
			return limit, untiered
		}
	}
	return nil, false
}

// limits are the policies that x-postern-limits asks for at one level. One that does not say what it counts by (WSO2's)
// counts per what it stands at.
func (d *definition) limits(l leveled, per model.LimitKey) []model.Limit {
	n := l.at("x-postern-limits")
	if n == nil {
		return nil
	}
	d.strings(n, "x-postern-limits")
	var out []model.Limit
	for _, item := range n.items() {
		if item.text() == "" || item.text() == unlimited {
			continue
		}
		p := d.policy(item)
		if p == nil {
			continue
		}
		named := p.limit
		if named.Per == nil {
			named.Per = []model.LimitKey{per}
		}
		out = append(out, named)
	}
	return out
}

// operationLimits are those of the operation and of its path, by name, each once.
func (d *definition) operationLimits(p place) []model.Limit {
	var out []model.Limit
	for _, l := range p.levels() {
		if l.level != atAPI {
			out = append(out, d.limits(l, model.PerOperation)...)
		}
	}
	return uniqueLimits(out)
}

func uniqueLimits(limits []model.Limit) []model.Limit {
	slices.SortFunc(limits, func(a, b model.Limit) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(limits, func(a, b model.Limit) bool { return a.Name == b.Name })
}

// policy finds the policy that n names. It refuses one that is not defined or that this build cannot serve; nil then.
func (d *definition) policy(n *node) *policy {
	name := n.scalar()
	p := d.policies[name]
	if p == nil {
		d.refuse(n.at(), "unknown-tier", "no policy is called %q%s; define it in %s, under resourcePolicies or policies",
			name, didYouMean(name, d.policies.names()), policiesFile)
		return nil
	}
	p.used.Store(true)
	d.uses[name] = true
	switch {
	case p.bad: // said where it is defined
		return nil
	case len(p.unserved) > 0:
		d.refuse(n.at(), "not-served", "the policy %q asks for %s, which this build does not serve; remove it, or change the policy at %s",
			name, strings.Join(p.unserved, ", "), p.at.at())
		return nil
	}
	return p
}
