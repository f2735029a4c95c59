package translate

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// compiled is an API and everything that follows from it alone.
type compiled struct {
	model.API
	faces []*face // one for each base path, its own first

	policy   Resource // unnamed if no operation asks for anything
	limits   Resource // unnamed if nothing is limited
	clusters map[string]*clusterv3.Cluster
}

// face is an API as it is seen under one of its base paths.
type face struct {
	*compiled
	base   []string // segments of the base path
	paths  []*path  // by specificity
	scopes []string // keys, sorted
	spread bool     // the base path is too short to say the scope: the operations do
}

// path is one path template and its operations.
type path struct {
	template   model.Template // below the base path
	scope      string
	operations []*operation // by method
}

// operation is one operation, ready to become routes.
type operation struct {
	*model.Operation
	backends []weighted
	limits   routeLimits
}

// compile makes an API's own part of everything. The problems are those only a gateway's settings can show, and those
// that would make routing ambiguous.
func compile(s model.Settings, api model.API) (*compiled, []model.Problem) {
	c := &compiled{API: api, clusters: map[string]*clusterv3.Cluster{}}
	problems := check(api)
	var rules ruleSet
	operations := make([]*operation, len(api.Operations))
	for i := range api.Operations {
		o := &api.Operations[i]
		operations[i] = &operation{Operation: o, backends: c.backends(s, o), limits: rules.of(s, &api, o)}
	}
	for _, base := range api.BasePaths() {
		f, found := c.face(s, base, operations)
		c.faces = append(c.faces, f)
		problems = append(problems, found...)
	}
	if model.Refusing(problems) {
		return nil, problems
	}
	for _, f := range c.faces {
		problems = append(problems, split(s, f)...)
	}
	c.policy = policyOf(&api)
	c.limits = rules.resource(api.ID())
	return c, problems
}

// face puts the API's operations under a base path.
func (c *compiled) face(s model.Settings, base string, operations []*operation) (*face, []model.Problem) {
	f := &face{compiled: c, base: segments(model.EscapePath(base))}
	f.spread = !s.Routing.Flat && len(f.base) < segmentOf(s.Routing)
	var problems []model.Problem
	byTemplate := map[string]*path{}
	for _, o := range operations {
		t := model.ParseTemplate(o.Path)
		p := byTemplate[t.String()]
		if p == nil {
			key, ok := scopeKey(s.Routing, f.base, t)
			if !ok {
				problems = append(problems, noScope(s, base, o.Operation))
			}
			p = &path{template: t, scope: key}
			byTemplate[t.String()] = p
			f.paths = append(f.paths, p)
			f.scopes = append(f.scopes, key)
		}
		p.operations = append(p.operations, o)
	}
	slices.SortFunc(f.paths, func(a, b *path) int { return a.template.Compare(b.template) })
	for _, p := range f.paths {
		slices.SortFunc(p.operations, func(a, b *operation) int { return strings.Compare(a.Method, b.Method) })
	}
	slices.Sort(f.scopes)
	f.scopes = slices.Compact(f.scopes)
	return f, problems
}

// scopes are the keys of the scopes the API is in, sorted.
func (c *compiled) scopes() []string {
	if len(c.faces) == 1 {
		return c.faces[0].scopes
	}
	var keys []string
	for _, f := range c.faces {
		keys = append(keys, f.scopes...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// facesIn are the faces of APIs that have operations in a scope.
func facesIn(key string, apis []*compiled) []*face {
	var faces []*face
	for _, c := range apis {
		for _, f := range c.faces {
			if _, in := slices.BinarySearch(f.scopes, key); in {
				faces = append(faces, f)
			}
		}
	}
	return faces
}

// segments cuts a path at its slashes, leaving out empty parts.
func segments(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// check finds what would make an API's routing ambiguous or its security weaker than written.
func check(api model.API) []model.Problem {
	var problems []model.Problem
	if strings.ContainsAny(api.BasePath, "{}*") { // and so its aliases, which are parts of it
		problems = append(problems, model.Problem{
			Origin: api.Origin, Code: "base-path-template",
			Message: fmt.Sprintf("the base path %s holds a parameter or wildcard: write it as plain text, and the parameter into the paths", api.BasePath),
		})
	}
	seen := map[string]*model.Operation{}
	var uncertain []*model.Operation // whose templates have text and parameters in one segment
	for i := range api.Operations {
		o := &api.Operations[i]
		t := model.ParseTemplate(o.Path)
		if first := seen[o.Method+t.String()]; first != nil {
			problems = append(problems, ambiguous(o, first, "match the same paths: remove one, or write one of their segments as plain text"))
		}
		seen[o.Method+t.String()] = o
		for _, other := range uncertain {
			if overlap(t, model.ParseTemplate(other.Path)) {
				problems = append(problems, ambiguous(o, other, "overlap, and neither is more specific: give one of them more literal text"))
			}
		}
		if slices.ContainsFunc(t.Segments, func(s model.Segment) bool { return !s.Literal() && !s.Whole() }) {
			uncertain = append(uncertain, o)
		}
		problems = append(problems, unserved(o)...)
	}
	return problems
}

func ambiguous(o, first *model.Operation, why string) model.Problem {
	return model.Problem{
		Origin: o.Origin, Code: "ambiguous-paths",
		Message: fmt.Sprintf("%s and %s (%s) %s", o.ID(), first.ID(), first.Origin, why),
	}
}

// overlap says that two different templates match a common path and that only their spelling would order them: the
// first segments that differ are both text with parameters, and as long.
func overlap(a, b model.Template) bool {
	if len(a.Segments) != len(b.Segments) || a.Rest != b.Rest {
		return false
	}
	uncertain := false
	for i, s := range a.Segments {
		o := b.Segments[i]
		if slices.Equal(s.Texts, o.Texts) {
			continue
		}
		if !meet(s, o) {
			return false
		}
		if !uncertain {
			certain := s.Literal() || o.Literal() || s.Whole() || o.Whole() || weight(s) != weight(o)
			if certain { // the more specific one wins
				return false
			}
			uncertain = true
		}
	}
	return uncertain
}

// meet says whether one text could match both segments; where both have parameters, judged by how they begin and end.
func meet(a, b model.Segment) bool {
	switch {
	case a.Literal():
		return b.Match(a.Texts[0])
	case b.Literal():
		return a.Match(b.Texts[0])
	}
	begins := strings.HasPrefix(a.Texts[0], b.Texts[0]) || strings.HasPrefix(b.Texts[0], a.Texts[0])
	x, y := a.Texts[len(a.Texts)-1], b.Texts[len(b.Texts)-1]
	return begins && (strings.HasSuffix(x, y) || strings.HasSuffix(y, x))
}

func weight(s model.Segment) int { return len(strings.Join(s.Texts, "")) }
