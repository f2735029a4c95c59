package model_test

import (
	"slices"
	"testing"

	"github.com/postern-gateway/postern/adapter/model"
)

func api(name, base string, hosts []string, operations ...string) model.API {
	a := model.API{Name: name, Version: "1", BasePath: base, Hosts: hosts}
	for i := 0; i < len(operations); i += 2 {
		a.Operations = append(a.Operations, model.Operation{Method: operations[i], Path: operations[i+1]})
	}
	return a
}

func aliased(a model.API, base string) model.API       { a.Aliases = []string{base}; return a }
func inState(s model.Lifecycle, a model.API) model.API { a.State = s; return a }
func version(v string, a model.API) model.API          { a.Version = v; return a }

func TestMatch(t *testing.T) {
	t.Parallel()
	apis := []model.API{
		api("pets", "/pets/1", nil, "GET", "/pet/{id}", "GET", "/pet/findByStatus", "POST", "/pet/{id}", "GET", "/files/*", "POST", "/pet"),
		api("inner", "/pets/1/pet/inner", nil, "GET", "/a"),
		api("europe", "/pets/1", []string{"eu.example.com"}, "GET", "/pet/{id}"),
		api("any", "/pets/1", []string{"*.example.com"}, "DELETE", "/pet/{id}"),
		aliased(api("shop", "/shop/1", nil, "GET", "/item/{id}", "GET", "/{a}/{b}/{c}"), "/shop"),
		version("2", api("shop", "/shop/2", nil, "GET", "/item/{id}")),
		inState(model.Blocked, api("blocked", "/blocked", nil, "GET", "/a", "GET", "/b")),
		inState(model.Retired, aliased(api("retired", "/retired/1", nil, "GET", "/a"), "/retired")),
		api("partly", "/partly", nil, "GET", "/a", "POST", "/a", "GET", "/b"),
	}
	apis[8].Operations[0].State, apis[8].Operations[2].State = model.Retired, model.Blocked
	for name, c := range map[string]struct {
		host, method, path string
		status             int
		api, operation     string
		allow              []string
	}{
		"a template":                        {"x", "GET", "/pets/1/pet/7?x=1", 200, "pets/1", "GET /pet/{id}", nil},
		"literal before template":           {"x", "GET", "/pets/1/pet/findByStatus", 200, "pets/1", "GET /pet/findByStatus", nil},
		"the literal path owns its methods": {"x", "POST", "/pets/1/pet/findByStatus", 405, "pets/1", "", []string{"GET", "HEAD"}},
		"HEAD follows GET":                  {"x", "HEAD", "/pets/1/pet/7", 200, "pets/1", "GET /pet/{id}", nil},
		"a slash at the end":                {"x", "GET", "/pets/1/pet/7/", 200, "pets/1", "GET /pet/{id}", nil},
		"a parameter is not empty":          {"x", "GET", "/pets/1/pet/", 405, "pets/1", "", []string{"POST"}},
		"a parameter is one segment":        {"x", "GET", "/pets/1/pet/7/8", 404, "pets/1", "", nil},
		"the rest":                          {"x", "GET", "/pets/1/files/a/b/c", 200, "pets/1", "GET /files/*", nil},
		"the rest may be nothing":           {"x", "GET", "/pets/1/files", 200, "pets/1", "GET /files/*", nil},
		"not a sibling of the base path":    {"x", "GET", "/pets/12/pet/7", 404, "", "", nil},
		"the longest base path":             {"x", "GET", "/pets/1/pet/inner/a", 200, "inner/1", "GET /a", nil},
		"no falling through":                {"x", "GET", "/pets/1/pet/inner", 404, "inner/1", "", nil},
		"an exact host":                     {"EU.example.com:8080", "GET", "/pets/1/pet/7", 200, "europe/1", "GET /pet/{id}", nil},
		"a wildcard host":                   {"us.example.com", "GET", "/pets/1/pet/7", 405, "any/1", "", []string{"DELETE"}},
		"a wildcard needs a name":           {"example.com", "GET", "/pets/1/pet/7", 200, "pets/1", "GET /pet/{id}", nil},
		"an IPv6 host":                      {"[::1]:9090", "GET", "/pets/1/pet/7", 200, "pets/1", "GET /pet/{id}", nil},
		"dots are resolved first":           {"x", "GET", "//pets/./1/x/../pet/%37", 200, "pets/1", "GET /pet/{id}", nil},
		"an escaped slash is refused":       {"x", "GET", "/pets/1/pet/a%2Fb", 400, "", "", nil},

		"without a version":                   {"x", "GET", "/shop/item/1", 200, "shop/1", "GET /item/{id}", nil},
		"with the version of the default":     {"x", "GET", "/shop/1/item/1", 200, "shop/1", "GET /item/{id}", nil},
		"another version keeps its own":       {"x", "GET", "/shop/2/x", 404, "shop/2", "", nil},
		"a version there is not":              {"x", "GET", "/shop/3/x", 404, "shop/1", "", nil},
		"a version there is not is a segment": {"x", "GET", "/shop/3/item/1", 200, "shop/1", "GET /{a}/{b}/{c}", nil},

		"a blocked API":                     {"x", "GET", "/blocked/b", 503, "blocked/1", "GET /b", nil},
		"a blocked API keeps what was said": {"x", "HEAD", "/blocked/a", 503, "blocked/1", "GET /a", nil},
		"no path of a blocked API":          {"x", "GET", "/blocked/c", 503, "blocked/1", "", nil},
		"no method of a blocked API":        {"x", "PUT", "/blocked/a", 503, "blocked/1", "", nil},
		"a retired API":                     {"x", "GET", "/retired/1/a/", 410, "retired/1", "GET /a", nil},
		"a retired API, without a version":  {"x", "GET", "/retired/x", 410, "retired/1", "", nil},
		"a retired operation":               {"x", "GET", "/partly/a", 410, "partly/1", "GET /a", nil},
		"HEAD of a retired operation":       {"x", "HEAD", "/partly/a", 410, "partly/1", "GET /a", nil},
		"another method of its path":        {"x", "POST", "/partly/a", 200, "partly/1", "POST /a", nil},
		"no method of its path":             {"x", "PUT", "/partly/a", 405, "partly/1", "", []string{"GET", "HEAD", "POST"}},
		"a blocked operation":               {"x", "GET", "/partly/b", 503, "partly/1", "GET /b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := model.Match(apis, c.host, c.method, c.path, false)
			var gotAPI, gotOperation string
			if f.API != nil {
				gotAPI = f.API.ID()
			}
			if f.Operation != nil {
				gotOperation = f.Operation.ID()
			}
			if f.Status != c.status || gotAPI != c.api || gotOperation != c.operation || !slices.Equal(f.Allow, c.allow) {
				t.Errorf("%s %s%s: %d %q %q %v, want %d %q %q %v", c.method, c.host, c.path,
					f.Status, gotAPI, gotOperation, f.Allow, c.status, c.api, c.operation, c.allow)
			}
		})
	}
}

func TestEscapePath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/a b":      "/a%20b",
		"/%61%2f":   "/a%2F",
		"/ä":        "/%C3%A4",
		"/a.b+(c)$": "/a.b+(c)$",
		"/100%":     "/100%25",
	} {
		if got := model.EscapePath(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	token := model.Alternative{Requirements: []model.Requirement{{}}}
	for name, c := range map[string]struct {
		security model.Security
		want     bool
	}{
		"nothing said admits nobody": {model.Security{}, false},
		"switched off":               {model.Security{Disabled: true}, true},
		"nobody is asked":            {model.Security{Alternatives: []model.Alternative{{}}}, true},
		"a token or nothing":         {model.Security{Alternatives: []model.Alternative{token, {}}}, false},
	} {
		if got := c.security.Anonymous(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
