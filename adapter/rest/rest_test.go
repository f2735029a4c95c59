package rest_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

// body is that of a push: the gateway of these tests does not look into it.
const body = "PK"

func shop() adapter.ProjectInfo {
	return adapter.ProjectInfo{
		Name: "shop", Source: "push", Labels: []string{"default"}, Revision: 7, Digest: "ab", Author: "ci", At: time.Unix(1, 0), State: adapter.Live,
		APIs: []adapter.PushedAPI{{Name: "pets", Version: "1", BasePath: "/pets/1", State: model.Blocked}},
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.ask("deployer", "PUT", "/projects/shop?wait=5s&require=percent:80", body, "If-Match", `"7"`)
	if a.StatusCode != http.StatusCreated || a.Header.Get("ETag") != `"8"` {
		t.Errorf("%d %s %s", a.StatusCode, a.Header.Get("ETag"), a.body)
	}
	var outcome api.Outcome
	a.into(t, &outcome)
	if outcome.Project != "shop" || !outcome.Created || outcome.Apis[0].State != api.Deployed || outcome.Warnings[0].Severity != api.ProblemSeverityWarning || outcome.Gateways == nil {
		t.Errorf("%+v", outcome)
	}
	got := l.gateway.last(t)
	got.Allowed = nil
	want := adapter.Push{
		Project: "shop", Archive: []byte(body), Author: "deployer", Wait: 5 * time.Second, Require: publish.Require{Percent: 80}, IfRevision: 7,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		path, header, value string
		want                adapter.Push
	}{
		{"/projects/a", "If-None-Match", "*", adapter.Push{Project: "a", Archive: []byte(body), IfNone: true}},
		{"/projects/a?dry-run", "X", "", adapter.Push{Project: "a", Archive: []byte(body), DryRun: true}},
		{"/projects/a?dry-run=false&require=all", "X", "", adapter.Push{Project: "a", Archive: []byte(body), Require: publish.All}},
	} {
		a := l.ask("admin", "PUT", test.path, body, test.header, test.value)
		got, want := l.gateway.last(t), test.want
		got.Allowed, want.Author = nil, "admin"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", test.path, a.StatusCode, diff)
		}
	}
	if a := l.ask("admin", "PUT", "/projects/a?dry-run", body); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != "" {
		t.Errorf("dry run: %d %s", a.StatusCode, a.Header.Get("ETag"))
	}
}

func TestUndeployAndRollback(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
		return adapter.Outcome{Project: p.Project, Revision: p.Revision, Committed: true}, nil
	}
	if a := l.ask("deployer", "DELETE", "/projects/shop?now=true&wait=1m", ""); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	got := l.gateway.last(t)
	got.Allowed = nil
	if diff := cmp.Diff(adapter.Push{Project: "shop", Author: "deployer", Wait: time.Minute, Now: true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := l.ask("deployer", "POST", "/projects/shop/rollback", `{"revision": 6}`, "If-Match", `"7"`); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != `"6"` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if got := l.gateway.last(t); got.Revision != 6 || got.IfRevision != 7 || got.Archive != nil {
		t.Errorf("%+v", got)
	}
	for _, body := range []string{"{}", `{"revision": 0}`, `{"revision": -1}`, `{"revision": "6"}`, `{"revison": 6}`, `{"revision": 6}{}`, `{`, `{"revision":6} x`} {
		if a := l.ask("deployer", "POST", "/projects/shop/rollback", body); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

// TestFailures: each reason has its status, and says what the gateway said.
func TestFailures(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	problem := model.Problem{Origin: model.Origin{File: "a.yaml", Line: 41, Column: 9, Pointer: "/paths"}, Code: "unknown-scheme", Message: `unknown scheme "oauth"`}
	for reason, want := range map[adapter.Reason]struct {
		status int
		retry  string
	}{
		adapter.Invalid: {422, ""}, adapter.Conflict: {409, ""}, adapter.Outdated: {412, ""}, adapter.Breaking: {409, ""}, adapter.Refused: {502, ""},
		adapter.ProbeFailed: {502, ""}, adapter.Silent: {504, ""}, adapter.Busy: {503, "5"}, adapter.Unknown: {404, ""}, adapter.Unavailable: {503, "5"},
		"new": {503, ""},
	} {
		l.gateway.mu.Lock()
		l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
			return adapter.Outcome{}, &adapter.PushError{
				Reason: reason, Problems: []model.Problem{problem},
				Outcome: adapter.Outcome{
					Project: p.Project, Rollout: "r1", Revision: 7, RolledBack: true,
					Gateways: []publish.Verdict{{Gateway: "gw-1", Role: "envoy", Label: "default", State: publish.Rejected, Detail: "no such cluster"}},
				},
			}
		}
		l.gateway.mu.Unlock()
		method, body := http.MethodPut, body
		if reason == adapter.Unknown {
			method, body = http.MethodDelete, ""
		}
		a := l.ask("deployer", method, "/projects/shop", body)
		r := a.refusal(t)
		if reason == "new" && a.StatusCode == want.status {
			continue
		}
		if a.StatusCode != want.status || r.Code != string(reason) || a.Header.Get("Retry-After") != want.retry || !r.RolledBack || r.Project != "shop" {
			t.Errorf("%s: %d %s %+v", reason, a.StatusCode, a.Header.Get("Retry-After"), r)
		}
		if r.Problems[0].Line != 41 || r.Problems[0].Severity != api.ProblemSeverityError || r.Gateways[0].Detail != "no such cluster" || !strings.Contains(r.Detail, "a.yaml:41:9") {
			t.Errorf("%s: %+v", reason, r)
		}
		if !strings.HasPrefix(r.Instance, "urn:uuid:") || len(r.Instance) != 45 {
			t.Errorf("instance %s", r.Instance)
		}
		if tag := a.Header.Get("ETag"); (reason == adapter.Outdated) != (tag == `"7"`) {
			t.Errorf("%s: ETag %s", reason, tag)
		}
	}
	l.gateway.push = func(adapter.Push) (adapter.Outcome, error) {
		return adapter.Outcome{}, errors.New("disk /var/lib/secret is gone")
	}
	if a := l.ask("deployer", "PUT", "/projects/shop", body); a.StatusCode != 503 || strings.Contains(string(a.body), "/var/lib") || !strings.Contains(l.log.String(), "/var/lib") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestBackground(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	began := time.Now().Truncate(time.Second)
	running := adapter.RolloutInfo{ID: "r1", Project: "shop", Author: "deployer", Began: began, Deadline: began.Add(time.Minute)}
	l.gateway.rollouts = map[string]adapter.RolloutInfo{"r1": running}
	a := l.ask("deployer", "PUT", "/projects/shop?wait=0", body)
	if a.StatusCode != http.StatusAccepted || a.Header.Get("Location") != "/api/v1/rollouts/r1" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	var r api.Rollout
	l.ask("deployer", "GET", "/rollouts/r1", "").into(t, &r)
	if r.State != api.Running || !r.Ended.IsZero() || r.Outcome.Project != "shop" {
		t.Errorf("%+v", r)
	}
	failed := running
	failed.Ended, failed.Err = began, &adapter.PushError{Reason: adapter.Silent, Words: "gw-1 is silent", Outcome: adapter.Outcome{RolledBack: true}}
	l.gateway.mu.Lock()
	l.gateway.rollouts["r1"] = failed
	l.gateway.mu.Unlock()
	r = api.Rollout{}
	l.ask("deployer", "GET", "/rollouts/r1", "").into(t, &r)
	if r.State != api.Failed || r.Failure.Status != 504 || !r.Failure.RolledBack || r.Failure.Detail != "gw-1 is silent" {
		t.Errorf("%+v", r)
	}
	failed.Err = nil
	l.gateway.mu.Lock()
	l.gateway.rollouts["r1"] = failed
	l.gateway.mu.Unlock()
	l.ask("admin", "GET", "/rollouts/r1", "").into(t, &r)
	if r.State != api.Committed {
		t.Errorf("%+v", r)
	}
	if a := l.ask("guest", "GET", "/rollouts/r1", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("a guest sees %s", a.body)
	}
	if a := l.ask("admin", "GET", "/rollouts/r2", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("%d", a.StatusCode)
	}
	l.gateway.mu.Lock()
	l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
		return adapter.Outcome{Project: p.Project, Revision: 7, Unchanged: true, Committed: true}, nil
	}
	l.gateway.mu.Unlock()
	if a := l.ask("deployer", "PUT", "/projects/shop?wait=0", body); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != `"7"` {
		t.Errorf("nothing to be done: %d %s", a.StatusCode, a.body)
	}
	if a := l.ask("deployer", "PUT", "/projects/shop?wait=0&dry-run", body); a.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestReadProject(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	folder := adapter.ProjectInfo{Name: "folder", Source: "folder shop", Labels: []string{"partner"}, State: adapter.Rejected, Words: "it is broken", Problems: []model.Problem{{Code: "x", Message: "y"}}}
	l.gateway.projects = []adapter.ProjectInfo{folder, shop()}
	l.gateway.archives = map[uint64][]byte{7: []byte("PK7"), 6: []byte("PK6")}

	a := l.ask("viewer", "GET", "/projects/shop", "")
	var p api.Project
	a.into(t, &p)
	if a.Header.Get("ETag") != `"7"` || p.Revision != 7 || p.Apis[0].State != api.Blocked {
		t.Errorf("%s %+v", a.Header.Get("ETag"), p)
	}
	// why 200: its state may be another one by now
	if a := l.ask("viewer", "GET", "/projects/shop", "", "If-None-Match", `"7"`); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != `"7"` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, tag := range []string{`"7"`, `"6", "7"`, `W/"7"`, "*"} {
		if a := l.ask("viewer", "GET", "/projects/shop/archive", "", "If-None-Match", tag); a.StatusCode != http.StatusNotModified || len(a.body) > 0 || a.Header.Get("ETag") != `"7"` {
			t.Errorf("%s: %d %s", tag, a.StatusCode, a.body)
		}
	}
	if a := l.ask("viewer", "GET", "/projects/shop/archive", "", "If-None-Match", `"6"`); a.StatusCode != http.StatusOK {
		t.Errorf("%d", a.StatusCode)
	}
	a = l.ask("viewer", "GET", "/projects/folder", "")
	p = api.Project{}
	if a.into(t, &p); a.Header.Get("ETag") != "" || p.State != api.APIStateRejected || p.Detail != "it is broken" || len(p.Problems) != 1 {
		t.Errorf("%s %+v", a.Header.Get("ETag"), p)
	}
	if a := l.ask("viewer", "HEAD", "/projects/shop", ""); a.StatusCode != http.StatusOK || a.Header.Get("ETag") != `"7"` || len(a.body) > 0 {
		t.Errorf("HEAD: %d %s", a.StatusCode, a.body)
	}
	if a := l.ask("viewer", "GET", "/projects/none", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("viewer", "GET", "/projects/shop/archive", ""); string(a.body) != "PK7" || a.Header.Get("ETag") != `"7"` || a.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("%s %v", a.body, a.Header)
	}
	if a := l.ask("viewer", "GET", "/projects/shop/archive?revision=6", ""); string(a.body) != "PK6" || a.Header.Get("ETag") != `"6"` {
		t.Errorf("%s %v", a.body, a.Header)
	}
	if a := l.ask("viewer", "GET", "/projects/shop/archive?revision=6", "", "If-None-Match", `"6"`); a.StatusCode != http.StatusNotModified {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("viewer", "GET", "/projects/shop/archive?revision=5", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("%d", a.StatusCode)
	}
	var revisions api.RevisionList
	l.ask("viewer", "GET", "/projects/shop/revisions", "").into(t, &revisions)
	if len(revisions.Revisions) != 2 || !revisions.Revisions[0].Current || !revisions.Revisions[1].Undeployed {
		t.Errorf("%+v", revisions)
	}
}

// TestPages reads a list to its end, for one who sees all of it and one who sees some.
func TestPages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for i := range 25 {
		p := shop()
		p.Name = "p" + string(rune('a'+i))
		if i%5 == 0 {
			p.Labels = []string{"partner"}
		}
		l.gateway.projects = append(l.gateway.projects, p)
		l.gateway.status.APIs = append(l.gateway.status.APIs, adapter.APIStatus{ID: "a" + p.Name + "/1", Label: p.Labels[0], Project: p.Name, BasePath: "/" + p.Name, State: adapter.Live})
	}
	for who, want := range map[string]int{"viewer": 25, "guest": 5} {
		for _, list := range []string{"projects", "apis"} {
			for _, limit := range []string{"1", "3", "4", "25", "1000"} {
				var names []string
				for path := "/" + list + "?limit=" + limit; path != ""; {
					a := l.ask(who, "GET", path, "")
					switch list {
					case "projects":
						var page api.ProjectList
						a.into(t, &page)
						for _, p := range page.Projects {
							names = append(names, p.Name)
						}
					case "apis":
						var page api.APIList
						a.into(t, &page)
						for _, p := range page.Apis {
							names = append(names, p.Name)
						}
					}
					path, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "</api/v1"), ">")
				}
				if len(names) != want || !slices.IsSorted(names) || len(slices.Compact(names)) != want {
					t.Errorf("%s of %s by %s: %v", list, who, limit, names)
				}
			}
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "limits=1", "after=a&token=x"} {
		if a := l.ask("viewer", "GET", "/projects?"+query, ""); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	if r := l.ask("viewer", "GET", "/projects?limits=1", "").refusal(t); r.Code != "unknown-parameter" || !strings.HasSuffix(r.Detail, "did you mean limit?") {
		t.Errorf("%+v", r)
	}
}

func TestAPIs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	served := &model.API{
		Project: "shop", Name: "pets", Version: "1", BasePath: "/pets/1", State: model.Prototyped, Hosts: []string{"a.example"},
		Operations: []model.Operation{{Method: "GET", Path: "/pet/{id}", Origin: model.Origin{File: "a.yaml", Line: 3}}, {Method: "GET", Path: "/old", State: model.Retired}},
	}
	l.gateway.status.APIs = []adapter.APIStatus{
		{ID: "pets/1", Label: "default", Project: "shop", BasePath: "/pets/1", API: served, State: adapter.Live, Revision: "8f31c2aa"},
		{ID: "pets/1", Label: "partner", Project: "shop", BasePath: "/pets/1", API: served, State: adapter.Stale, Revision: "77ac0911", Words: "line 3 is wrong"},
		{ID: "pets/1", Label: "default", Project: "a-copy", BasePath: "/pets/1", State: adapter.Rejected, Words: "shop has it"},
		{ID: "toys/2", Label: "partner", Project: "toys", BasePath: "/toys/2", API: &model.API{}, State: adapter.Live},
	}
	names := func(who, query string) []string {
		var list api.APIList
		l.ask(who, "GET", "/apis?"+query, "").into(t, &list)
		var all []string
		for _, a := range list.Apis {
			all = append(all, a.Name+" "+a.Project+" "+string(a.State))
		}
		return all
	}
	for query, want := range map[string][]string{
		"":                       {"pets a-copy rejected", "pets shop stale", "toys toys live"},
		"label=default":          {"pets a-copy rejected", "pets shop live"},
		"project=shop":           {"pets shop stale"},
		"state=live":             {"toys toys live"},
		"state=rejected&limit=5": {"pets a-copy rejected"},
		"label=none":             nil,
		"after=pets/1%20shop":    {"toys toys live"},
	} {
		if diff := cmp.Diff(want, names("viewer", query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	if diff := cmp.Diff([]string{"pets shop stale", "toys toys live"}, names("guest", "")); diff != "" {
		t.Errorf("a guest (-want +got):\n%s", diff)
	}
	if a := l.ask("viewer", "GET", "/apis?state=good", ""); a.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", a.StatusCode)
	}
	var one api.APIDetail
	l.ask("viewer", "GET", "/apis/pets/1", "").into(t, &one)
	if one.Project != "shop" || one.Lifecycle != api.Prototyped || len(one.Labels) != 2 || len(one.Operations) != 2 || one.Operations[0].Origin != "a.yaml:3" ||
		one.Operations[0].State != api.Prototyped || one.Operations[1].State != api.Retired {
		t.Errorf("%+v", one)
	}
	if a := l.ask("viewer", "GET", "/apis/pets/2", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestGateways(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gateway.status = adapter.Status{
		APIs: []adapter.APIStatus{
			{ID: "a/1", Label: "default", State: adapter.Live}, {ID: "b/1", Label: "default", State: adapter.Stale}, {ID: "c/1", Label: "partner", State: adapter.Rejected},
		},
		Gateways: []publish.Gateway{
			{ID: "gw-2", Role: "envoy", Label: "partner", State: publish.Lost, Behind: time.Hour},
			{ID: "gw-1", Role: "envoy", Label: "default", Version: "1.40.0", State: publish.Rejected, Words: "no such cluster", Lacks: 2},
		},
	}
	l.gateway.crowded = []adapter.Crowded{{Label: "default", Scope: "api", Operations: 340}, {Label: "partner", Scope: "_all", Operations: 201}}
	var list api.GatewayList
	l.ask("viewer", "GET", "/gateways", "").into(t, &list)
	want := []api.Gateway{
		{ID: "gw-1", Role: "envoy", Label: "default", Version: "1.40.0", State: api.GatewayStateRejected, Detail: "no such cluster", Lacks: 2, Apis: 2},
		{ID: "gw-2", Role: "envoy", Label: "partner", State: api.GatewayStateLost, ConfigAgeSeconds: 3600},
	}
	if diff := cmp.Diff(want, list.Gateways); diff != "" || list.Adapter != "v1.2.3" || len(list.Labels) != 2 || len(list.Hints) != 4 {
		t.Errorf("(-want +got):\n%s\n%+v", diff, list)
	}
	l.ask("guest", "GET", "/gateways", "").into(t, &list)
	if len(list.Gateways) != 1 || len(list.Labels) != 1 || len(list.Hints) != 2 {
		t.Errorf("a guest sees %+v", list)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	backend := model.Backend{Endpoints: []model.Endpoint{{Host: "b.example", Port: 80}}}
	pets := model.API{Project: "shop", Name: "pets", Version: "1", BasePath: "/pets/1", Hosts: []string{"a.example"}, Operations: []model.Operation{
		{Method: "GET", Path: "/pet/{id}", Production: backend, Security: model.Security{Disabled: true}},
	}}
	l.gateway.served = map[string][]model.API{"default": {pets}}
	for body, want := range map[string]int{
		`{"url": "http://a.example/pets/1/pet/7?x=1"}`:                                200,
		`{"url": "/pets/1/pet/7", "headers": {"host": "a.example"}, "method": "get"}`: 200,
		`{"url": "/pets/1/pet/7"}`:                                                    404,
		`{"url": "http://a.example/pets/1/pet/7", "method": "PUT"}`:                   405,
	} {
		a := l.ask("viewer", "POST", "/explain", body)
		var e api.Explanation
		a.into(t, &e)
		if e.Status != want {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	for _, body := range []string{`{}`, `{"url": "pets"}`, `{"url": "/a b"}`, `{"url": "/a", "method": "A B"}`, `{"url": "/a", "headers": {"a b": "c"}}`, `{"url": "/a", "headers": {"a": "b\r\nc"}}`, `{"url": "/a", "lable": "x"}`} {
		if a := l.ask("viewer", "POST", "/explain", body); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	if a := l.ask("guest", "POST", "/explain", `{"url": "/a", "label": "default"}`); a.StatusCode != http.StatusForbidden || !strings.Contains(string(a.body), "viewer for the label default") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	l.gateway.status.Gateways = []publish.Gateway{{Label: "default"}, {Label: "partner"}}
	if a := l.ask("viewer", "POST", "/explain", `{"url": "/a"}`); a.StatusCode != http.StatusBadRequest || !strings.Contains(string(a.body), "default, partner") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestDiffAndBackup(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var d api.Diff
	l.ask("deployer", "POST", "/projects/shop/diff", body).into(t, &d)
	if !d.Breaking || d.Project != "shop" || d.Apis[0].Findings[0].Line != 3 {
		t.Errorf("%+v", d)
	}
	if a := l.ask("viewer", "POST", "/projects/shop/diff", body); a.StatusCode != http.StatusForbidden {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("admin", "GET", "/backup", ""); string(a.body) != "everything" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.ask("deployer", "GET", "/backup", ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("%d", a.StatusCode)
	}
	// One that fails before its first byte is a refusal; later it is broken off, and the client sees that.
	l.gateway.backup = func(io.Writer) error { return errors.New("no") }
	if a := l.ask("admin", "GET", "/backup", ""); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", a.StatusCode)
	}
	l.gateway.backup = func(w io.Writer) error { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)); return errors.New("no") }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+"/api/v1/backup", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+l.tokens["admin"])
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("a broken backup looks whole")
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gateway.projects = []adapter.ProjectInfo{shop()}
	for _, test := range []struct {
		path, name, value string
		want              int
	}{
		{"/projects/shop", "If-Match", "*", 201},
		{"/projects/new", "If-Match", "*", 412},
		{"/projects/shop", "If-Match", `W/"7"`, 412},
		{"/projects/shop", "If-Match", `7`, 412},
		{"/projects/shop", "If-Match", `"07"`, 412},
		{"/projects/shop", "If-Match", `"0"`, 412},
		{"/projects/shop", "If-Match", `"6", "7"`, 400},
		{"/projects/shop", "If-None-Match", `"7"`, 400},
	} {
		if a := l.ask("deployer", "PUT", test.path, body, test.name, test.value); a.StatusCode != test.want {
			t.Errorf("%s %s: %s: %d %s", test.path, test.name, test.value, a.StatusCode, a.body)
		}
	}
	if a := l.ask("deployer", "PUT", "/projects/shop", body, "If-Match", `"7"`, "If-None-Match", "*"); a.StatusCode != 400 {
		t.Errorf("%d", a.StatusCode)
	}
	for _, query := range []string{"wait=5", "wait=-1s", "wait=11m", "wait=", "require=most", "require=percent:0", "require=percent:101", "dry-run=maybe", "now=true", "Wait=5s"} {
		if a := l.ask("deployer", "PUT", "/projects/shop?"+query, body); a.StatusCode != 400 {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	for _, name := range []string{"-a", "a%2Fb", "a%20b", strings.Repeat("a", 256), "..", "%00"} {
		if a := l.ask("deployer", "PUT", "/projects/"+name, body); a.StatusCode != 400 && a.StatusCode != 404 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}
