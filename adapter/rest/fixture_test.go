package rest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/test/fixture"
)

// gateway is an adapter that answers what a test tells it to, and remembers what it was asked.
type gateway struct {
	mu       sync.Mutex
	pushed   []adapter.Push
	projects []adapter.ProjectInfo // sorted by name
	rollouts map[string]adapter.RolloutInfo
	status   adapter.Status
	crowded  []adapter.Crowded
	served   map[string][]model.API
	archives map[uint64][]byte

	// push says what becomes of a push, after Allowed was asked about labels; nil: it is committed.
	push   func(adapter.Push) (adapter.Outcome, error)
	labels []string // of what is pushed, now and before
	err    error    // of everything else
	backup func(io.Writer) error
}

func unknown(words string) error { return &adapter.PushError{Reason: adapter.Unknown, Words: words} }

func (g *gateway) Push(_ context.Context, p adapter.Push) (adapter.Outcome, error) {
	g.mu.Lock()
	g.pushed = append(g.pushed, p)
	push, labels := g.push, g.labels
	g.mu.Unlock()
	if p.Allowed != nil {
		if err := p.Allowed(labels); err != nil {
			return adapter.Outcome{}, err
		}
	}
	if push != nil {
		return push(p)
	}
	return adapter.Outcome{
		Rollout: "r1", Project: p.Project, Revision: 8, Digest: strings.Repeat("ab", 32), Created: true, Committed: true,
		APIs:     []adapter.PushedAPI{{Name: "pets", Version: "1", BasePath: "/pets/1"}},
		Warnings: []model.Problem{{Severity: model.Warning, Code: "not-served", Message: "it has no effect"}},
	}, nil
}

func (g *gateway) Begin(ctx context.Context, p adapter.Push) (adapter.Outcome, error) {
	return g.Push(ctx, p)
}

func (g *gateway) Rollout(_ context.Context, id string) (adapter.RolloutInfo, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := g.rollouts[id]; ok {
		return r, g.err
	}
	return adapter.RolloutInfo{}, unknown("there is no rollout " + id)
}

func (g *gateway) Projects(_ context.Context, after string, limit int, visible func([]string) bool) ([]adapter.ProjectInfo, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var page []adapter.ProjectInfo
	names := map[string]bool{}
	for _, p := range g.projects {
		if p.Name <= after || !visible(p.Labels) {
			continue
		}
		if names[p.Name] = true; len(names) > limit {
			return page, true, g.err
		}
		page = append(page, p)
	}
	return page, false, g.err
}

func (g *gateway) Project(_ context.Context, name string) (adapter.ProjectInfo, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.projects {
		if p.Name == name {
			return p, g.err
		}
	}
	return adapter.ProjectInfo{}, unknown("there is no project " + name)
}

func (g *gateway) Archive(_ context.Context, name string, revision uint64) ([]byte, adapter.RevisionInfo, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if revision == 0 {
		revision = 7
	}
	archive, ok := g.archives[revision]
	if !ok {
		return nil, adapter.RevisionInfo{}, unknown(fmt.Sprintf("there is no revision %d of %s", revision, name))
	}
	return archive, adapter.RevisionInfo{Number: revision, Labels: g.labels}, g.err
}

func (g *gateway) Revisions(context.Context, string) ([]adapter.RevisionInfo, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return []adapter.RevisionInfo{
		{Number: 7, Digest: "ab", Labels: []string{"default"}, Author: "ci", At: time.Unix(1, 0), Current: true, APIs: []adapter.PushedAPI{{Name: "pets", Version: "1", BasePath: "/pets/1"}}},
		{Number: 6, Author: "ci", At: time.Unix(0, 0)},
	}, g.err
}

func (g *gateway) Diff(_ context.Context, p adapter.Push) (diff.Report, error) {
	if err := p.Allowed(g.labels); err != nil {
		return diff.Report{}, err
	}
	return diff.Report{
		Project: p.Project, Breaking: true,
		APIs: []diff.API{{
			Name: "pets", Version: "1", BasePath: "/pets/1", Change: diff.Changed, Breaking: true, What: []string{"limits"},
			Operations: []diff.Operation{{Method: "GET", Path: "/pet/{id}", Change: diff.Removed, Breaking: true, What: []string{}}},
			Findings:   []diff.Finding{{Rule: "api-removed", Severity: diff.Breaking, Text: "it is gone", Before: true, Origin: model.Origin{File: "a.yaml", Line: 3}}},
		}},
		Resources: []diff.Touched{{Type: "Cluster", Name: "b", Label: "default", Action: "put"}},
	}, g.err
}

func (g *gateway) APIs(_ context.Context, after string, limit int, wanted func(adapter.APIStatus) bool) ([]adapter.APIStatus, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var page []adapter.APIStatus
	ids := map[string]bool{}
	all := slices.Clone(g.status.APIs)
	slices.SortStableFunc(all, func(x, y adapter.APIStatus) int { return cmp.Compare(x.ID, y.ID) })
	for _, s := range all {
		if s.ID <= after || !wanted(s) {
			continue
		}
		if ids[s.ID] = true; limit >= 0 && len(ids) > limit {
			return page, true, nil
		}
		page = append(page, s)
	}
	return page, false, nil
}

func (g *gateway) API(id string) []adapter.APIStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.status.APIs), func(s adapter.APIStatus) bool { return s.ID != id })
}

func (g *gateway) APIsOf(project string) []adapter.APIStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.status.APIs), func(s adapter.APIStatus) bool { return s.Project != project })
}

func (g *gateway) Gateways() []publish.Gateway {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status.Gateways
}

func (g *gateway) Labels() []adapter.LabelStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := map[string]map[adapter.State]int{}
	for _, s := range g.status.APIs {
		if counts[s.Label] == nil {
			counts[s.Label] = map[adapter.State]int{}
		}
		counts[s.Label][s.State]++
	}
	var all []adapter.LabelStatus
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, adapter.LabelStatus{Name: name, APIs: counts[name]})
	}
	return all
}

func (g *gateway) CrowdedScopes() []adapter.Crowded { return g.crowded }

func (g *gateway) Served(label string) []model.API { return g.served[label] }

func (g *gateway) save(_ context.Context, w io.Writer) error {
	if g.backup != nil {
		return g.backup(w)
	}
	_, err := io.WriteString(w, "everything")
	return err
}

func (g *gateway) last(t *testing.T) adapter.Push {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.pushed) == 0 {
		t.Fatal("nothing was pushed")
	}
	return g.pushed[len(g.pushed)-1]
}

// lab is a management API on a free port, with callers of all kinds. Every answer is held against the document.
type lab struct {
	t       *testing.T
	gateway *gateway
	url     string
	tokens  map[string]string // by name
	path    string            // of the tokens file
	audit   string
	log     *fixture.Log
	close   func() // ends the audit log
	handler http.Handler
}

func newLab(t *testing.T, change ...func(*rest.Options)) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{
		t: t, gateway: &gateway{labels: []string{"default"}}, tokens: map[string]string{}, path: filepath.Join(dir, "tokens.yaml"),
		audit: filepath.Join(dir, "audit.log"), log: new(fixture.Log),
	}
	for name, roles := range map[string]string{
		"admin": "admin", "deployer": "deployer", "viewer": "viewer", "partner": "deployer/partner", "guest": "viewer/partner",
	} {
		grant, err := access.ParseGrant(roles)
		if err != nil {
			t.Fatal(err)
		}
		if l.tokens[name], err = access.Create(l.path, name, access.Grants{grant}, time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(l.log, nil))
	register, err := access.Open(l.path, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	trail, err := audit.Open(audit.Options{Path: l.audit, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	o := rest.Options{
		Gateway: l.gateway, Settings: model.Settings{Routing: model.Routing{Segment: 1}}, Version: "v1.2.3", Backup: l.gateway.save,
		Register: register, Audit: trail, Log: log,
	}
	for _, f := range change {
		f(&o)
	}
	s, err := rest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	var once sync.Once
	l.close = func() { once.Do(func() { server.Close(); _ = trail.Close() }) }
	t.Cleanup(l.close)
	l.url, l.handler = server.URL, s
	return l
}

// answer is one answer, its body read.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) into(t *testing.T, value any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

func (a answer) refusal(t *testing.T) api.Refusal {
	t.Helper()
	var r api.Refusal
	a.into(t, &r)
	return r
}

// ask is a call: whose, what, and further headers as "Name: value" pairs.
func (l *lab) ask(who, method, path, body string, headers ...string) answer {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, l.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	if token := l.tokens[who]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	switch {
	case strings.HasPrefix(body, "{"):
		r.Header.Set("Content-Type", "application/json")
	case body != "":
		r.Header.Set("Content-Type", "application/zip")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return l.send(r)
}

func (l *lab) send(r *http.Request) answer {
	l.t.Helper()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	a := answer{response, body}
	check(l.t, r, a)
	return a
}

// document is the OpenAPI document, strict: what it does not list must not be in an answer.
var document = sync.OnceValue(func() *openapi3.T {
	d, err := openapi3.NewLoader().LoadFromData(rest.Document)
	if err != nil {
		panic(err)
	}
	no := false
	for _, s := range d.Components.Schemas {
		if s.Value.Type.Is("object") && len(s.Value.Properties) > 0 {
			s.Value.AdditionalProperties.Has = &no
		}
	}
	return d
})

// check holds an answer against the document, if it is of one of its operations.
func check(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	path, ours := strings.CutPrefix(r.URL.Path, "/api/v1")
	if !ours {
		return
	}
	if a.StatusCode >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %d is %s", r.Method, r.URL, a.StatusCode, a.Header.Get("Content-Type"))
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	template, item := find(path)
	if item == nil || item.GetOperation(method) == nil {
		return
	}
	request := r.Clone(t.Context())
	request.Method = method
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request, Route: &routers.Route{Spec: document(), Path: template, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		},
		Status: a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   r.Method == http.MethodHead || a.StatusCode == http.StatusNotModified || !strings.Contains(a.Header.Get("Content-Type"), "json"),
		},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s: the answer is not as the document says: %v\n%s", r.Method, r.URL, err, a.body)
	}
}

func find(path string) (template string, item *openapi3.PathItem) {
	have := strings.Split(path, "/")
	for template, item := range document().Paths.Map() {
		want := strings.Split(template, "/")
		fits := len(want) == len(have)
		for i := 0; fits && i < len(want); i++ {
			fits = want[i] == have[i] || strings.HasPrefix(want[i], "{") && have[i] != ""
		}
		if fits {
			return template, item
		}
	}
	return "", nil
}

// reopened is a lab whose tokens file was changed.
func reopened(t *testing.T, l *lab) *lab {
	t.Helper()
	register, err := access.Open(l.path, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	again := newLab(t, func(o *rest.Options) { o.Register = register })
	again.tokens = l.tokens
	return again
}
