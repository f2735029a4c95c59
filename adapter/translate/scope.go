package translate

import (
	"cmp"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// The door writes two headers that nobody outside can set and no backend sees.
const (
	// pathHeader is the normalized path without its query, and two slashes at its end. Slashes inside a path are
	// merged, so "/pet//" is a prefix of what "/pet" and "/pet/" become and of nothing else, and "/pet/" of what lies
	// below as well: prefixes of this header say "exactly" and "below" without a regular expression.
	pathHeader = posternv1.HeaderPrefix + "path"
	// scopeHeader holds FlatScope in flat mode. In scoped mode a segment of pathHeader is the key.
	scopeHeader = posternv1.HeaderPrefix + "scope"

	// FlatScope is the name of the one scope in flat mode.
	FlatScope = "_all"
)

// segmentOf is the number of the path segment that is the scope's key, from 1.
func segmentOf(r model.Routing) int { return max(r.Segment, 1) }

// scopeKeyBuilder finds the key of a request's scope: a path too short for the segment has the key "".
func scopeKeyBuilder(r model.Routing) *hcmv3.ScopedRoutes_ScopeKeyBuilder {
	type extractor = hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor
	header := &extractor{Name: pathHeader, ElementSeparator: "/", ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{
		Index: uint32(segmentOf(r)),
	}}
	if r.Flat {
		header = &extractor{Name: scopeHeader, ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{}}
	}
	return &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
		Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{HeaderValueExtractor: header},
	}}}
}

// scopeName names the scope of a key, and its route table: the key itself, which is never empty or "/".
func scopeName(key string) string {
	if key == "" {
		return "/"
	}
	return key
}

func scope(key string) *routev3.ScopedRouteConfiguration {
	return &routev3.ScopedRouteConfiguration{
		Name:                   scopeName(key),
		RouteConfigurationName: scopeName(key),
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: key},
		}}},
	}
}

// scopeKey is the key of the requests a path template below a base path matches; false if they have no single one.
func scopeKey(r model.Routing, base []string, t model.Template) (string, bool) {
	if r.Flat {
		return FlatScope, true
	}
	n := segmentOf(r) - 1
	switch below := n - len(base); {
	case below < 0:
		return base[n], true
	case below < len(t.Segments):
		s := t.Segments[below]
		return s.Texts[0], s.Literal()
	}
	return "", !t.Rest
}

// split warns of an API whose operations are in several scopes, for want of a base path that would say one.
func split(s model.Settings, f *face) []model.Problem {
	if !f.spread || len(f.scopes) < 2 {
		return nil
	}
	return []model.Problem{{
		Origin: f.Origin, Severity: model.Warning, Code: "several-route-scopes",
		Message: fmt.Sprintf("the paths of %s below %s are in %d route tables, by their segment number %d, and a change of the API reaches one after the other: "+
			"give it a longer base path if that matters", f.ID(), cmp.Or(f.basePath(), "/"), len(f.scopes), segmentOf(s.Routing)),
	}}
}

func noScope(s model.Settings, base string, o *model.Operation) model.Problem {
	return model.Problem{
		Origin: o.Origin, Code: "no-route-scope",
		Message: fmt.Sprintf("%s below %s has no literal path segment number %d, by which this gateway finds its route table: "+
			"give the API a base path, set routing.scopeSegment to a segment that is literal in every path, or set routing.mode to flat",
			o.ID(), base, segmentOf(s.Routing)),
	}
}

// Scopeless warns of the APIs that a gateway in scoped mode rejects, one warning an API: in mode auto it depends on what
// else a gateway has served since its start.
func Scopeless(s model.Settings, apis []model.API) []model.Problem {
	s.Routing.Flat = false
	var problems []model.Problem
	for _, api := range apis {
		for _, base := range api.BasePaths() {
			problems = append(problems, scopeless(s, api, base)...)
		}
	}
	return problems
}

// scopeless is the warning about one base path of an API, if there is one to give.
func scopeless(s model.Settings, api model.API, base string) []model.Problem {
	var without []*model.Operation
	for i := range api.Operations {
		if _, ok := scopeKey(s.Routing, segments(model.EscapePath(base)), model.ParseTemplate(api.Operations[i].Path)); !ok {
			without = append(without, &api.Operations[i])
		}
	}
	if len(without) == 0 {
		return nil
	}
	more := ""
	if n := len(without) - 1; n > 0 {
		more = fmt.Sprintf(" (nor have %d more)", n)
	}
	return []model.Problem{{
		Origin: without[0].Origin, Severity: model.Warning, Code: "no-route-scope",
		Message: fmt.Sprintf("%s below %s has no literal path segment number %d%s: a gateway that finds route tables by it rejects the API, and with routing.mode auto "+
			"that depends on what it served at its start; set routing.mode to flat, set routing.scopeSegment to a segment that is literal in every path, or give the API a base path",
			without[0].ID(), base, segmentOf(s.Routing), more),
	}}
}
