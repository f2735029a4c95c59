package translate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// pathMatch tells a path template by a regular expression over pathHeader.
func pathMatch(f *face, p *path, not bool) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name: pathHeader, InvertMatch: not,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pathRegex(f, p)}},
		}},
	}
}

func pathRegex(f *face, p *path) string {
	var b strings.Builder
	b.WriteString(quote(f.basePath()))
	for _, s := range p.template.Segments {
		b.WriteString("/")
		for i, text := range s.Texts {
			if i > 0 {
				b.WriteString("[^/]+")
			}
			b.WriteString(quote(text))
		}
	}
	if p.template.Rest {
		b.WriteString("/.*")
	} else {
		b.WriteString("//+")
	}
	return b.String()
}

func methodMatch(method string, not bool) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name: ":method", InvertMatch: not,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(method)},
	}
}

// pathRoutes are the routes of one path: its operations and the 405 for all other methods. GET comes last, matching
// what is left when the 405 has taken all but GET and HEAD: a match of two methods would need a regular expression.
// The gate, if any, tells the path from others of the list; atRoot says that the path is the base path itself.
func (v *virtualHost) pathRoutes(f *face, p *path, gate *routev3.HeaderMatcher, atRoot bool) []*routev3.Route {
	when := func(methods ...*routev3.HeaderMatcher) []*routev3.HeaderMatcher {
		if gate != nil {
			return append([]*routev3.HeaderMatcher{gate}, methods...)
		}
		return methods
	}
	var routes []*routev3.Route
	var get *operation
	var others []*routev3.HeaderMatcher // what the 405 leaves to GET
	head := slices.ContainsFunc(p.operations, func(o *operation) bool { return o.Method == "HEAD" })
	for _, o := range p.operations {
		if o.Method == "GET" {
			get = o
			others = append(others, methodMatch("GET", true))
			if !head {
				others = append(others, methodMatch("HEAD", true))
			}
			continue
		}
		routes = append(routes, v.operationRoutes(f, o, when(methodMatch(o.Method, false)), atRoot)...)
	}
	routes = append(routes, v.methodNotAllowed(f, p, when(others...)))
	if get != nil {
		routes = append(routes, v.operationRoutes(f, get, when(), atRoot)...)
	}
	return routes
}

// operationRoutes are an operation's routes: one, or one for each cluster of its backend, taking their parts of the
// requests. Envoy draws one number a request and compares it with each route's fraction, so the fractions add up.
func (v *virtualHost) operationRoutes(f *face, o *operation, when []*routev3.HeaderMatcher, atRoot bool) []*routev3.Route {
	total, sum := 0, 0
	for _, b := range o.backends {
		total += b.weight
	}
	var routes []*routev3.Route
	for i, b := range o.backends {
		match, rewrite := rewriting(f.basePath(), b.path, atRoot)
		match.Headers = when
		if sum += b.weight; i < len(o.backends)-1 {
			match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator: uint32(sum * 1_000_000 / total), Denominator: typev3.FractionalPercent_MILLION,
			}}
		}
		routes = append(routes, &routev3.Route{
			Name:  o.ID(),
			Match: match,
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: b.cluster},
				PrefixRewrite:        rewrite,
				HostRewriteSpecifier: &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)},
				Timeout:              seconds(v.timeout(o)),
				RetryPolicy:          retryPolicy(o),
			}},
			Metadata:             v.routeMetadata(f),
			TypedPerFilterConfig: v.operationFilters(f, o),
			ResponseHeadersToAdd: lifespanHeaders(o.Lifespan),
		})
	}
	return routes
}

// rewriting strips the base path and puts the backend's own path before what is left, leaving the query alone.
func rewriting(base, backend string, atRoot bool) (match *routev3.RouteMatch, prefixRewrite string) {
	switch {
	case base == backend:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}, ""
	case base == "":
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}, backend + "/"
	case backend != "":
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: base}}, backend
	case atRoot: // "/base" and "/base/" become "/": for a regular expression the rewrite replaces all it matched
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: quote(base) + "/?"},
		}}, "/"
	}
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: base + "/"}}, "/"
}

func (v *virtualHost) timeout(o *operation) time.Duration {
	timeout := orElse(o.Production.Timeout, v.settings.Timeouts.Request)
	if most := v.settings.Timeouts.MaxRequest; most > 0 {
		timeout = min(timeout, most)
	}
	return timeout
}

// retryPolicy is nil for operations that may not be repeated (RFC 9110 §9.2.2), unless their retry says any method.
func retryPolicy(o *operation) *routev3.RetryPolicy {
	r := o.Production.Retry
	idempotent := o.Method != "POST" && o.Method != "PATCH"
	if r == nil || r.Count == 0 || !r.AnyMethod && !idempotent {
		return nil
	}
	p := &routev3.RetryPolicy{
		RetryOn:              "connect-failure,refused-stream,reset",
		NumRetries:           wrapperspb.UInt32(uint32(r.Count)),
		RetriableStatusCodes: r.Statuses,
	}
	if len(r.Statuses) > 0 {
		p.RetryOn += ",retriable-status-codes"
	}
	if r.Interval > 0 || r.MaxInterval > 0 {
		base := orElse(r.Interval, 25*time.Millisecond)
		p.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: seconds(base), MaxInterval: seconds(max(base, orElse(r.MaxInterval, 10*base))),
		}
	}
	return p
}

// operationFilters is what a route says to the filters, beside what its virtual host says.
func (v *virtualHost) operationFilters(f *face, o *operation) map[string]*anypb.Any {
	config := v.apiFilters(f)
	if l := f.StateOf(*o.Operation); l.Status() != 0 {
		config[stateFilterName] = stateAnswer(l)
	}
	switch {
	case o.Security.Anonymous():
		config[enforcerFilterName] = off()
	case v.only != nil:
		config[enforcerFilterName] = ask(posternv1.ContextOperation, o.ID())
	default:
		config[enforcerFilterName] = ask(
			posternv1.ContextAPI, f.ID(), posternv1.ContextPolicy, f.policy.Name, posternv1.ContextOperation, o.ID())
	}
	if o.Production.HTTP2 {
		config[bodyFilterName], config[bodyUnlessGRPCFilterName] = off(), letGRPCStream()
	}
	if !v.limited {
		for filter, limits := range o.limits.config() {
			config[filter] = limits
		}
	}
	return config
}

// apiFilters is what every route of an API says to the filters, its 404s and 405s included.
func (v *virtualHost) apiFilters(f *face) map[string]*anypb.Any {
	config := map[string]*anypb.Any{}
	if !v.cors {
		if policy := corsPolicy(v.corsOf(f)); policy != nil {
			config[corsFilterName] = policy
		}
	}
	if f != nil && f.State.Status() != 0 {
		config[stateFilterName] = stateAnswer(f.State)
	}
	return config
}

func (v *virtualHost) routeMetadata(f *face, pairs ...string) *corev3.Metadata {
	if v.only == nil && f != nil {
		pairs = append(pairs, f.about()...)
	}
	if len(pairs) == 0 {
		return nil
	}
	return metadata(pairs...)
}

// notFound and methodNotAllowed are real routes, to clusters whose requests a filter answers (notfound.go): where no
// route matches there is no CORS either. Of an API whose state is not served, they answer that.
func (v *virtualHost) notFound(f *face, unless *routev3.HeaderMatcher) *routev3.Route {
	r := &routev3.Route{
		Match:    &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action:   &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: answeringCluster(f, notFoundCluster)}}},
		Metadata: v.routeMetadata(f),

		TypedPerFilterConfig: v.apiFilters(f),
	}
	if unless != nil {
		r.Match.Headers = []*routev3.HeaderMatcher{unless}
	}
	return r
}

// answeringCluster is where requests lead that no operation takes; f is nil where they are no API's.
func answeringCluster(f *face, otherwise string) string {
	if f == nil {
		return otherwise
	}
	return cmp.Or(stateCluster(f.State), otherwise)
}

func (v *virtualHost) methodNotAllowed(f *face, p *path, when []*routev3.HeaderMatcher) *routev3.Route {
	var operations []*model.Operation
	for _, o := range p.operations {
		operations = append(operations, o.Operation)
	}
	return &routev3.Route{
		Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: when},
		Action:               &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: answeringCluster(f, methodNotAllowedCluster)}}},
		Metadata:             v.routeMetadata(f, posternv1.MetadataAllow, strings.Join(model.Allowed(operations), ", ")),
		TypedPerFilterConfig: v.apiFilters(f),
	}
}
