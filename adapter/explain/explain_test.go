package explain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/explain"
	"github.com/postern-gateway/postern/adapter/model"
)

func apis() []model.API {
	backend := model.Backend{Endpoints: []model.Endpoint{{Host: "b.example", Port: 443, TLS: true, Path: "/v2", Authority: "b.example"}}}
	scheme := model.Scheme{Name: "petstore", Kind: model.Bearer, In: "header", Key: "authorization"}
	needs := func(scopes ...string) model.Alternative {
		return model.Alternative{Requirements: []model.Requirement{{Scheme: scheme, Scopes: scopes}}}
	}
	return []model.API{{
		Project: "shop", Name: "pets", Version: "1", BasePath: "/pets/1",
		Tier: &model.Limit{Name: "gold", Per: []model.LimitKey{model.PerAPI}, Count: 5000, Window: time.Minute},
		Operations: []model.Operation{
			{Method: "DELETE", Path: "/pet/{id}", Production: backend, Security: model.Security{Alternatives: []model.Alternative{needs("write"), {}}}},
			{
				Method: "GET", Path: "/pet/{id}", Production: backend, Security: model.Security{Alternatives: []model.Alternative{needs("read", "all")}},
				Origin: model.Origin{File: "api_definitions/pets.yaml", Line: 9, Column: 5},
			},
			{Method: "GET", Path: "/open", Production: backend, Security: model.Security{Disabled: true}},
		},
	}}
}

func answer(t *testing.T, line string, headers ...string) explain.Answer {
	t.Helper()
	r, err := explain.ParseRequest(line, headers)
	if err != nil {
		t.Fatal(err)
	}
	return explain.Explain(apis(), model.Settings{Routing: model.Routing{Segment: 1}, OnFailure: model.FailLocal}, r)
}

// TestLife: a state is the whole answer, and the end of what is served is told.
func TestLife(t *testing.T) {
	t.Parallel()
	end := time.Date(2035, 1, 31, 0, 0, 0, 0, time.UTC)
	a := apis()[0]
	a.State, a.Aliases = model.Deployed, []string{"/pets"}
	a.Operations[0].State = model.Retired
	a.Operations[1].Lifespan = model.Lifespan{Deprecated: true, Sunset: end}
	a.Operations[2].Lifespan = model.Lifespan{Deprecated: true, Since: end}
	for line, want := range map[string]string{
		"GET /pets/pet/7": "request    GET /pets/pet/7\napi        pets/1\nproject    shop\noperation  GET /pet/{id}\ndefined    api_definitions/pets.yaml:9:5\n" +
			"deprecated yes\nsunset     2035-01-31T00:00:00Z\nauth ",
		"GET /pets/1/open":      "deprecated since 2035-01-31T00:00:00Z\nauth ",
		"DELETE /pets/1/pet/7/": "answer     410: it is retired\napi        pets/1\nproject    shop\noperation  DELETE /pet/{id}\nstate      retired\n",
	} {
		r, err := explain.ParseRequest(line, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		found := explain.Explain([]model.API{a}, model.Settings{}, r)
		if err := found.Write(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) || found.Status == 410 && len(found.Backends)+len(found.Auth)+len(found.Clusters) > 0 {
			t.Errorf("%s: got\n%s", line, &b)
		}
		if line == "GET /pets/pet/7" && found.Backends[0] != "https://b.example:443/v2/pet/7" {
			t.Errorf("%s goes to %v", line, found.Backends)
		}
	}
	a.State = model.Blocked
	if found := explain.Explain([]model.API{a}, model.Settings{}, explain.Request{Method: "GET", Path: "/pets/none"}); found.Status != 503 || found.State != "blocked" {
		t.Errorf("a path of a blocked API: %+v", found)
	}
}

func TestServed(t *testing.T) {
	t.Parallel()
	a := answer(t, "get /pets/1/pet/7?x=y", "Authorization: Bearer x")
	if len(a.Clusters) != 1 || !strings.HasPrefix(a.Clusters[0], "b.example:443-") {
		t.Errorf("clusters %v", a.Clusters)
	}
	a.Clusters = nil
	want := explain.Answer{
		Status: 200, Request: "GET /pets/1/pet/7?x=y", API: "pets/1", Project: "shop", Operation: "GET /pet/{id}", Origin: "api_definitions/pets.yaml:9:5",
		Auth:     []string{`petstore: a JWT in the header "authorization" with the scopes read, all`},
		Limits:   []explain.Limit{{Name: "gold", Counter: "pets/1 gold", Count: 5000, Seconds: 60, Code: "900800"}},
		Backends: []string{"https://b.example:443/v2/pet/7?x=y"},
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAlternativesAndOpenOperations(t *testing.T) {
	t.Parallel()
	got := answer(t, "DELETE /pets/1/pet/7").Auth
	want := []string{`petstore: a JWT in the header "authorization" with the scope write (this request has none: 401)`, "anonymous callers are admitted"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := answer(t, "/pets/1/open").Auth; len(got) != 1 || !strings.HasPrefix(got[0], "nobody is asked") {
		t.Errorf("got %v", got)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"PUT /pets/1/pet/7":   "request    PUT /pets/1/pet/7\nanswer     405: the path is known, the method is not; allowed: DELETE, GET, HEAD\napi        pets/1\nproject    shop\n",
		"GET /pets/1/nothing": "request    GET /pets/1/nothing\nanswer     404: no path of the API fits\napi        pets/1\nproject    shop\n",
		"GET /elsewhere":      "request    GET /elsewhere\nanswer     404: no API has this base path\n",
		"GET /pets/%2f":       "request    GET /pets/%2f\nanswer     400: Envoy refuses this path\n",
	} {
		var b strings.Builder
		if err := answer(t, line).Write(&b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "GET", "GET pets", "GET /a b"} {
		if _, err := explain.ParseRequest(wrong, nil); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
	if _, err := explain.ParseRequest("/a", []string{"nonsense"}); err == nil {
		t.Error("a header without a colon was taken")
	}
}
