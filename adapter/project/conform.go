package project

import (
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// conforms refuses what does not stand in the definition as OpenAPI has it, each value once. It is asked only about
// definitions that kin-openapi cannot read: it says where and why. What kin-openapi takes is good enough.
func (d *definition) conforms() {
	c := conformer{definition: d, shapes: openapiShapes, seen: map[*node]bool{}}
	if d.swagger2 {
		c.shapes = swaggerShapes
	}
	c.check(d.root, an("definition"), "a definition")
}

type conformer struct {
	*definition
	shapes map[string]shape
	seen   map[*node]bool
}

// check refuses what does not stand at n as the rule has it.
func (c *conformer) check(n *node, r rule, what string) {
	if n == nil || n.kind == null || c.seen[n] || c.told[model.Refused] > maxProblems {
		return
	}
	c.seen[n] = true
	if len(r.kinds) > 0 && !slices.Contains(r.kinds, n.kind) && !slices.Contains(r.also, n.kind) {
		if !c.refusedBelow(n) {
			c.is(n, what, r.kinds...)
		}
		return
	}
	if i, ok := n.integer(); r.whole && (!ok || i < 0) {
		c.refuse(n.at(), "wrong-type", "%s must be a whole number, 0 or more, but %s stands here", what, n.value)
	}
	if len(r.words) > 0 && !slices.Contains(r.words, n.value) {
		c.refuse(n.at(), "bad-value", "%s is one of %s, not %q", what, strings.Join(r.words, ", "), n.value)
	}
	if r.items != nil {
		for _, item := range n.items() {
			c.check(item, *r.items, c.called(*r.items, "each item of "+what))
		}
	}
	c.members(n, r)
}

func (c *conformer) members(n *node, r rule) {
	if ref := n.get("$ref"); ref != nil && ref.kind == text && r.is != "" {
		c.reference(ref, r)
		return
	}
	if r.is == "operation" {
		c.bodies(n)
	}
	known := c.shapes[r.is].members
	for _, m := range n.fields() {
		member, ok := known[m.key]
		switch {
		case strings.HasPrefix(m.key, "x-"):
		case r.values != nil:
			c.check(m, *r.values, c.called(*r.values, m.key))
		case ok:
			c.check(m, member, m.key)
		}
	}
}

// called is how a value of a rule is called that has no key of its own.
func (c *conformer) called(r rule, otherwise string) string {
	if s, ok := c.shapes[r.is]; ok {
		return s.what
	}
	return otherwise
}

// reference looks at what a $ref leads to, which must be of the kind that belongs there.
func (c *conformer) reference(ref *node, r rule) {
	target, err := c.documents.follow(ref)
	if err != nil {
		return // said before
	}
	wanted := c.shapes[r.is]
	for _, other := range c.shapes {
		if other.section != "" && other.section != wanted.section && strings.HasPrefix(target.pointer(), other.section) {
			c.refuse(ref.at(), "wrong-ref", "%s belongs here, but %q is %s; refer to another place", wanted.what, ref.value, other.what)
			return
		}
	}
	c.check(target, r, wanted.what)
}

// bodies refuses a second body of an operation, which Swagger 2.0 writes as parameters.
func (c *conformer) bodies(operation *node) {
	var first *node
	for _, parameter := range operation.get("parameters").items() {
		switch in := parameter.get("in"); {
		case !c.swagger2 || in.text() != "body":
		case first == nil:
			first = in
		default:
			c.refuse(in.at(), "two-bodies", "this is the second body of one request, the first is at %s; keep one of them", first.at())
		}
	}
}
