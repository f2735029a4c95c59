package translate_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

func security() []scenario {
	with := func(s model.Security) func(*model.Operation) { return func(o *model.Operation) { o.Security = s } }
	key := requires()
	key.Scheme = model.Scheme{Name: "key", Kind: model.Bearer, In: "query", Key: "token"}
	anyScope := requires("read", "admin")
	anyScope.AnyScope = true
	return []scenario{
		{name: "security-disabled", apis: []model.API{api("off/1", "/off", op("GET /open", open), op("GET /closed"))}, check: func(t *testing.T, g *gateway) {
			asked(t, g, call{method: "GET", path: "/off/open", headers: map[string]string{"authorization": "Bearer x"}}, nil)
			asked(t, g, call{method: "GET", path: "/off/closed"}, map[string]string{"api": "off/1", "operation": "GET /closed"})
			if a := g.call(t, "default", call{method: "GET", path: "/off/open", headers: map[string]string{"authorization": "Bearer x"}}); a.echo.Headers.Get("Authorization") != "Bearer x" {
				t.Error("the credential did not reach the backend of an operation without security")
			}
		}},
		{name: "security-all-disabled", apis: []model.API{api("off/1", "/off", op("GET /open", open))}, check: func(t *testing.T, g *gateway) {
			asked(t, g, call{method: "GET", path: "/off/open"}, nil)
		}},
		{name: "security-or", apis: []model.API{api("or/1", "/or", op("GET /a", with(anyOf(allOf(requires("read")), allOf(key)))))}, check: func(t *testing.T, g *gateway) {
			asked(t, g, call{method: "GET", path: "/or/a"}, map[string]string{"api": "or/1", "operation": "GET /a"})
		}},
		{name: "security-and", apis: []model.API{api("and/1", "/and", op("GET /a", with(anyOf(allOf(requires("read"), key)))))}},
		{name: "security-anonymous", apis: []model.API{api("anon/1", "/anon",
			op("GET /nobody", with(anyOf(allOf()))), op("GET /either", with(anyOf(allOf(), allOf(requires())))))}, check: func(t *testing.T, g *gateway) {
			asked(t, g, call{method: "GET", path: "/anon/nobody"}, nil)
			asked(t, g, call{method: "GET", path: "/anon/either"}, map[string]string{"api": "anon/1", "operation": "GET /either"})
		}},
		{name: "security-scopes", apis: []model.API{api("scopes/1", "/scopes",
			op("GET /a", with(bearer("read", "write"))), op("POST /a", with(anyOf(allOf(anyScope)))), op("DELETE /a", with(model.Security{
				Alternatives: []model.Alternative{allOf(requires("admin"))}, ForwardCredentials: true,
				IdentityHeaders: map[string]string{"email": "x-email", "name": "x-name"},
			})), op("PUT /nobody", with(model.Security{})))}},
		{name: "security-nested", apis: []model.API{ // two APIs in one virtual host: each route says whose it is
			api("outer/1", "/nest", ops("GET /a")...), api("inner/1", "/nest/in", op("GET /a"), op("GET /open", open)),
		}, check: func(t *testing.T, g *gateway) {
			asked(t, g, call{method: "GET", path: "/nest/a"}, map[string]string{"api": "outer/1", "operation": "GET /a"})
			asked(t, g, call{method: "GET", path: "/nest/in/a"}, map[string]string{"api": "inner/1", "operation": "GET /a"})
			asked(t, g, call{method: "GET", path: "/nest/in/open"}, nil)
		}},
		{name: "unserved-scheme-refused", refused: true, apis: []model.API{at(api("odd/1", "/odd", op("GET /a", with(anyOf(allOf(model.Requirement{
			Scheme: model.Scheme{Name: "fingerprint", Kind: "fingerprint"},
		}))))))}},
		{name: "door", apis: []model.API{api("door/1", "/door", ops("GET /a")...)}, check: nothingPassesTheDoor},
	}
}

// asked checks what the enforcer was asked about a request: nothing, or these context extensions and a policy.
func asked(t *testing.T, g *gateway, c call, want map[string]string) {
	t.Helper()
	g.take()
	if a := g.call(t, "default", c); a.status != 200 {
		t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
	}
	checks, _ := g.take()
	if want == nil {
		if len(checks) != 0 {
			t.Errorf("%s: the enforcer was asked: %v", c.path, checks)
		}
		return
	}
	if len(checks) != 1 || len(checks[0]["policy"]) != 64 {
		t.Fatalf("%s: the enforcer was asked %v", c.path, checks)
	}
	got := maps.Clone(checks[0])
	delete(got, posternv1.ContextPolicy)
	if !maps.Equal(got, want) {
		t.Errorf("%s: the enforcer was asked about %v, want %v", c.path, got, want)
	}
}

func nothingPassesTheDoor(t *testing.T, g *gateway) {
	a := g.call(t, "default", call{method: "GET", path: "/door/a?x=1", headers: map[string]string{
		"x-postern-subject": "mallory", "x-postern-scope": "/other", "x-postern-path": "/other//", "x-postern-new": "1",
		"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-original-path": "/x", "x-forwarded-for": "1.2.3.4", "x-request-id": "mine",
	}})
	if a.status != 200 || a.operation() != "GET /a" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for name, values := range a.echo.Headers {
		n := strings.ToLower(name)
		switch {
		case n == posternv1.HeaderSubject && slices.Equal(values, []string{"ann"}): // of the enforcer
		case n == "x-envoy-external-address": // of Envoy itself: whom the connection came from
		case strings.HasPrefix(n, posternv1.HeaderPrefix), strings.HasPrefix(n, "x-envoy-"), n == "x-request-id" && values[0] == "mine":
			t.Errorf("the backend saw %s: %v", name, values)
		}
	}
	if a.headers.Get("Server") != "postern" || a.headers.Get("X-Request-Id") == "" {
		t.Errorf("the answer has %v", a.headers)
	}
	for name := range a.headers {
		if strings.HasPrefix(strings.ToLower(name), "x-envoy-") {
			t.Errorf("the answer shows %s", name)
		}
	}
}

func limits() []scenario {
	gold := limit("gold", 5000, model.PerAPI)
	perAPI := api("tier/1", "/tier", ops("GET /a", "POST /a", "GET /b/{id}")...)
	perAPI.Tier = &gold

	own := api("own/1", "/own", op("GET /shared"), op("GET /shared2"), op("GET /own", tier(limit("bronze", 10, model.PerOperation))))
	own.Tier = &gold
	rule := own
	rule.Name, rule.BasePath = "gateway", "/gateway"

	mixed := api("mixed/1", "/mixed", op("GET /none"), op("GET /all", tier(model.Limit{Name: "strict", Count: 1, Window: 1e9, OnFailure: model.FailDeny}),
		func(o *model.Operation) {
			o.Limits = []model.Limit{{Name: "loose", Per: []model.LimitKey{model.PerAPI}, Count: 9, Window: 1e9, OnFailure: model.FailAllow, Shadow: true}}
		}))
	every := api("every/1", "/every", op("GET /a"), op("GET /b"))
	every.Limits = []model.Limit{limit("each", 3, model.PerAPI, model.PerOperation), limit("whole", 4, model.PerAPI)}
	return []scenario{
		{name: "tier-per-api", apis: []model.API{perAPI}, check: func(t *testing.T, g *gateway) {
			a := counted(t, g, "default", "/tier/a")
			b := counted(t, g, "default", "/tier/b/1")
			if len(a) != 1 || !slices.Equal(a, b) {
				t.Errorf("operations of one tier count by %v and %v", a, b)
			}
			if got := g.call(t, "default", call{method: "GET", path: "/tier/missing"}); got.status != 404 {
				t.Errorf("%d", got.status)
			}
			if _, limited := g.take(); len(limited) != 0 {
				t.Errorf("a 404 was counted: %v", limited)
			}
		}},
		{name: "tier-per-operation", apis: []model.API{own}, check: func(t *testing.T, g *gateway) {
			shared, second, own := counted(t, g, "default", "/own/shared"), counted(t, g, "default", "/own/shared2"), counted(t, g, "default", "/own/own")
			if len(shared) != 1 || !slices.Equal(shared, second) || len(own) != 1 || slices.Equal(shared, own) {
				t.Errorf("counted by %v, %v and %v", shared, second, own)
			}
		}},
		{name: "tier-rule-api", settings: "tier-per-api", apis: []model.API{rule}, check: func(t *testing.T, g *gateway) {
			shared, own := counted(t, g, "tier-per-api", "/gateway/shared"), counted(t, g, "tier-per-api", "/gateway/own")
			if len(shared) != 1 || !slices.Equal(shared, own) {
				t.Errorf("counted by %v and %v, want the API's tier for both", shared, own)
			}
		}},
		{name: "limits-mixed", apis: []model.API{mixed}, check: func(t *testing.T, g *gateway) {
			if got := counted(t, g, "default", "/mixed/none"); len(got) != 0 {
				t.Errorf("an operation without limits was counted: %v", got)
			}
			if got := counted(t, g, "default", "/mixed/all"); len(got) != 2 {
				t.Errorf("counted by %v, want one call for each onFailure", got)
			}
		}},
		{name: "limits-beside", apis: []model.API{every}, check: func(t *testing.T, g *gateway) {
			a, b := counted(t, g, "default", "/every/a"), counted(t, g, "default", "/every/b")
			if len(a) != 1 || strings.Count(a[0], "limit=") != 2 || slices.Equal(a, b) {
				t.Errorf("counted by %v and %v", a, b)
			}
		}},
	}
}

// counted is what the limiter was asked about a request that passes.
func counted(t *testing.T, g *gateway, listener, path string) []string {
	t.Helper()
	g.take()
	if a := g.call(t, listener, call{method: "GET", path: path}); a.status != 200 {
		t.Errorf("%s: %d %s", path, a.status, a.body)
	}
	_, limited := g.take()
	return limited
}
