package translate

import (
	"cmp"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// enforcerFilter asks the enforcer about every request whose route does not switch it off. A route that says nothing
// about itself names no policy, and the enforcer refuses it.
func enforcerFilter(s model.Settings) proto.Message {
	return &extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		StatPrefix:          "enforcer",
		Services:            &extauthzv3.ExtAuthz_GrpcService{GrpcService: grpcService(enforcerCluster, orElse(s.Enforcer.Timeout, time.Second))},
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		DisallowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{
			exact(pathHeader), exact(scopeHeader), // why: the door's own; nothing decides by them
		}},
	}
}

func exact(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

// ask tells the enforcer, in pairs, where a request goes. What a virtual host says and what its route says are merged.
func ask(pairs ...string) *anypb.Any {
	extensions := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		extensions[pairs[i]] = pairs[i+1]
	}
	return pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{
		CheckSettings: &extauthzv3.CheckSettings{ContextExtensions: extensions},
	}})
}

// off switches a filter off for a route.
func off() *anypb.Any { return pack(&routev3.FilterConfig{Disabled: true}) }

// policyOf is what the API's operations ask of their callers; unnamed if none of them asks.
func policyOf(api *model.API) Resource {
	p := &posternv1.Policy{Api: api.ID()}
	for _, o := range api.Operations {
		if o.Security.Anonymous() {
			continue
		}
		op := &posternv1.OperationPolicy{
			Operation:          o.ID(),
			ForwardCredentials: o.Security.ForwardCredentials,
			IdentityHeaders:    o.Security.IdentityHeaders,
		}
		for _, a := range o.Security.Alternatives {
			alternative := &posternv1.Alternative{}
			for _, r := range a.Requirements {
				alternative.Requirements = append(alternative.Requirements, requirement(r))
			}
			op.Alternatives = append(op.Alternatives, alternative)
		}
		p.Operations = append(p.Operations, op)
	}
	if len(p.Operations) == 0 {
		return Resource{}
	}
	slices.SortFunc(p.Operations, func(a, b *posternv1.OperationPolicy) int { return cmp.Compare(a.Operation, b.Operation) })
	if slices.ContainsFunc(p.Operations, asksForBearer) {
		p.Requires = []string{posternv1.RequiresBearer}
	}
	return resource(posternv1.ContentHash(p), p, api.ID())
}

func asksForBearer(o *posternv1.OperationPolicy) bool {
	return slices.ContainsFunc(o.GetAlternatives(), func(a *posternv1.Alternative) bool { return len(a.GetRequirements()) > 0 })
}

func requirement(r model.Requirement) *posternv1.Requirement {
	places := map[string]posternv1.Bearer_Place{
		"header": posternv1.Bearer_PLACE_HEADER, "query": posternv1.Bearer_PLACE_QUERY, "cookie": posternv1.Bearer_PLACE_COOKIE,
	}
	out := &posternv1.Requirement{Scheme: r.Scheme.Name, Scopes: r.Scopes, AnyScope: r.AnyScope}
	if r.Scheme.Kind == model.Bearer {
		out.Kind = &posternv1.Requirement_Bearer{Bearer: &posternv1.Bearer{Place: places[r.Scheme.In], Key: r.Scheme.Key}}
	}
	return out
}

// unserved finds requirements this build cannot hand to an enforcer.
func unserved(o *model.Operation) []model.Problem {
	var problems []model.Problem
	for _, a := range o.Security.Alternatives {
		for _, r := range a.Requirements {
			if r.Scheme.Kind != model.Bearer {
				problems = append(problems, model.Problem{
					Origin: o.Origin, Code: "unserved-scheme",
					Message: o.ID() + " requires the security scheme " + r.Scheme.Name + ", of a kind this build does not serve: remove it or use a bearer scheme",
				})
			}
		}
	}
	return problems
}
