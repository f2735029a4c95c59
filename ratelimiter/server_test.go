package ratelimiter

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter/limit"
)

const (
	passes  = ratelimitv3.RateLimitResponse_OK
	refuses = ratelimitv3.RateLimitResponse_OVER_LIMIT
)

func TestALimitIsUsedUpAndComesBack(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	r, ids := limits(t, gold())
	put(t, f.Server, r)
	for _, left := range []string{"2", "1", "0"} {
		out := f.ask(t, ids...)
		want := map[string]string{
			"ratelimit-policy": `"gold";q=3;w=60`, "ratelimit": `"gold";r=` + left + `;t=42`,
			"x-ratelimit-limit": "3", "x-ratelimit-remaining": left, "x-ratelimit-reset": "42",
		}
		if out.GetOverallCode() != passes || len(out.GetRawBody()) != 0 || out.GetDynamicMetadata() != nil {
			t.Errorf("with %s left: %v", left, out)
		}
		if d := cmp.Diff(want, headers(out)); d != "" {
			t.Errorf("headers with %s left: %s", left, d)
		}
	}
	out := f.ask(t, ids...)
	want := map[string]string{
		"ratelimit-policy": `"gold";q=3;w=60`, "ratelimit": `"gold";r=0;t=42`, "retry-after": "42",
		"x-ratelimit-limit": "3", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "42",
	}
	if d := cmp.Diff(want, headers(out)); out.GetOverallCode() != refuses || d != "" {
		t.Errorf("the fourth: %v, headers: %s", out.GetOverallCode(), d)
	}
	if got := string(out.GetRawBody()); got != `The limit "gold" of 3 requests per minute is used up. Try again in 42 seconds.` {
		t.Errorf("detail: %s", got)
	}
	if d := cmp.Diff(map[string]any{"code": "900800", "title": "Too Many Requests"}, out.GetDynamicMetadata().AsMap()); d != "" {
		t.Errorf("metadata: %s", d)
	}
	s := out.GetStatuses()
	if len(s) != 1 || s[0].GetCode() != refuses || s[0].GetLimitRemaining() != 0 || s[0].GetDurationUntilReset().GetSeconds() != 42 {
		t.Errorf("statuses: %v", s)
	}
	f.clock.add(42 * time.Second)
	if out := f.ask(t, ids...); out.GetOverallCode() != passes || headers(out)["ratelimit"] != `"gold";r=2;t=60` {
		t.Errorf("in the next window: %v", out)
	}
}

func TestSeveralLimits(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	r, ids := limits(t,
		gold(func(r *posternv1.LimitRule) { r.Limit = 100 }),
		gold(func(r *posternv1.LimitRule) {
			r.Name, r.Counter, r.Operation, r.Code, r.Limit, r.WindowSeconds = "burst", "petstore/1.0.0 burst GET /pet", "GET /pet", "900802", 2, 1
		}),
		gold(func(r *posternv1.LimitRule) {
			r.Name, r.Counter, r.Shadow, r.Limit = "watch", "petstore/1.0.0 watch", true, 1
		}))
	put(t, f.Server, r)
	for range 2 {
		if out := f.ask(t, ids...); out.GetOverallCode() != passes || headers(out)["ratelimit-policy"] != `"burst";q=2;w=1` {
			t.Fatalf("within all limits: %v", out)
		}
	}
	for range 5 {
		out := f.ask(t, ids...)
		if out.GetOverallCode() != refuses || headers(out)["retry-after"] != "1" || out.GetDynamicMetadata().AsMap()["code"] != "900802" {
			t.Fatalf("over one: %v", out)
		}
		if s := out.GetStatuses(); len(s) != 3 || s[0].GetCode() != passes || s[0].GetLimitRemaining() != 98 || s[1].GetCode() != refuses || s[2].GetCode() != refuses {
			t.Fatalf("statuses: %v; refused requests must not count", s)
		}
	}
	f.clock.add(time.Second)
	out := f.ask(t, ids...)
	if s := out.GetStatuses(); out.GetOverallCode() != passes || s[2].GetCode() != refuses {
		t.Errorf("over the shadow alone: %v", out)
	}
	out = f.ask(t, ids[2])
	if out.GetOverallCode() != passes || len(headers(out)) != 0 {
		t.Errorf("a shadow alone: %v", out)
	}
}

func TestCosts(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	r, ids := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = 10 }))
	put(t, f.Server, r)
	for i, c := range []struct {
		request    uint32
		descriptor *wrapperspb.UInt64Value
		code       ratelimitv3.RateLimitResponse_Code
		remaining  string
	}{
		{0, nil, passes, "9"},
		{4, nil, passes, "5"},
		{4, wrapperspb.UInt64(2), passes, "3"},
		{0, wrapperspb.UInt64(0), passes, "3"},   // a look
		{0, wrapperspb.UInt64(11), refuses, "3"}, // more than there ever is
		{0, wrapperspb.UInt64(4), refuses, "3"},
		{0, wrapperspb.UInt64(math.MaxUint64), refuses, "3"},
		{0, wrapperspb.UInt64(3), passes, "0"},
		{0, wrapperspb.UInt64(0), refuses, "0"},
	} {
		in := question(ids...)
		in.HitsAddend, in.Descriptors[0].HitsAddend = c.request, c.descriptor
		out, err := f.client.ShouldRateLimit(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if out.GetOverallCode() != c.code || headers(out)["x-ratelimit-remaining"] != c.remaining {
			t.Errorf("request %d: %v", i, out)
		}
	}
}

func TestANewRevisionKeepsTheCount(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	old, oldIDs := limits(t, gold())
	put(t, f.Server, old)
	f.ask(t, oldIDs...)
	f.ask(t, oldIDs...)
	replace := func(limit uint64) []string {
		r, ids := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = limit }))
		put(t, f.Server, r)
		return ids
	}
	raised := replace(10)
	f.ask(t, oldIDs...) // routes may still name the old revision
	if out := f.ask(t, raised...); headers(out)["ratelimit"] != `"gold";r=6;t=42` {
		t.Errorf("raised to 10 after 3: %v", out)
	}
	if out := f.ask(t, replace(2)...); out.GetOverallCode() != refuses || headers(out)["ratelimit"] != `"gold";r=0;t=42` {
		t.Errorf("lowered to 2 after 4: %v", out)
	}
	if err := f.Apply(xds.Update{TypeURL: posternv1.LimitsType, Removed: []string{old.GetName()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.ShouldRateLimit(t.Context(), question(oldIDs...)); status.Code(err) != codes.Unavailable {
		t.Errorf("the old revision is gone: %v", err)
	}
	if out := f.ask(t, raised...); headers(out)["ratelimit"] != `"gold";r=5;t=42` {
		t.Errorf("the others stay: %v", out)
	}
}

func TestOtherWindowOtherCount(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	a, minute := limits(t, gold())
	b, hour := limits(t, gold(func(r *posternv1.LimitRule) { r.WindowSeconds = 3600 }))
	put(t, f.Server, a, b)
	f.ask(t, minute...)
	if out := f.ask(t, hour...); headers(out)["ratelimit"] != `"gold";r=2;t=3582` {
		t.Errorf("an hour's window: %v", out)
	}
}

// What nobody can tell is an error, on which Envoy does as the limit says, and never a pass.
func TestCouldNotTell(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	r, ids := limits(t, gold())
	put(t, f.Server, r)
	nobody := question(ids...)
	nobody.Descriptors[0].Entries[0].Key = "generic_key"
	empty := question(ids...)
	empty.Descriptors[0].Entries = nil
	for _, c := range []struct {
		name string
		in   *ratelimitv3.RateLimitRequest
		want codes.Code
	}{
		{"a rule that has not come", question("0123456789abcdef/0"), codes.Unavailable},
		{"one of two has not come", question(ids[0], "0123456789abcdef/0"), codes.Unavailable},
		{"no descriptor", question(), codes.InvalidArgument},
		{"no rule named", nobody, codes.InvalidArgument},
		{"no entry", empty, codes.InvalidArgument},
	} {
		if _, err := f.client.ShouldRateLimit(t.Context(), c.in); status.Code(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if out := f.ask(t, ids...); headers(out)["x-ratelimit-remaining"] != "2" {
		t.Errorf("what could not be told was counted: %v", out)
	}
}

type brokenStore struct{}

func (brokenStore) Add(context.Context, []limit.Hit) ([]limit.Total, error) {
	return nil, errors.New("connection refused")
}
func (brokenStore) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func TestStoreAway(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	f := start(t, Options{Store: brokenStore{}, Registerer: registry})
	r, ids := limits(t, gold())
	put(t, f.Server, r)
	_, err := f.client.ShouldRateLimit(t.Context(), question(ids...))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the counters are away: connection refused") {
		t.Errorf("got %v", err)
	}
	if got := scrape(t, registry); got["postern_limits_store_errors_total{limiter=ratelimiter}"] != 1 {
		t.Errorf("metrics: %v", got)
	}
}

func TestApplyAllOrNothing(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	good, ids := limits(t, gold())
	newer, _ := named(t, &posternv1.Limits{Api: "orders/2", Requires: []string{"gcra"}})
	renamed, _ := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = 9 }))
	renamed.Name = good.GetName()[:60] + "0000"
	foreign, _ := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = 8 }))
	foreign.Resource.TypeUrl = posternv1.PolicyType
	torn, _ := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = 7 }))
	torn.Resource.Value = torn.Resource.Value[:9]
	for want, u := range map[string]xds.Update{
		`the limits of API orders/2 require "gcra"`:     {TypeURL: posternv1.LimitsType, Complete: true, Resources: append(list(good), newer)},
		"the name or the ids are not those of the cont": {TypeURL: posternv1.LimitsType, Complete: true, Resources: append(list(good), renamed)},
		"the type is":               {TypeURL: posternv1.LimitsType, Complete: true, Resources: append(list(good), foreign)},
		"cannot parse":              {TypeURL: posternv1.LimitsType, Complete: true, Resources: append(list(good), torn)},
		"the ratelimiter asked for": {TypeURL: posternv1.PolicyType, Complete: true},
	} {
		if err := f.Apply(u); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if f.Ready() {
			t.Error("ready after a refused update")
		}
		if _, err := f.client.ShouldRateLimit(t.Context(), question(ids...)); status.Code(err) != codes.Unavailable {
			t.Errorf("the good half of a refused update was applied: %v", err)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := start(t, Options{})
	client := grpc_health_v1.NewHealthClient(f.conn)
	check := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", serviceName} {
			out, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || out.GetStatus() != want {
				t.Errorf("%q: %v, %v; want %v", service, out, err, want)
			}
		}
	}
	check(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if err := f.Apply(xds.Update{TypeURL: posternv1.LimitsType}); err != nil || f.Ready() {
		t.Errorf("before the first fill is done: ready %v, %v", f.Ready(), err)
	}
	put(t, f.Server)
	check(grpc_health_v1.HealthCheckResponse_SERVING)
	if !f.Ready() {
		t.Error("not ready")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	f := start(t, Options{Registerer: registry})
	beside := start(t, Options{Registerer: registry, Name: "local"}) // the fallback in the same process
	watch := gold(func(r *posternv1.LimitRule) {
		r.Name, r.Counter, r.Shadow, r.Limit = "watch", "petstore/1.0.0 watch", true, 1
	})
	r, ids := limits(t, gold(), watch)
	again, newIDs := limits(t, gold(func(r *posternv1.LimitRule) { r.Limit = 4 }))
	put(t, f.Server, r, again)
	put(t, beside.Server, r)
	for range 5 {
		f.ask(t, ids...)
	}
	f.ask(t, newIDs...)
	beside.ask(t, ids[0])
	if _, err := f.client.ShouldRateLimit(t.Context(), question("nobody/0")); err == nil {
		t.Error("an unknown limit passed")
	}
	want := map[string]float64{
		"postern_limits_store_errors_total{limiter=local}":                                        0,
		"postern_limits_store_errors_total{limiter=ratelimiter}":                                  0,
		"postern_limits_total{api=,limit=,limiter=local,outcome=unknown}":                         0,
		"postern_limits_total{api=,limit=,limiter=ratelimiter,outcome=unknown}":                   1,
		"postern_limits_total{api=petstore/1.0.0,limit=gold,limiter=local,outcome=over}":          0,
		"postern_limits_total{api=petstore/1.0.0,limit=gold,limiter=local,outcome=passed}":        1,
		"postern_limits_total{api=petstore/1.0.0,limit=gold,limiter=ratelimiter,outcome=over}":    2,
		"postern_limits_total{api=petstore/1.0.0,limit=gold,limiter=ratelimiter,outcome=passed}":  4,
		"postern_limits_total{api=petstore/1.0.0,limit=watch,limiter=local,outcome=passed}":       0,
		"postern_limits_total{api=petstore/1.0.0,limit=watch,limiter=local,outcome=shadow}":       0,
		"postern_limits_total{api=petstore/1.0.0,limit=watch,limiter=ratelimiter,outcome=passed}": 1,
		"postern_limits_total{api=petstore/1.0.0,limit=watch,limiter=ratelimiter,outcome=shadow}": 4,
	}
	if d := cmp.Diff(want, scrape(t, registry)); d != "" {
		t.Error(d)
	}
	if err := f.Apply(xds.Update{TypeURL: posternv1.LimitsType, Removed: []string{r.GetName()}}); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, registry)
	if _, kept := got["postern_limits_total{api=petstore/1.0.0,limit=watch,limiter=ratelimiter,outcome=passed}"]; kept {
		t.Error("the series of a limit that is gone stay")
	}
	if got["postern_limits_total{api=petstore/1.0.0,limit=gold,limiter=ratelimiter,outcome=passed}"] != 4 {
		t.Error("the series of a limit that another revision has are gone")
	}
}

func list[T any](v ...T) []T { return v }

// scrape returns all counters as "name{label=value,…}".
func scrape(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue()
		}
	}
	return out
}
