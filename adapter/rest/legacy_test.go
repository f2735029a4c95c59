package rest_test

import (
	"archive/zip"
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/publish"
)

const (
	apiYAML = `type: api
version: v4.0.0
data:
  name: Pets
  context: /pets
  version: 1.0.0
  type: HTTP
  apiThrottlingPolicy: Unlimited
  endpointConfig:
    production_endpoints: {url: "http://backend.example/v2"}
    sandbox_endpoints: [{url: "http://sandbox.example/v2"}]
`
	swaggerYAML = `openapi: 3.0.3
info: {title: Pets, version: 1.0.0}
paths:
  /pet/{id}:
    get: {security: [], parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {"200": {description: ok}}}
`
)

// packed is a zip of these files.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// legacy is a call of the predecessor's API by name and token.
func (l *lab) legacy(who, method, path string, contentType string, body []byte) answer {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, l.url+"/api/mgw/adapter/0.1"+path, bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	if who != "" {
		r.SetBasicAuth(who, l.tokens[who])
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return l.send(r)
}

// upload sends an archive as apictl does.
func (l *lab) upload(who, query, part string, archive []byte) answer {
	l.t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	_ = form.WriteField("other", "x")
	f, err := form.CreateFormFile(part, "pets.zip")
	if err != nil {
		l.t.Fatal(err)
	}
	_, _ = f.Write(archive)
	_ = form.Close()
	return l.legacy(who, http.MethodPost, "/apis"+query, form.FormDataContentType(), b.Bytes())
}

type legacyError struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	Description string `json:"description"`
	MoreInfo    string `json:"moreInfo"`
	Error       []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func TestLegacyLogIn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.legacy("", "POST", "/oauth2/token", "application/json", []byte(`{"username": "deployer", "password": "`+l.tokens["deployer"]+`"}`))
	var token struct {
		AccessToken string `json:"accessToken"`
	}
	a.into(t, &token)
	if a.StatusCode != 200 || token.AccessToken != l.tokens["deployer"] {
		t.Errorf("%d", a.StatusCode)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", l.url+"/api/mgw/adapter/0.1/apis", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	if a := l.send(r); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, body := range []string{`{"username": "viewer", "password": "` + l.tokens["deployer"] + `"}`, `{"username": "deployer", "password": ""}`, `{"username": "deployer", "password": "admin"}`} {
		a := l.legacy("", "POST", "/oauth2/token", "application/json", []byte(body))
		var e legacyError
		a.into(t, &e)
		if a.StatusCode != 401 || e.Code != 401 || e.Message != "Unauthorized" || e.Description == "" || e.MoreInfo == "" || e.Error == nil {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if a := l.legacy("", "POST", "/oauth2/token", "application/json", []byte(`{`)); a.StatusCode != 400 {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestLegacyDeploy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, prefix := range map[string]string{"at the top": "", "in a folder": "petstore/"} {
		a := l.upload("deployer", "?override=true", "file", packed(t, map[string]string{prefix + "api.yaml": apiYAML, prefix + "Definitions/swagger.yaml": swaggerYAML, prefix + "Docs/x.md": "x"}))
		var done map[string]string
		a.into(t, &done)
		if a.StatusCode != 200 || done["action"] != "created" || done["info"] != "project Pets-1.0.0, revision 8; Docs has no effect" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		p := l.gateway.last(t)
		if p.Project != "Pets-1.0.0" || p.IfNone || p.Author != "deployer" || p.Allowed == nil {
			t.Errorf("%s: %+v", name, p)
		}
		files, err := project.OpenBytes(p.Archive)
		if err != nil {
			t.Fatal(err)
		}
		compiled, problems := project.Compile(files, project.Options{Name: p.Project})
		if len(compiled.APIs) != 1 || compiled.APIs[0].ID() != "Pets/1.0.0" || compiled.APIs[0].BasePath != "/pets/1.0.0" ||
			compiled.APIs[0].Operations[0].Production.Endpoints[0].Host != "backend.example" || compiled.APIs[0].Operations[0].Sandbox.Endpoints[0].Host != "sandbox.example" {
			t.Errorf("%s: %+v %v", name, compiled.APIs, problems)
		}
	}
	// A project of ours goes as it is.
	ours := packed(t, map[string]string{"project.yaml": "name: shop\n", "api_definitions/a.yaml": swaggerYAML})
	if a := l.upload("deployer", "", "file", ours); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if p := l.gateway.last(t); p.Project != "shop" || !p.IfNone || !bytes.Equal(p.Archive, ours) {
		t.Errorf("%+v", p)
	}
}

func TestLegacyRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	swap := func(old, new string) map[string]string {
		return map[string]string{"api.yaml": strings.Replace(apiYAML, old, new, 1), "Definitions/swagger.yaml": swaggerYAML}
	}
	with := func(name string) map[string]string {
		return map[string]string{"api.yaml": apiYAML, "Definitions/swagger.yaml": swaggerYAML, name: "x"}
	}
	for words, files := range map[string]map[string]string{
		"no api.yaml":         {"Definitions/swagger.yaml": swaggerYAML},
		"Definitions/swagger": {"api.yaml": apiYAML, "Definitions/schema.graphql": "x"},
		"data.name":           swap("name: Pets", "name: P"),
		"data.version":        swap("version: 1.0.0", "version: 1.0.0-0123456789"),
		"data.type":           swap("type: HTTP", "type: WS"),
		"apiThrottlingPolicy": swap("Unlimited", "10KPerMin"),
		"Client-certificates": with("Client-certificates/a.crt"),
		"operationPolicies":   swap("data:\n", "data:\n  operations: [{target: /a, operationPolicies: {request: [{policyName: x}]}}]\n"),
		"say the project's":   {"project.yaml": "labels: [default]\n", "api_definitions/a.yaml": swaggerYAML},
		"api.yaml:":           {"api.yaml": "a: [", "Definitions/swagger.yaml": swaggerYAML},
		"leads out":           {"../api.yaml": apiYAML},
	} {
		a := l.upload("deployer", "", "file", packed(t, files))
		var e legacyError
		a.into(t, &e)
		if a.StatusCode != 400 || !strings.Contains(e.Description, words) {
			t.Errorf("%s: %d %s", words, a.StatusCode, a.body)
		}
	}
	if a := l.upload("deployer", "", "file", []byte("no zip")); a.StatusCode != 400 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.upload("deployer", "", "archive", nil); a.StatusCode != 400 || !strings.Contains(string(a.body), `no part \"file\"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.legacy("deployer", "POST", "/apis", "application/zip", []byte("PK")); a.StatusCode != 415 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.upload("viewer", "", "file", nil); a.StatusCode != 403 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.upload("", "", "file", nil); a.StatusCode != 401 || len(a.Header.Values("WWW-Authenticate")) != 2 {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	for reason, want := range map[adapter.Reason]int{adapter.Outdated: 409, adapter.Conflict: 409, adapter.Invalid: 400, adapter.Refused: 502, adapter.Silent: 504} {
		l.gateway.mu.Lock()
		l.gateway.push = func(adapter.Push) (adapter.Outcome, error) {
			return adapter.Outcome{}, &adapter.PushError{
				Reason:   reason,
				Problems: []model.Problem{{Origin: model.Origin{File: "a.yaml", Line: 3}, Code: "unknown-tier", Message: "there is no tier x"}},
				Outcome:  adapter.Outcome{Gateways: []publish.Verdict{{Gateway: "gw-1", State: publish.Rejected, Detail: "no such cluster"}}},
			}
		}
		l.gateway.mu.Unlock()
		a := l.upload("deployer", "", "file", packed(t, with("x")))
		var e legacyError
		a.into(t, &e)
		if a.StatusCode != want || e.Code != want || reason != adapter.Outdated && (len(e.Error) != 2 || e.Error[0].Message != "a.yaml:3: there is no tier x") {
			t.Errorf("%s: %d %s", reason, a.StatusCode, a.body)
		}
	}
	if a := l.legacy("deployer", "GET", "/nothing", "", nil); a.StatusCode != 404 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.legacy("deployer", "PUT", "/apis", "", nil); a.StatusCode != 405 || a.Header.Get("Allow") == "" {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("", "GET", "/whoami", "", "Authorization", "Basic YTpi"); a.StatusCode != 401 {
		t.Errorf("Basic is taken elsewhere: %d", a.StatusCode)
	}
}

func TestLegacyListAndUndeploy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	served := &model.API{Project: "shop", Name: "pets", Version: "1", BasePath: "/pets/1", Hosts: []string{"a.example"}}
	l.gateway.status.APIs = []adapter.APIStatus{
		{ID: "pets/1", Label: "default", Project: "shop", BasePath: "/pets/1", API: served, State: adapter.Live},
		{ID: "pets/1", Label: "partner", Project: "shop", BasePath: "/pets/1", API: served, State: adapter.Live},
		{ID: "toys/1", Label: "default", Project: "toys", BasePath: "/toys/1", API: &model.API{}, State: adapter.Live},
		{ID: "bad/1", Label: "default", Project: "bad", BasePath: "/bad/1", State: adapter.Rejected},
	}
	toys := shop()
	toys.Name, toys.APIs = "toys", append(toys.APIs, adapter.PushedAPI{Name: "toys", Version: "2"})
	l.gateway.projects = []adapter.ProjectInfo{shop(), toys}
	for query, want := range map[string]string{
		"":                         `{"count":2,"list":[{"apiName":"pets","version":"1","apiType":"HTTP","context":"/pets/1","gateway-envs":["default","partner"],"vhost":"a.example"},{"apiName":"toys","version":"1","apiType":"HTTP","context":"/toys/1","gateway-envs":["default"],"vhost":""}],"total":2}`,
		"?query=type:ws":           `{"count":0,"list":[],"total":0}`,
		"?limit=1&query=type:http": `{"count":1,"list":[{"apiName":"pets","version":"1","apiType":"HTTP","context":"/pets/1","gateway-envs":["default","partner"],"vhost":"a.example"}],"total":2}`,
	} {
		if diff := cmp.Diff(want, strings.TrimSpace(string(l.legacy("viewer", "GET", "/apis"+query, "", nil).body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]int{
		"?apiName=pets":           400,
		"?version=1":              400,
		"?apiName=none&version=1": 404,
		"?apiName=pets&version=1&vhost=b.example":      404,
		"?apiName=pets&version=1&environments=default": 400,
		"?apiName=toys&version=1":                      409,
		"?apiName=pets&version=1&force=true":           400,
	} {
		if a := l.legacy("deployer", "DELETE", "/apis"+query, "", nil); a.StatusCode != want {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	if len(l.gateway.pushed) > 0 {
		t.Errorf("%+v", l.gateway.pushed)
	}
	if a := l.legacy("deployer", "DELETE", "/apis?apiName=pets&version=1&vhost=A.example&environments=default:partner", "", nil); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if p := l.gateway.last(t); p.Project != "shop" || p.Archive != nil || p.Revision != 0 || p.Allowed == nil {
		t.Errorf("%+v", p)
	}
}
