package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Error codes of a refusal (design §3.4).
const (
	codeThrottledByAPI       = "900800"
	codeThrottledByOperation = "900802"
)

// limitFilter asks the limiter about requests whose route has limits of one OnFailure: what a failing limiter means
// cannot be said per route, so there is one filter for each meaning, off until a route enables it.
//
// FailLocal calls a cluster in which the counter beside the Envoy takes over from the limiter at its first failure
// (service.go): within the same request where it cannot be reached, after two calls that pass uncounted where it does
// not answer in time. Without such a counter FailLocal is FailAllow.
func limitFilter(s model.Settings, onFailure model.OnFailure) proto.Message {
	f := &ratelimitfilterv3.RateLimit{
		Domain:                         "postern",
		Timeout:                        seconds(limiterTimeout(s)),
		FailureModeDeny:                onFailure == model.FailDeny,
		RateLimitedAsResourceExhausted: true,
		DisableXEnvoyRatelimitedHeader: true,
		RateLimitService: &ratelimitv3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService:         grpcService(limiterCluster, limiterTimeout(s)),
		},
	}
	if onFailure == model.FailDeny {
		f.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable}
	}
	if onFailure == model.FailLocal && s.LocalLimiter.Address != "" {
		f.RateLimitService.GrpcService = grpcService(limiterWithLocalCluster, limiterTimeout(s))
		f.RateLimitService.GrpcService.RetryPolicy = failOver(limiterTimeout(s))
	}
	return f
}

func limiterTimeout(s model.Settings) time.Duration {
	return orElse(s.RateLimiter.Timeout, 100*time.Millisecond)
}

// failOver asks again within the same request where the limiter was not reached; two failures have moved the cluster to
// its next address by then. What is the longest pause between tries is, in Envoy 1.40, also the longest that one try
// may take: all the time there is, so that an answer that is merely slow is not counted twice.
func failOver(timeout time.Duration) *corev3.RetryPolicy {
	return &corev3.RetryPolicy{
		NumRetries:   wrapperspb.UInt32(4), // why not two: the news that the limiter is away takes a moment to reach a worker
		RetryOn:      "connect-failure,refused-stream,reset,unavailable",
		RetryBackOff: &corev3.BackoffStrategy{BaseInterval: seconds(time.Millisecond), MaxInterval: seconds(timeout)},
	}
}

// routeLimits are the rule ids a route sends, by the filter that sends them.
type routeLimits map[string][]string

func limitFilterName(onFailure model.OnFailure) string { return "ratelimit-" + string(onFailure) }

// config is what a route says to the filters that send its limits.
func (l routeLimits) config() map[string]*anypb.Any {
	config := map[string]*anypb.Any{}
	for filter, rules := range l {
		perRoute := &ratelimitfilterv3.RateLimitPerRoute{}
		for _, id := range rules {
			perRoute.RateLimits = append(perRoute.RateLimits, &routev3.RateLimit{Actions: []*routev3.RateLimit_Action{{
				ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{GenericKey: &routev3.RateLimit_Action_GenericKey{
					DescriptorKey: posternv1.DescriptorLimit, DescriptorValue: id,
				}},
			}}})
		}
		config[filter] = pack(perRoute)
	}
	return config
}

func (l routeLimits) equal(o routeLimits) bool {
	return maps.EqualFunc(l, o, func(a, b []string) bool { return slices.Equal(a, b) })
}

// ruleSet gathers an API's rules. A rule's id, and so what routes send, is known once all are: until then they hold
// a pointer to it.
type ruleSet struct {
	rules []*posternv1.LimitRule
	users []*operationRules
}

// operationRules are the rules of one operation, by filter.
type operationRules struct {
	byFilter map[string][]*posternv1.LimitRule
	ids      routeLimits
}

// of gathers an operation's rules and returns the limits its routes will have once resource was called.
func (r *ruleSet) of(s model.Settings, api *model.API, o *model.Operation) routeLimits {
	u := &operationRules{byFilter: map[string][]*posternv1.LimitRule{}, ids: routeLimits{}}
	add := func(l *model.Limit, perOperation bool) {
		onFailure := cmp.Or(l.OnFailure, s.OnFailure, model.FailDeny)
		filter := limitFilterName(onFailure)
		rule := r.add(api, o, l, perOperation)
		for _, rules := range u.byFilter {
			if slices.Contains(rules, rule) { // why: one request counts once, however often its policy is named
				return
			}
		}
		u.byFilter[filter] = append(u.byFilter[filter], rule)
	}
	switch {
	case o.Untiered && !(s.TierPerAPI && api.Tier != nil):
	case o.Tier != nil && !(s.TierPerAPI && api.Tier != nil):
		add(o.Tier, true)
	case api.Tier != nil:
		add(api.Tier, false)
	}
	for _, limits := range [][]model.Limit{api.Limits, o.Limits} {
		for i := range limits {
			add(&limits[i], slices.Contains(limits[i].Per, model.PerOperation))
		}
	}
	r.users = append(r.users, u)
	return u.ids
}

// add finds or makes the rule of a limit. Rules with one counter are one rule: they are the same policy.
func (r *ruleSet) add(api *model.API, o *model.Operation, l *model.Limit, perOperation bool) *posternv1.LimitRule {
	rule := &posternv1.LimitRule{
		Name: l.Name, Counter: api.ID() + " " + l.Name, Limit: l.Count, WindowSeconds: uint64(l.Window / time.Second),
		Code: codeThrottledByAPI, Shadow: l.Shadow,
	}
	if perOperation {
		rule.Counter += " " + o.ID()
		rule.Code, rule.Operation = codeThrottledByOperation, o.ID()
	}
	for _, known := range r.rules {
		if proto.Equal(known, rule) {
			return known
		}
	}
	r.rules = append(r.rules, rule)
	return rule
}

// resource names the rules, and everything that refers to them by their ids; unnamed if there are none.
func (r *ruleSet) resource(api string) Resource {
	if len(r.rules) == 0 {
		return Resource{}
	}
	slices.SortFunc(r.rules, func(a, b *posternv1.LimitRule) int {
		return cmp.Or(strings.Compare(a.Counter, b.Counter), cmp.Compare(a.WindowSeconds, b.WindowSeconds),
			cmp.Compare(a.Limit, b.Limit), strings.Compare(fmt.Sprint(a.Shadow), fmt.Sprint(b.Shadow)))
	})
	l := &posternv1.Limits{Api: api, Rules: r.rules, Requires: []string{posternv1.RequiresFixedWindow}}
	name := posternv1.NameLimits(l)
	for _, u := range r.users {
		for filter, rules := range u.byFilter {
			for _, rule := range rules {
				u.ids[filter] = append(u.ids[filter], rule.Id)
			}
			slices.Sort(u.ids[filter])
		}
	}
	return resource(name, l, api)
}
