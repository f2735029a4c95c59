package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-gateway/postern/adapter/diff"
)

const definition = `openapi: 3.0.3
info: {title: Pets, version: 1.0.0}
servers: [{url: "http://127.0.0.1:9091/v1"}]
paths:
  /pet: {get: {responses: {"200": {description: one}}}}
`

// projectAt writes a project of one definition.
func projectAt(t *testing.T, name, definition string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Join(dir, "api_definitions"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "api_definitions", "pets.yaml"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fake is a server that answers as an adapter would.
type fake struct {
	url     string
	mu      sync.Mutex
	asked   []string
	answers map[string]fakeAnswer // by "METHOD /path" below /api/v1
}

type fakeAnswer struct {
	status int
	body   string
}

func newFake(t *testing.T, answers map[string]fakeAnswer) *fake {
	t.Helper()
	f := &fake{answers: answers}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _ := strings.CutPrefix(r.URL.RequestURI(), "/api/v1")
	_, _ = io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+path+" "+r.Header.Get("Authorization")+r.Header.Get("If-Match"))
	f.mu.Unlock()
	bare, _, _ := strings.Cut(path, "?")
	a, known := f.answers[r.Method+" "+bare]
	if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if a.status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// call runs a command and returns all there is of it.
func typed(args ...string) (code int, out, errOut string) {
	var b, e bytes.Buffer
	code = run(args, &b, &e)
	return code, b.String(), e.String()
}

func refusal(code, detail, more string) string {
	return `{"type":"about:blank","title":"x","status":400,"instance":"urn:x","code":"` + code + `","detail":"` + detail + `"` + more + `}`
}

const servedAnswer = `{"project":"shop","revision":8,"digest":"ab","created":false,"unchanged":false,"committed":true,"rolledBack":false,` +
	`"apis":[{"name":"pets","version":"1.0.0","basePath":"/v1","state":"deployed"}],"gateways":[{"id":"gw-1","role":"envoy","label":"default","state":"serving"}],"warnings":[]}`

// TestDeploy: every answer of the design has its exit code and its words.
func TestDeploy(t *testing.T) {
	t.Parallel()
	shop := projectAt(t, "shop", definition)
	for name, c := range map[string]struct {
		answer fakeAnswer
		args   []string
		exit   int
		want   []string
	}{
		"served":    {fakeAnswer{200, servedAnswer}, nil, 0, []string{"shop: deployed as revision 8\n", "  pets/1.0.0 at /v1\n", "  gw-1  envoy  default  serving\n"}},
		"begun":     {fakeAnswer{202, `{"rollout":"r1","location":"/api/v1/rollouts/r1"}`}, []string{"--wait", "0"}, 0, []string{"begun as rollout r1"}},
		"unchanged": {fakeAnswer{200, `{"project":"shop","revision":8,"unchanged":true,"committed":true}`}, nil, 0, []string{"shop: unchanged, revision 8"}},
		"nobody":    {fakeAnswer{201, `{"project":"shop","revision":1,"created":true,"committed":true}`}, nil, 0, []string{"revision 1; no gateway of its labels that takes requests is connected"}},
		"dry run":   {fakeAnswer{200, `{"project":"shop","revision":7}`}, []string{"--dry-run"}, 0, []string{"would be deployed"}},
		"invalid": {
			fakeAnswer{422, refusal("invalid", "the project has 1 problem", `,"revision":7,"problems":[{"file":"api_definitions/pets.yaml","line":3,"column":17,"pointer":"/servers/0/url","severity":"error","code":"forbidden-backend","message":"no"}]`)},
			nil, 1,
			[]string{"error: " + shop + "/api_definitions/pets.yaml:3:17 /servers/0/url: no [forbidden-backend]\n", "shop: not deployed: the project has 1 problem\n", "  revision 7 is served as before\n", "  next: mend what is named above"},
		},
		"conflict": {fakeAnswer{409, refusal("conflict", "taken", "")}, nil, 1, []string{"not deployed: taken", "change one of the two places"}},
		"breaking": {fakeAnswer{409, refusal("breaking", "it breaks", "")}, nil, 1, []string{"postern diff " + shop, "--allow-breaking"}},
		"outdated": {fakeAnswer{412, refusal("outdated", "it is 9", "")}, []string{"--if-revision", "7"}, 1, []string{"postern revisions shop"}},
		"rejected": {
			fakeAnswer{502, refusal("refused", "a gateway rejected it", `,"rolledBack":true,"gateways":[{"id":"gw-1","role":"envoy","label":"default","state":"rejected","detail":"bad regex"}]`)},
			nil, 4,
			[]string{"gw-1  envoy  default  rejected  bad regex", "it was taken back everywhere", "postern gateways"},
		},
		"silent": {fakeAnswer{504, refusal("silent", "gw-2 did not answer", `,"revision":7,"rolledBack":true`)}, nil, 4, []string{"revision 7 is served as before", "--require percent:N"}},
		"silent, for it went": {
			fakeAnswer{504, refusal("silent", "gw-2 went", `,"gateways":[{"id":"gw-2","role":"envoy","label":"default","state":"lost"}]`)}, nil, 4, []string{"gw-2 went away meanwhile"},
		},
		"busy":           {fakeAnswer{409, refusal("busy", "another push has it", "")}, nil, 3, []string{"next: try again"}},
		"full":           {fakeAnswer{503, refusal("unavailable", "the store: no space left on device", "")}, nil, 3, []string{"free space in the adapter's dataDir"}},
		"proxy":          {fakeAnswer{504, "<html>"}, nil, 3, []string{"shop: perhaps deployed, perhaps not: ", "next: what became of it is not known: postern revisions shop tells"}},
		"data plane":     {fakeAnswer{404, refusal("900906", "No API has this path.", "")}, nil, 3, []string{"is no management API"}},
		"stranger":       {fakeAnswer{401, refusal("unauthenticated", "say who you are", "")}, nil, 3, []string{"give a token"}},
		"not his":        {fakeAnswer{403, refusal("forbidden", "it takes the role deployer for label a", "")}, nil, 1, []string{"role deployer"}},
		"unavailable":    {fakeAnswer{503, refusal("unavailable", "it is starting", "")}, nil, 3, []string{"it is starting"}},
		"not an adapter": {fakeAnswer{502, "<html>"}, nil, 3, []string{"not as an adapter's management API does"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t, map[string]fakeAnswer{"PUT /projects/shop": c.answer})
			code, out, errOut := typed(append([]string{"deploy", shop, "--server", server.url}, c.args...)...)
			if code != c.exit || errOut != "" {
				t.Errorf("it ends with %d: %s", code, errOut)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
			var results []struct {
				OK   bool
				Exit int
			}
			_, out, _ = typed(append([]string{"deploy", shop, "--server", server.url, "--output", "json"}, c.args...)...)
			if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != 1 || results[0].Exit != c.exit || results[0].OK != (c.exit == 0) {
				t.Errorf("%v in %s", err, out)
			}
		})
	}
}

// TestDeployValidatesHere: what is wrong anyhow is not sent; what the server knows better is.
func TestDeployValidatesHere(t *testing.T) {
	t.Parallel()
	served := func(name string) string { return strings.Replace(servedAnswer, "shop", name, 1) }
	server := newFake(t, map[string]fakeAnswer{"PUT /projects/bad": {200, served("bad")}, "PUT /projects/elsewhere": {200, served("elsewhere")}})
	bad := projectAt(t, "bad", strings.Replace(definition, "get:", "git:", 1))
	if code, out, _ := typed("deploy", bad, "--server", server.url); code != exitBadInput || !strings.Contains(out, "pets.yaml:") || len(server.asked) > 0 {
		t.Errorf("it ends with %d, asks %q: %s", code, server.asked, out)
	}
	if code, out, _ := typed("deploy", bad, "--server", server.url, "--format", "sarif"); code != exitBadInput || !strings.Contains(out, `"startLine"`) {
		t.Errorf("it ends with %d: %s", code, out)
	}
	if code, out, _ := typed("deploy", bad, "--server", server.url, "--no-validate"); code != 0 {
		t.Errorf("it ends with %d: %s", code, out)
	}
	elsewhere := projectAt(t, "elsewhere", strings.Replace(definition, "127.0.0.1:9091", "${POSTERN_VAR_NOT_SET_HERE}", 1))
	if code, out, _ := typed("deploy", elsewhere, "--server", server.url); code != 0 {
		t.Errorf("it ends with %d: %s", code, out)
	}
}

func TestDeploySeveral(t *testing.T) {
	t.Parallel()
	server := newFake(t, map[string]fakeAnswer{
		"PUT /projects/shop": {200, servedAnswer}, "PUT /projects/toys": {504, refusal("silent", "nobody answers", "")}, "PUT /projects/food": {409, refusal("conflict", "taken", "")},
	})
	code, out, _ := typed("deploy", projectAt(t, "shop", definition), projectAt(t, "toys", definition), projectAt(t, "food", definition), "--server", server.url)
	if code != exitRejected || !strings.HasSuffix(out, "1 of 3 projects went well\n") {
		t.Errorf("it ends with %d: %s", code, out)
	}
	shop, none := projectAt(t, "shop", definition), filepath.Join(t.TempDir(), "none")
	code, out, _ = typed("deploy", shop, none, shop, "--server", server.url)
	if code != exitBadInput || !strings.Contains(out, "none: not deployed: ") || !strings.HasSuffix(out, "2 of 3 projects went well\n") {
		t.Errorf("it ends with %d: %s", code, out)
	}
	var results []struct{ OK bool }
	_, out, _ = typed("deploy", shop, none, shop, "--server", server.url, "-o", "json")
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != 3 || results[1].OK || !results[2].OK {
		t.Errorf("%v in %s", err, out)
	}
}

// TestTokens: the one that is given is sent, and never printed; the machine's own goes to itself alone.
func TestTokens(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	config, other := filepath.Join(data, "postern.yaml"), filepath.Join(data, "other.yaml")
	server := newFake(t, map[string]fakeAnswer{"GET /apis": {200, `{"apis":[]}`}})
	for name, text := range map[string]string{
		config: "dataDir: " + data + "\nmanagement: {listen: '" + strings.TrimPrefix(server.url, "http://") + "'}\n", other: "dataDir: " + data + "\nmanagement: {listen: '127.0.0.1:1'}\n", filepath.Join(data, "admin.token"): "ptk_admin\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errOut := typed("apis", "--server", server.url, "--token", "ptk_given"); code != 0 {
		t.Error(errOut)
	}
	if code, _, errOut := typed("apis", "--server", server.url, "--config", config); code != 0 {
		t.Error(errOut)
	}
	if code, _, errOut := typed("apis", "--server", server.url, "--config", other); code != 0 { // whoever listens there
		t.Error(errOut)
	}
	want := "GET /apis?limit=1000 Bearer ptk_given\nGET /apis?limit=1000 Bearer ptk_admin\nGET /apis?limit=1000 "
	if got := strings.Join(server.asked, "\n"); got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
	for server, want := range map[string]bool{
		"http://127.0.0.1:9843": true, "https://localhost": true, "http://[::1]:1": true, "unix:/a.sock": true,
		"https://adapter.example.com": false, "http://10.0.0.1:9843": false, "http://127.0.0.1.example.com": false,
	} {
		if here(server) != want {
			t.Errorf("%s is here: %v", server, !want)
		}
	}
	code, out, errOut := typed("apis", "--server", "http://192.0.2.1.invalid", "--token", "ptk_given")
	if code != exitUnreachable || !strings.Contains(errOut, "unencrypted") || strings.Contains(out+errOut, "ptk_given") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
}

func TestUndeploy(t *testing.T) {
	t.Parallel()
	server := newFake(t, map[string]fakeAnswer{
		"DELETE /projects/shop": {200, `{"project":"shop","revision":4,"committed":true}`}, "DELETE /projects/kept": {409, refusal("breaking", "it breaks", "")},
		"DELETE /projects/none": {404, refusal("unknown", "there is no project none", "")},
	})
	if code, out, errOut := typed("undeploy", "shop", "--now", "--server", server.url); code != 0 || out != "shop: undeployed\n" || !strings.Contains(server.asked[0], "?now=true") {
		t.Errorf("it ends with %d: %s%s", code, out, errOut)
	}
	if code, out, errOut := typed("undeploy", "shop", "--allow-breaking", "--server", server.url); code != 0 || !strings.Contains(server.asked[1], "?breaking=allow") {
		t.Errorf("it ends with %d: %s%s", code, out, errOut)
	}
	if code, out, _ := typed("undeploy", "kept", "--server", server.url); code != exitBadInput || !strings.Contains(out, "--allow-breaking") || strings.Contains(out, "DIR") {
		t.Errorf("it ends with %d: %s", code, out)
	}
	if code, _, errOut := typed("undeploy", "shop", "--wait", "20m", "--server", server.url); code != exitUsage || !strings.Contains(errOut, "10m0s at most") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
	if code, out, _ := typed("undeploy", "none", "--server", server.url); code != exitBadInput || !strings.Contains(out, "none: not undeployed: there is no project none") {
		t.Errorf("it ends with %d: %s", code, out)
	}
	if code, _, errOut := typed("undeploy", "./shop", "--server", server.url); code != exitUsage || !strings.Contains(errOut, "postern apis lists") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	const at = `,"author":"ci","at":"2026-11-21T10:00:00Z","labels":[],"apis":[]}`
	revision := func(n, digest, current, undeployed string) string {
		return `{"revision":` + n + `,"digest":"` + digest + `","current":` + current + `,"undeployed":` + undeployed + at
	}
	for name, c := range map[string]struct {
		revisions string
		args      []string
		exit      int
		asked     string
		want      string
	}{
		"the one before":        {revision("8", "c", "true", "false") + "," + revision("7", "b", "false", "false"), nil, 0, `rollback "8"`, "to what revision 7 was, as revision 8"},
		"of the same content":   {revision("8", "c", "true", "false") + "," + revision("7", "c", "false", "false") + "," + revision("6", "b", "false", "false"), nil, 0, `rollback "8"`, "revision 6"},
		"after undeployment":    {revision("8", "", "true", "true") + "," + revision("7", "b", "false", "false"), nil, 0, `rollback `, "revision 7"},
		"none before":           {revision("1", "c", "true", "false"), nil, 1, "revisions ", "there is no revision before it"},
		"the one that is named": {"", []string{"--to", "3"}, 0, "rollback ", "to what revision 3 was"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t, map[string]fakeAnswer{
				"GET /projects/shop/revisions": {200, `{"revisions":[` + c.revisions + `]}`}, "POST /projects/shop/rollback": {200, servedAnswer},
			})
			code, out, errOut := typed(append([]string{"rollback", "shop", "--server", server.url}, c.args...)...)
			if code != c.exit || !strings.Contains(out, c.want) || !strings.HasSuffix(server.asked[len(server.asked)-1], c.asked) {
				t.Errorf("it ends with %d, asks %q: %s%s", code, server.asked, out, errOut)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	old, now := projectAt(t, "shop", definition), projectAt(t, "shop", strings.Replace(definition, "/pet:", "/dog:", 1))
	code, out, errOut := typed("diff", old, now, "--fail-on", "breaking")
	if code != exitBadInput || !strings.Contains(out, "  - GET /pet\n") || !strings.Contains(out, "breaking: "+old+"/api_definitions/pets.yaml:5:") {
		t.Errorf("it ends with %d: %s%s", code, out, errOut)
	}
	if code, out, _ := typed("diff", old, old, "--fail-on", "breaking"); code != 0 || out != "nothing changes for consumers\n" {
		t.Errorf("it ends with %d: %s", code, out)
	}
	report, err := json.Marshal(diff.Report{Project: "shop", Breaking: true, APIs: []diff.API{{Name: "pets", Version: "1.0.0", BasePath: "/v1", Change: diff.Removed}}})
	if err != nil {
		t.Fatal(err)
	}
	server := newFake(t, map[string]fakeAnswer{"POST /projects/shop/diff": {200, string(report)}, "POST /projects/other/diff": {422, refusal("invalid", "the project has 1 problem", `,"problems":[{"file":"project.yaml","severity":"error","code":"x","message":"no"}]`)}})
	if code, out, _ := typed("diff", now, "--server", server.url, "--format", "markdown"); code != 0 || !strings.Contains(out, "#### removed: pets/1.0.0 at /v1") {
		t.Errorf("it ends with %d: %s", code, out)
	}
	if code, _, _ := typed("diff", now, "--server", server.url, "--fail-on", "breaking", "-o", "json"); code != exitBadInput {
		t.Errorf("it ends with %d", code)
	}
	if code, _, errOut := typed("diff", now, "--server", server.url, "--name", "other"); code != exitBadInput || !strings.Contains(errOut, now+"/project.yaml: no [x]") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
	if code, _, errOut := typed("diff", old, now, "--server", server.url); code != exitUsage {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	server := newFake(t, map[string]fakeAnswer{
		"GET /apis":                    {200, `{"apis":[{"name":"pets","version":"1","project":"shop","basePath":"/v1","state":"live","labels":[{"label":"a","state":"live"},{"label":"b","state":"rejected","detail":"why"}]}]}`},
		"GET /apis/pets/1":             {200, `{"name":"pets","version":"1","project":"shop","basePath":"/v1","state":"live","hosts":[],"labels":[{"label":"a","state":"live"}],"operations":[{"method":"GET","path":"/pet","origin":"a.yaml:5:3"}]}`},
		"GET /projects/shop/revisions": {200, `{"revisions":[{"revision":2,"digest":"0123456789abcdef","current":true,"undeployed":false,"author":"ci","at":"2026-11-21T10:00:00Z","labels":[],"apis":[{"name":"pets","version":"1"}]},{"revision":1,"current":false,"undeployed":true,"author":"","at":"2026-11-20T10:00:00Z","labels":[],"apis":[]}]}`},
		"GET /projects":                {200, `{"projects":[{"name":"shop","source":"push","labels":[],"state":"live","apis":[],"problems":[]},{"name":"toys","source":"folder /x","labels":[],"state":"live","apis":[],"problems":[]}]}`},
		"POST /explain":                {200, `{"status":404,"request":"GET /nothing"}`},
		"GET /gateways":                {200, `{"adapter":"v1","gateways":[{"id":"gw-1","role":"envoy","label":"default","state":"serving","configAgeSeconds":0,"lacks":0,"apis":2}],"labels":[],"hints":["look"]}`},
	})
	for _, c := range []struct {
		args string
		exit int
		want string
	}{
		{"apis", 0, "API     BASE PATH  PROJECT  LABEL  STATE\npets/1  /v1        shop     a      live\npets/1  /v1        shop     b      rejected: why\n"},
		{"apis pets/1", 0, "pets/1 at /v1 on any host, of project shop\nlabel a: live\n  GET  /pet  a.yaml:5:3\n"},
		{"apis pets", 2, ""},
		{"revisions shop", 0, "REVISION  STATE       AT                    BY  DIGEST        APIS\n2         served      2026-11-21T10:00:00Z  ci  0123456789ab  pets/1\n1         undeployed  2026-11-20T10:00:00Z  -   -             -\n"},
		{"gateways", 0, "ID    ROLE   LABEL    VERSION  STATE    CONFIG AGE  APIS\ngw-1  envoy  default  -        serving  0s          2\n\nhint: look\n"},
		{"__complete undeploy toys --server " + server.url + " ", 0, "shop\tpush\n:4\n"},
		{"__complete apis --project --server", 0, ""},
	} {
		args := strings.Fields(c.args)
		if args[0] == "__complete" {
			args = append(args, "")
		} else {
			args = append(args, "--server", server.url)
		}
		if code, out, errOut := typed(args...); code != c.exit || c.want != "" && out != c.want {
			t.Errorf("%s ends with %d: %s%s", c.args, code, out, errOut)
		}
	}
	if code, out, _ := typed("explain", "GET /nothing", "--server", server.url); code != exitBadInput || !strings.Contains(out, "404") {
		t.Errorf("explain ends with %d: %s", code, out)
	}
	stranger := newFake(t, map[string]fakeAnswer{"POST /explain": {200, `{}`}, "GET /apis/pets/1": {200, `{"id":1}`}})
	for _, args := range [][]string{{"explain", "GET /nothing"}, {"apis", "pets/1"}} {
		if code, _, errOut := typed(append(args, "--server", stranger.url)...); code != exitUnreachable || !strings.Contains(errOut, "is no management API") {
			t.Errorf("%q ends with %d: %s", args, code, errOut)
		}
	}
	if code, _, _ := typed("explain", "GET /nothing", "shop", "--server", server.url); code != exitUsage {
		t.Errorf("explain ends with %d", code)
	}
}
