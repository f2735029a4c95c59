package translate_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

var update = flag.Bool("update", false, "rewrite testdata and delete its orphans")

// scenario is a feature: APIs, the resources made from them (testdata/NAME), and what requests then get from a real Envoy.
type scenario struct {
	name     string
	settings string // of variants; "" is "default"
	apis     []model.API
	refused  bool // testdata holds problems.yaml, and nothing is served
	huge     bool // too long for testdata to be read by anybody

	// calls are lines "METHOD PATH [@HOST] => STATUS", and then for
	//	200: "OPERATION -> BACKEND TARGET", as route and backend tell
	//	405: the Allow header
	calls string
	// check is for what lines cannot say.
	check func(t *testing.T, g *gateway)
}

// variants are the settings the scenarios run under, a listener each.
func variants() map[string]model.Settings {
	s := model.Settings{
		HTTP:        "0.0.0.0:9090",
		Routing:     model.Routing{Segment: 1},
		Timeouts:    model.Timeouts{Request: 60 * time.Second, Idle: 300 * time.Second, MaxRequest: 300 * time.Second},
		HeaderBytes: 60 << 10, BodyBytes: 10 << 20,
		ErrorFormat: model.ErrorsProblem, OnFailure: model.FailLocal,
		Enforcer:     model.Service{Address: "unix:/run/postern/enforcer.sock", Timeout: time.Second},
		RateLimiter:  model.Service{Address: "unix:/run/postern/ratelimiter.sock", Timeout: 100 * time.Millisecond},
		LocalLimiter: model.Service{Address: "unix:/run/postern/local.sock", Timeout: 100 * time.Millisecond},
		AccessLog:    model.Service{Address: "unix:/run/postern/accesslog.sock"},
		Probe:        "unix:/run/postern/probe.sock",
	}
	flat, second, cors, perAPI, slashes := s, s, s, s, s
	flat.Routing = model.Routing{Flat: true, Segment: 1}
	second.Routing.Segment = 2
	cors.CORS = model.CORS{
		Enabled: true, Origins: []string{"*"}, Methods: []string{"GET", "POST"}, Headers: []string{"authorization"}, MaxAge: time.Minute,
	}
	perAPI.TierPerAPI = true
	slashes.KeepEscapedSlashes = true
	return map[string]model.Settings{
		"default": s, "flat": flat, "segment2": second, "cors": cors, "tier-per-api": perAPI, "escaped-slashes": slashes,
	}
}

// staticVariants are those whose listeners and clusters have testdata of their own.
func staticVariants() map[string]model.Settings {
	v := variants()
	quiet := v["default"]
	quiet.AccessLog, quiet.LocalLimiter, quiet.Probe, quiet.ErrorFormat = model.Service{}, model.Service{}, "", model.ErrorsFault
	remote := v["default"]
	remote.Enforcer.Address, remote.RateLimiter.Address, remote.ErrorFormat = "enforcer:18001", "10.0.0.7:18002", model.ErrorsRouter
	apart := remote
	apart.Enforcer.Role, apart.RateLimiter.Role = "enforcer", "ratelimiter"
	https := v["default"]
	https.HTTPS, https.TLS = "0.0.0.0:9095", model.TLS{Certificates: []string{"https/shop.test", "https/other"}, MinVersion: "1.3", RequestClientCertificate: true}
	return map[string]model.Settings{
		"default": v["default"], "flat": v["flat"], "quiet": quiet, "remote": remote, "mutual-tls": apart, "https": https,
	}
}

func (s scenario) variant() string {
	if s.settings == "" {
		return "default"
	}
	return s.settings
}

func TestStaticGolden(t *testing.T) {
	for name, s := range staticVariants() {
		listeners, clusters := translate.Static(s)
		golden(t, "static-"+name, map[string][]byte{"listeners.yaml": print(t, listeners), "clusters.yaml": print(t, clusters)})
	}
}

func TestScenariosGolden(t *testing.T) {
	known := map[string]bool{}
	for name := range staticVariants() {
		known["static-"+name] = true
	}
	for _, s := range scenarios() {
		known[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			d, problems := translate.NewIndex(variants()[s.variant()]).Plan(s.apis, nil)
			if s.refused != model.Refusing(problems) {
				t.Fatalf("refused is %v: %v", model.Refusing(problems), problems)
			}
			files := map[string][]byte{"model.yaml": marshal(t, s.apis)}
			if len(problems) > 0 {
				files["problems.yaml"] = marshal(t, problems)
			}
			for name, c := range map[string]translate.Changes{
				"policies": d.Policies, "limits": d.Limits, "clusters": d.Clusters, "scopes": d.Scopes, "routes": d.Routes, "probes": d.Probes,
			} {
				if len(c.Put) > 0 {
					files[name+".yaml"] = print(t, c.Put)
				}
			}
			if !s.huge {
				golden(t, s.name, files)
			}
		})
	}
	orphans(t, known)
}

// TestScenariosLive serves one scenario after the other from one Envoy.
func TestScenariosLive(t *testing.T) {
	g := startGateway(t, variants(), startBackends(t))
	for _, s := range scenarios() {
		if s.refused {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			d, problems := translate.NewIndex(variants()[s.variant()]).Plan(s.apis, nil)
			if model.Refusing(problems) {
				t.Fatal(problems)
			}
			defer g.serve(t, d)()
			s.probe(t, g, d, problems)
			for line := range strings.Lines(s.calls) {
				if line = strings.TrimSpace(line); line != "" {
					s.line(t, g, line)
				}
			}
			g.take()
			if s.check != nil {
				s.check(t, g)
			}
		})
	}
	if log := g.envoy.Log(); strings.Contains(log, "eprecated") || strings.Contains(log, "][error]") || strings.Contains(log, "][critical]") {
		t.Errorf("Envoy complains:\n%s", log)
	}
}

// probe asks for every operation that no warning says is not reached, and nobody else than Envoy.
func (s scenario) probe(t *testing.T, g *gateway, d translate.Delta, problems []model.Problem) {
	t.Helper()
	g.take()
	asked, err := g.probe(t, s.variant(), s.apis, d)
	if err != nil {
		t.Error(err)
	}
	if checks, limited := g.take(); len(checks)+len(limited) > 0 {
		t.Errorf("a probe asked the enforcer %v and the limiter %v", checks, limited)
	}
	for _, a := range s.apis {
		for _, o := range a.Operations {
			warned := slices.ContainsFunc(problems, func(p model.Problem) bool {
				return p.Code == "shadowed-operation" && strings.Contains(p.Message, o.ID()+" of "+a.ID())
			})
			if asked[a.ID()+" "+o.ID()] == warned {
				t.Errorf("%s of %s: asked is %v, warned of is %v", o.ID(), a.ID(), !warned, warned)
			}
		}
	}
}

// line makes the request of a line and judges the answer, by the line and by what model.Match says of it.
func (s scenario) line(t *testing.T, g *gateway, line string) {
	t.Helper()
	request, want, ok := strings.Cut(line, " => ")
	f := strings.Fields(request)
	if !ok || len(f) < 2 {
		t.Fatalf("not a call: %s", line)
	}
	c := call{method: f[0], path: f[1], host: "anywhere.test"}
	if len(f) > 2 {
		c.host = strings.TrimPrefix(f[2], "@")
	}
	a := g.call(t, s.variant(), c)
	got := strconv.Itoa(a.status)
	switch {
	case a.status == 200 && c.method == "HEAD":
		got += " " + a.operation()
	case a.status == 200:
		got += fmt.Sprintf(" %s -> %s %s", a.operation(), a.echo.Backend, a.echo.Target)
	case a.status == 405:
		got += " " + a.headers.Get("Allow")
	}
	if got != want {
		t.Errorf("%s\n got %s\nwant %s\n%s", request, got, want, a.body)
	}
	f2 := model.Match(s.apis, c.host, c.method, c.path, variants()[s.variant()].KeepEscapedSlashes)
	switch {
	case f2.Status != a.status && (a.status != 503 || f2.Status != 200):
		t.Errorf("%s: Match says %d, Envoy answers %d", request, f2.Status, a.status)
	case f2.Operation != nil && (f2.Operation.ID() != a.operation() || f2.API.ID() != a.api()):
		t.Errorf("%s: Match says %s of %s, Envoy chose %s of %s", request, f2.Operation.ID(), f2.API.ID(), a.operation(), a.api())
	case f2.Status == 405 && strings.Join(f2.Allow, ", ") != a.headers.Get("Allow"):
		t.Errorf("%s: Match allows %v, Envoy %s", request, f2.Allow, a.headers.Get("Allow"))
	}
}

// print writes resources as YAML, fields as Envoy's documentation names them.
func print(t *testing.T, resources []translate.Resource) []byte {
	t.Helper()
	var list []any
	for _, r := range resources {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r.Message)
		must(t, err)
		var tree any
		must(t, json.Unmarshal(text, &tree))
		list = append(list, tree)
	}
	return marshal(t, list)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares files with those in testdata/name, which has no others.
func golden(t *testing.T, name string, files map[string][]byte) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	if *update {
		must(t, os.RemoveAll(dir))
		must(t, os.MkdirAll(dir, 0o755))
		for file, text := range files {
			must(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
		}
		return
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if files[e.Name()] == nil {
			t.Errorf("%s/%s is not made any more (go test -update)", dir, e.Name())
		}
	}
	for file, text := range files {
		want, err := os.ReadFile(filepath.Join(dir, file))
		must(t, err)
		if string(want) != string(text) {
			t.Errorf("%s/%s differs (go test -update rewrites it): %s", dir, file, firstDifference(string(want), string(text)))
		}
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n want %s\n  got %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines instead of %d", len(g), len(w))
}

// orphans are folders in testdata that no test knows.
func orphans(t *testing.T, known map[string]bool) {
	t.Helper()
	entries, err := os.ReadDir("testdata")
	must(t, err)
	for _, e := range entries {
		switch {
		case known[e.Name()] || e.Name() == "rapid" || e.Name() == "fuzz":
		case *update:
			must(t, os.RemoveAll(filepath.Join("testdata", e.Name())))
		default:
			t.Errorf("testdata/%s belongs to no test (go test -update deletes it)", e.Name())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Words the scenarios are written in.

// api is "name/version" at a base path.
func api(id, base string, operations ...model.Operation) model.API {
	name, version, _ := strings.Cut(id, "/")
	a := model.API{Project: "test", Name: name, Version: version, BasePath: base, Operations: operations}
	slices.SortFunc(a.Operations, func(a, b model.Operation) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return a
}

// on makes the API answer on some hosts only.
func on(a model.API, hosts ...string) model.API { a.Hosts = hosts; return a }

// op is an operation "METHOD /path" that wants a token and goes to http://pets.test/v2, as changed.
func op(id string, changes ...func(*model.Operation)) model.Operation {
	method, path, _ := strings.Cut(id, " ")
	o := model.Operation{Method: method, Path: path, Security: bearer(), Production: backend("http://pets.test/v2")}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func ops(ids ...string) []model.Operation {
	var all []model.Operation
	for _, id := range ids {
		all = append(all, op(id))
	}
	return all
}

// open asks nobody for anything.
func open(o *model.Operation) { o.Security = model.Security{Disabled: true} }

func to(b model.Backend) func(*model.Operation) { return func(o *model.Operation) { o.Production = b } }

func tier(l model.Limit) func(*model.Operation) { return func(o *model.Operation) { o.Tier = &l } }

func limit(name string, count uint64, per ...model.LimitKey) model.Limit {
	return model.Limit{Name: name, Per: per, Count: count, Window: time.Minute}
}

func requires(scopes ...string) model.Requirement {
	return model.Requirement{
		Scheme: model.Scheme{Name: "oauth", Kind: model.Bearer, In: "header", Key: "authorization"}, Scopes: scopes,
	}
}

func bearer(scopes ...string) model.Security { return anyOf(allOf(requires(scopes...))) }

func allOf(rs ...model.Requirement) model.Alternative { return model.Alternative{Requirements: rs} }

func anyOf(as ...model.Alternative) model.Security { return model.Security{Alternatives: as} }

// backend has endpoints as URLs.
func backend(urls ...string) model.Backend {
	var b model.Backend
	for _, u := range urls {
		scheme, rest, _ := strings.Cut(u, "://")
		authority, path, found := strings.Cut(rest, "/")
		if found {
			path = "/" + path
		}
		e := model.Endpoint{TLS: scheme == "https", Authority: authority, Path: path, Port: 80}
		if e.TLS {
			e.Port = 443
		}
		host, port, found := strings.Cut(authority, ":")
		if e.Host = host; found {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				panic(err)
			}
			e.Port = uint16(n)
		}
		b.Endpoints = append(b.Endpoints, e)
	}
	return b
}

// startBackends starts what the scenarios' endpoints stand for.
func startBackends(t *testing.T) map[string]*fixture.Backend {
	t.Helper()
	start := func(name string, o fixture.BackendOptions) *fixture.Backend { return fixture.StartBackend(t, name, o) }
	return map[string]*fixture.Backend{
		"pets.test:80":     start("pets", fixture.BackendOptions{}),
		"orders.test:80":   start("orders", fixture.BackendOptions{}),
		"orders.test:8080": start("orders2", fixture.BackendOptions{}),
		"h2.test:80":       start("h2", fixture.BackendOptions{H2C: true}),
		"flaky.test:80":    start("flaky", fixture.BackendOptions{Handler: flaky()}),
		"slow.test:80":     start("slow", fixture.BackendOptions{Handler: slow}),

		"secure.test:443":   start("secure", fixture.BackendOptions{TLS: true, Host: "secure.test"}),
		"secure2.test:8443": start("secure2", fixture.BackendOptions{TLS: true, Host: "secure2.test"}),
		"wrong.test:443":    start("wrong", fixture.BackendOptions{TLS: true, Host: "other.test"}),
	}
}
