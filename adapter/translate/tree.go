package translate

import (
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/model"
)

// matcher leads from a request's path to the list of routes that could serve it: the longest key pathHeader begins
// with wins, and there is no way back from its list (design §4.2). So each list holds every operation that could match
// below its key, the most specific first, and ends in what answers everything else.
func (v *virtualHost) matcher() *matcherv3.Matcher {
	lists := map[string]*matcherv3.Matcher_OnMatch{}
	for _, f := range v.faces {
		for key, routes := range v.lists(f) {
			lists[key] = onMatch(routes)
		}
	}
	return &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{Name: "path", TypedConfig: pack(&envoymatcherv3.HttpRequestHeaderMatchInput{HeaderName: pathHeader})},
			TreeType: &matcherv3.Matcher_MatcherTree_PrefixMatchMap{
				PrefixMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: lists},
			},
		}},
		OnNoMatch: onMatch([]*routev3.Route{v.notFound(nil, nil)}),
	}
}

func onMatch(routes []*routev3.Route) *matcherv3.Matcher_OnMatch {
	var action proto.Message = &routev3.RouteList{Routes: routes}
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "routes", TypedConfig: pack(action)},
	}}
}

// lists are the route lists of one API, by key. Two kinds of key: "/pets//" is the path /pets itself, with or without a
// slash at its end, and "/pets/" is that and everything below.
func (v *virtualHost) lists(f *face) map[string][]*routev3.Route {
	lists := map[string][]*routev3.Route{}
	below := map[string][]string{f.basePath() + "/": nil} // keys of the second kind: literal segments below the base path
	for _, p := range f.paths {
		if p.scope != v.scope {
			continue
		}
		segments, literal := literalPrefix(p.template)
		at := append(slices.Clone(f.base), segments...)
		if v.owner(at) != f {
			continue
		}
		key := "/" + strings.Join(at, "/")
		if len(at) == 0 {
			key = ""
		}
		switch {
		case literal && !p.template.Rest:
			lists[key+"//"] = v.pathRoutes(f, p, nil, len(segments) == 0)
		case literal && len(segments) == 0 && lists[key+"//"] == nil: // "/*": the base path itself is rewritten in its own way
			lists[key+"//"] = v.pathRoutes(f, p, nil, true)
			fallthrough
		default:
			below[key+"/"] = segments
		}
	}
	for key, segments := range below {
		lists[key] = v.routesBelow(f, segments)
	}
	return lists
}

// owner is the API with the longest base path at or above a path of literal segments.
func (v *virtualHost) owner(path []string) *face {
	for n := len(path); n >= 0; n-- {
		base := ""
		if n > 0 {
			base = "/" + strings.Join(path[:n], "/")
		}
		i, found := slices.BinarySearchFunc(v.faces, base, func(f *face, base string) int { return strings.Compare(f.basePath(), base) })
		if found {
			return v.faces[i]
		}
	}
	return nil
}

// literalPrefix are the texts of a template's segments up to its first parameter, and whether those are all it has.
func literalPrefix(t model.Template) ([]string, bool) {
	var texts []string
	for _, s := range t.Segments {
		if !s.Literal() {
			return texts, false
		}
		texts = append(texts, s.Texts[0])
	}
	return texts, true
}

// routesBelow is the list of a key of the second kind: the API's operations that could match at or below it, other than
// those with a key of their own. All but the last path are told apart by a regular expression; what the last does not
// match is not found, and only then come its routes: one expression for the path instead of one a method.
func (v *virtualHost) routesBelow(f *face, at []string) []*routev3.Route {
	var paths []*path
	for _, p := range f.paths {
		if p.scope == v.scope && reaches(p.template, at) {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return []*routev3.Route{v.notFound(f, nil)}
	}
	var routes []*routev3.Route
	last := len(paths) - 1
	for _, p := range paths[:last] {
		routes = append(routes, v.pathRoutes(f, p, pathMatch(f, p, false), false)...)
	}
	if p := paths[last]; !matchesAllBelow(p.template, at) {
		routes = append(routes, v.notFound(f, pathMatch(f, p, true)))
	}
	return append(routes, v.pathRoutes(f, paths[last], nil, false)...)
}

// reaches says whether a template that has no key of its own below these segments could match at or below them.
func reaches(t model.Template, at []string) bool {
	prefix, literal := literalPrefix(t)
	if literal && !t.Rest || len(prefix) > len(at) {
		return false
	}
	if len(t.Segments) < len(at) && !t.Rest {
		return false
	}
	for i, s := range t.Segments[:min(len(t.Segments), len(at))] {
		if !s.Match(at[i]) {
			return false
		}
	}
	return true
}

// matchesAllBelow says that a template that reaches these segments matches every path at and below them.
func matchesAllBelow(t model.Template, at []string) bool { return t.Rest && len(t.Segments) <= len(at) }
