package translate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
)

// ending gives all operations of an API the same end.
func ending(a model.API) model.API {
	for i := range a.Operations {
		a.Operations[i].Lifespan = model.Lifespan{
			Deprecated: true, Since: time.Unix(1_700_000_000, 0), Sunset: time.Unix(2_000_000_000, 0), Link: "https://docs.test/end?a=b%20c",
		}
	}
	return a
}

// inState puts an API into a state, and some of its operations into others.
func inState(l model.Lifecycle, a model.API, operations ...string) model.API {
	a.State = l
	for i := range a.Operations {
		for _, o := range operations {
			if id, state, _ := strings.Cut(o, " => "); id == a.Operations[i].ID() {
				a.Operations[i].State = model.Lifecycle(state)
			}
		}
	}
	return a
}

// also serves an API under more base paths.
func also(a model.API, bases ...string) model.API { a.Aliases = bases; return a }

// without takes the backends away.
func without(a model.API) model.API {
	for i := range a.Operations {
		a.Operations[i].Production = model.Backend{}
	}
	return a
}

func lifecycle() []scenario {
	orders := to(backend("http://orders.test"))
	blocked := without(api("blocked/1", "/life/blocked", op("GET /a"), op("GET /a/{id}", open), op("POST /a", tier(limit("gold", 5, model.PerAPI)))))
	blocked.CORS = &model.CORS{Enabled: true, Origins: []string{"https://app.example.com"}, Methods: []string{"GET"}}
	end := ending(api("end/1", "/end", op("GET /a", open), op("GET /b", open), op("GET /c", open)))
	end.Operations[0].Lifespan = model.Lifespan{Deprecated: true}
	end.Operations[1].Lifespan = model.Lifespan{}
	return []scenario{
		{name: "states", apis: []model.API{
			inState(model.Blocked, blocked),
			inState(model.Retired, also(without(api("retired/1", "/life/retired/1", ops("GET /a", "GET /*")...)), "/life/retired")),
			inState(model.Prototyped, api("proto/1", "/life/proto", ops("GET /a")...)),
			inState(model.Deployed, api("partly/1", "/life/partly", ops("GET /a", "POST /a", "GET /{b}", "DELETE /c", "GET /")...),
				"GET /a => retired", "GET /{b} => blocked", "DELETE /c => prototyped", "GET / => retired"),
		}, calls: `
GET /life/blocked/a => 503
GET /life/blocked/a/1/ => 503
HEAD /life/blocked/a => 503
PUT /life/blocked/a => 503
GET /life/blocked/none => 503
GET /life/blocked => 503
GET /life/blocked/ => 503
OPTIONS /life/blocked/a => 503
GET /life/blockedx => 404
GET /life/retired/1/a => 410
GET /life/retired/a => 410
HEAD /life/retired/a => 410
GET /life/retired/a/?x=/life/proto/a => 410
POST /life/retired/1/none => 410
GET //life/./retired/%61 => 410
GET /life/retired => 410
GET /life/retired/2/a => 410
GET /life/proto/a => 200 GET /a -> pets /v2/a
GET /life/proto/b => 404
GET /life/partly/a => 410
HEAD /life/partly/a/ => 410
POST /life/partly/a => 200 POST /a -> pets /v2/a
PUT /life/partly/a => 405 GET, HEAD, POST
GET /life/partly/x => 503
GET /life/partly => 410
DELETE /life/partly/c => 200 DELETE /c -> pets /v2/c
GET /life/partly/c => 405 DELETE
GET /life/partly/x/y => 404
`, check: statesOfAll},
		{name: "default-version", apis: []model.API{
			also(api("shop/1.0.0", "/shop/1.0.0", ops("GET /", "GET /item/{id}", "POST /item", "GET /files/*", "GET /{a}/{b}/{c}")...), "/shop"),
			api("shop/2.0.0", "/shop/2.0.0", op("GET /item/{id}", orders), op("GET /new", orders)),
			api("carts/1", "/shop/carts", op("GET /item/{id}", orders)),
		}, calls: `
GET /shop/1.0.0/item/1?x=%2B => 200 GET /item/{id} -> pets /v2/item/1?x=%2B
GET /shop/item/1?x=%2B => 200 GET /item/{id} -> pets /v2/item/1?x=%2B
HEAD /shop/item/1/ => 200 GET /item/{id}
POST /shop/item => 200 POST /item -> pets /v2/item
DELETE /shop/item => 405 POST
GET /shop => 200 GET / -> pets /v2
GET /shop/ => 200 GET / -> pets /v2/
GET /shop/1.0.0 => 200 GET / -> pets /v2
GET /shop/files/1.0.0/item/1 => 200 GET /files/* -> pets /v2/files/1.0.0/item/1
GET /shop/none => 404
GET /shop/2.0.0/item/1 => 200 GET /item/{id} -> orders /item/1
GET /shop/2.0.0/files/a => 404
GET /shop/carts/item/1 => 200 GET /item/{id} -> orders /item/1
GET /shop/2.1.0/new => 404
GET /shop/2.1.0/item/1 => 200 GET /{a}/{b}/{c} -> pets /v2/2.1.0/item/1
GET /shop/1.0.0/1.0.0/item/1 => 200 GET /{a}/{b}/{c} -> pets /v2/1.0.0/item/1
GET /shop/1.0.0/1.0.0 => 404
`, check: countedOnce},
		{name: "default-version-first-segment", apis: []model.API{ // another scope than the version's
			also(on(api("front/v1", "/v1/front", ops("GET /a", "GET /{id}")...), "a.test"), "/front"),
			also(api("bare/v3", "/v3", ops("GET /bare", "GET /bare/{id}")...), "/"),
		}, calls: `
GET /v1/front/a @a.test => 200 GET /a -> pets /v2/a
GET /front/a @a.test => 200 GET /a -> pets /v2/a
GET /front/b/ @a.test => 200 GET /{id} -> pets /v2/b/
GET /front/a @b.test => 404
GET /v3/bare/1 => 200 GET /bare/{id} -> pets /v2/bare/1
GET /bare/1 => 200 GET /bare/{id} -> pets /v2/bare/1
GET /bare => 200 GET /bare -> pets /v2/bare
GET /bares => 404
`},
		{name: "default-version-taken-refused", refused: true, apis: []model.API{
			at(also(api("shop/1", "/shop/1", ops("GET /a")...), "/shop")), at(also(api("shop/2", "/shop/2", ops("GET /a")...), "/shop")),
		}},
		{name: "deprecated", apis: []model.API{end}, check: endsAreTold},
	}
}

// statesOfAll: nobody is asked or counts, browsers can read the answer, and its body says why.
func statesOfAll(t *testing.T, g *gateway) {
	const app = "https://app.example.com"
	for path, code := range map[string]string{
		"/life/blocked/a": "700700", "/life/blocked/none": "700700", "/life/partly/x": "700700",
		"/life/retired/a": "900410", "/life/retired/1/none": "900410", "/life/partly/a": "900410",
	} {
		a := g.call(t, "default", call{method: "GET", path: path, headers: map[string]string{"origin": app, "x-deny": "900902"}})
		if a.code != code || a.headers.Get("Retry-After") != "" {
			t.Errorf("%s: %d %s %v, want code %s", path, a.status, a.body, a.headers, code)
		}
		if allowed := a.headers.Get("Access-Control-Allow-Origin") == app; allowed != strings.Contains(path, "blocked/") {
			t.Errorf("%s: %v", path, a.headers)
		}
	}
	if a := g.call(t, "default", preflight("/life/blocked/a", app)); a.status != 200 || a.headers.Get("Access-Control-Allow-Origin") != app {
		t.Errorf("a preflight of a blocked API: %d %v", a.status, a.headers)
	}
	for path, want := range map[string][2]string{
		"/life/blocked/a": {"14", "The API, or this part of it, is blocked."}, "/life/retired/a": {"2", "The API, or this part of it, is retired."},
	} {
		a := g.call(t, "default", call{method: "POST", path: path, headers: map[string]string{"content-type": "application/grpc"}})
		if got := [2]string{a.headers.Get("Grpc-Status"), a.headers.Get("Grpc-Message")}; a.status != 200 || got != want {
			t.Errorf("%s by gRPC: %d %v, want %v", path, a.status, got, want)
		}
	}
	if checks, limited := g.take(); len(checks)+len(limited) > 0 {
		t.Errorf("somebody was asked: %v %v", checks, limited)
	}
	if a := g.call(t, "default", call{method: "GET", path: "/life/proto/a", headers: map[string]string{"x-deny": "900902"}}); a.status != 401 {
		t.Errorf("a prototype without a token: %d, want 401", a.status)
	}
}

// countedOnce: the enforcer and the limiter see the same API and operation under both base paths.
func countedOnce(t *testing.T, g *gateway) {
	var asked []string
	for _, path := range []string{"/shop/1.0.0/item/1", "/shop/item/1"} {
		g.call(t, "default", call{method: "GET", path: path})
		checks, _ := g.take()
		if len(checks) != 1 || checks[0]["api"] != "shop/1.0.0" {
			t.Fatalf("%s: %v", path, checks)
		}
		asked = append(asked, checks[0]["policy"]+checks[0]["operation"])
	}
	if asked[0] != asked[1] {
		t.Errorf("the enforcer is asked about %v", asked)
	}
}

func endsAreTold(t *testing.T, g *gateway) {
	const sunset = "Wed, 18 May 2033 03:33:20 GMT"
	for path, want := range map[string][3]string{
		"/end/a": {"@0", "", ""},
		"/end/b": {"", "", ""},
		"/end/c": {"@1700000000", sunset, `<https://docs.test/end?a=b%20c>; rel="deprecation"`},
	} {
		a := g.call(t, "default", call{method: "GET", path: path})
		if got := [3]string{a.headers.Get("Deprecation"), a.headers.Get("Sunset"), a.headers.Get("Link")}; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestEveryAnswerOfADeprecatedOperationTellsItsEnd holds Envoy to it for answers of its own, too: once each.
func TestEveryAnswerOfADeprecatedOperationTellsItsEnd(t *testing.T) {
	g, undo := startFailing(t, model.ErrorsProblem)
	defer undo()
	told := func(c call, status int) {
		t.Helper()
		a := g.call(t, "http", c)
		for _, name := range []string{"Deprecation", "Sunset", "Link"} {
			if a.status != status || len(a.headers.Values(name)) != 1 {
				t.Errorf("%s %s: %d, want %d; %s is %q", c.method, c.path, a.status, status, name, a.headers.Values(name))
			}
		}
	}
	told(call{method: "GET", path: "/fail/closed"}, 200)
	told(call{method: "HEAD", path: "/fail/echo"}, 200)
	told(call{method: "GET", path: "/fail/closed", headers: map[string]string{"x-deny": "900903"}}, 401)
	told(call{method: "GET", path: "/fail/away"}, 503)
	told(call{method: "GET", path: "/fail/slow"}, 504)
	told(call{method: "GET", path: "/fail/broken"}, 503)
	told(call{method: "GET", path: "/fail/gone"}, 503)
	told(call{method: "POST", path: "/fail/echo", body: strings.Repeat("x", 1<<16)}, 413)
	g.over.Store(true)
	told(call{method: "GET", path: "/fail/deny"}, 429)
	g.enforcer.Stop()
	told(call{method: "GET", path: "/fail/closed"}, 503)
	if a := g.call(t, "http", call{method: "PUT", path: "/fail/away"}); a.status != 405 || a.headers.Get("Deprecation") != "" {
		t.Errorf("a method there is not: %d %v", a.status, a.headers)
	}
}

// TestStatesInEveryFormat: all four bodies have the codes of the two states.
func TestStatesInEveryFormat(t *testing.T) {
	apis := []model.API{inState(model.Blocked, api("b/1", "/b", ops("GET /a")...)), inState(model.Retired, ending(api("r/1", "/r", ops("GET /a")...)))}
	for format, want := range map[model.ErrorFormat]string{
		model.ErrorsProblem:  `{"code":"CODE","detail":"The API, or this part of it, is STATE.","instance":"INSTANCE","status":STATUS,"title":"TITLE","type":"about:blank"}`,
		model.ErrorsFault:    `{"fault":{"code":CODE,"description":"The API, or this part of it, is STATE.","message":"TITLE"}}`,
		model.ErrorsEnforcer: `{"code":"CODE","error_description":"The API, or this part of it, is STATE.","error_message":"TITLE"}`,
		model.ErrorsRouter:   `{"code":"CODE","description":"The API, or this part of it, is STATE.","message":"TITLE"}`,
	} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			s := variants()["default"]
			s.ErrorFormat = format
			g := startGateway(t, map[string]model.Settings{"http": s}, nil)
			d, problems := translate.NewIndex(s).Plan(apis, nil)
			if len(problems) > 0 || !d.Clusters.Empty() {
				t.Fatalf("%v, clusters %v", problems, d.Clusters)
			}
			defer g.serve(t, d)()
			for path, words := range map[string]*strings.Replacer{
				"/b/a": strings.NewReplacer("CODE", "700700", "STATE", "blocked", "STATUS", "503", "TITLE", "Service Unavailable"),
				"/r/a": strings.NewReplacer("CODE", "900410", "STATE", "retired", "STATUS", "410", "TITLE", "Gone"),
			} {
				a := g.call(t, "http", call{method: "GET", path: path})
				got := strings.ReplaceAll(strings.TrimSpace(a.body), "urn:uuid:"+a.headers.Get("X-Request-Id"), "INSTANCE")
				if got != words.Replace(want) {
					t.Errorf("%s: %d\n got %s\nwant %s", path, a.status, got, words.Replace(want))
				}
				if retired := path == "/r/a"; retired != (len(a.headers.Values("Sunset")) == 1) {
					t.Errorf("%s: %v", path, a.headers)
				}
			}
		})
	}
}

// TestAStateChangesNoListener: to block an API, and to serve it again, is its routes and clusters alone.
func TestAStateChangesNoListener(t *testing.T) {
	t.Parallel()
	x := translate.NewIndex(variants()["default"])
	a := api("pets/1", "/pets", ops("GET /a", "GET /b")...)
	step := func(a model.API) translate.Delta {
		d, problems := x.Plan([]model.API{a}, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		x.Commit(d)
		return d
	}
	first := step(a)
	closed := step(inState(model.Blocked, a))
	if len(closed.Routes.Put) != 1 || len(closed.Clusters.Remove) != 1 || !closed.Policies.Empty() || !closed.Scopes.Empty() || !closed.Limits.Empty() {
		t.Errorf("blocking changes %+v", closed)
	}
	reopened := step(a)
	if reopened.Routes.Put[0].Version != first.Routes.Put[0].Version || reopened.Clusters.Put[0].Version != first.Clusters.Put[0].Version {
		t.Error("an API that is served again is not what it was")
	}
}
