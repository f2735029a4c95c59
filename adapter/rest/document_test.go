package rest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/rest"
)

// TestDocument: the document is valid, every operation of it is routed, and nothing else is.
func TestDocument(t *testing.T) {
	t.Parallel()
	d := document()
	if err := d.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]rest.Operation{}
	for path, item := range d.Paths.Map() {
		for method, o := range item.Operations() {
			role := "nobody"
			if said, ok := o.Extensions["x-postern-role"]; ok {
				role = said.(string)
			}
			var query []string
			for _, p := range o.Parameters {
				if p.Value.In == "query" {
					query = append(query, p.Value.Name)
				}
			}
			slices.Sort(query)
			want[method+" "+path] = rest.Operation{Method: method, Path: path, Name: o.OperationID, Role: role, Query: query}
		}
	}
	got := map[string]rest.Operation{}
	for _, o := range rest.Operations() {
		slices.Sort(o.Query)
		got[o.Method+" "+o.Path] = o
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("document and routes differ (-document +routes):\n%s", diff)
	}
}

func TestServesDocument(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if a := l.ask("guest", "GET", "/openapi.yaml", ""); string(a.body) != string(rest.Document) || a.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	var d struct{ OpenAPI string }
	if a := l.ask("guest", "GET", "/openapi.json", ""); json.Unmarshal(a.body, &d) != nil || d.OpenAPI != "3.0.3" {
		t.Errorf("%d %s", a.StatusCode, d)
	}
}

// TestMethods: what is not there says so in the shape of this API.
func TestMethods(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, test := range []struct {
		method, path, allow string
		status              int
	}{
		{"POST", "/projects", "GET, HEAD, OPTIONS", 405},
		{"PATCH", "/projects/shop", "GET, PUT, DELETE, HEAD, OPTIONS", 405},
		{"OPTIONS", "/projects/shop/diff", "POST, OPTIONS", 204},
		{"TRACE", "/whoami", "GET, HEAD, OPTIONS", 405},
		{"GET", "/nothing", "", 404},
		{"GET", "", "", 404},
		{"GET", "/projects/", "", 404},
		{"GET", "/projects//archive", "", 404},
		{"GET", "/projects/shop/", "", 404},
		{"HEAD", "/gateways", "", 200},
		{"HEAD", "/backup", "", 200},
	} {
		a := l.ask("admin", test.method, test.path, "")
		if a.StatusCode != test.status || a.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d %q", test.method, test.path, a.StatusCode, a.Header.Get("Allow"))
		}
		if a.StatusCode >= 400 {
			if r := a.refusal(t); r.Status != a.StatusCode || r.Code == "" || r.Title != http.StatusText(a.StatusCode) {
				t.Errorf("%+v", r)
			}
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", l.url+"/api/v2/whoami", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+l.tokens["admin"])
	if a := l.send(r); a.StatusCode != http.StatusNotFound || !strings.Contains(string(a.body), "/api/v1/openapi.yaml") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestStarting: before there is an adapter, the answer is one of this API's, too.
func TestStarting(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	rest.Starting(w)
	r := answer{w.Result(), w.Body.Bytes()}.refusal(t)
	if w.Code != 503 || r.Code != "unavailable" || r.Instance == "" || w.Header().Get("Retry-After") != "1" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %+v", w.Code, r)
	}
}
