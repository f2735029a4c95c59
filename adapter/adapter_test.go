package adapter

import (
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

func TestServesAndFollowsEdits(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets/1.0.0", "/pet/{id}")
	p.start(nil, "shop")
	first := p.untilState("shop", "pets/1.0.0", Live)
	if len(first.Revision) != 8 || first.BasePath != "/pets/1.0.0" {
		t.Errorf("status %+v", first)
	}
	if p.Serving() {
		t.Error("serving before a gateway is there")
	}
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	enforcer := p.gateway("enf", xds.RoleEnforcer, xdstest.Options{})
	p.until("serving", p.Serving)
	old := gw.State()[xds.RouteType]
	if len(old) != 1 {
		t.Fatalf("routes %v", old)
	}
	enforcer.Wait("the policy", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) == 1 })

	p.api("shop", "pets", "/pets/1.0.0", "/pet/{id}", "/pet/findByStatus")
	began := time.Now()
	gw.Wait("the new routes", func(have map[string]map[string]string) bool {
		for name, version := range have[xds.RouteType] {
			return version != old[name]
		}
		return false
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("the edit was live after %v", took)
	}
	p.until("a new revision", func() bool { return p.of("shop", "pets/1.0.0").Revision != first.Revision })
	p.until("serving", p.Serving)

	p.remove("shop/api_definitions/pets.yaml")
	p.api("shop", "cats", "/cats", "/cat")
	p.untilState("shop", "cats/1.0.0", Live)
	p.until("pets gone", func() bool { return p.of("shop", "pets/1.0.0") == APIStatus{} })
	gw.Wait("the old scope gone", func(have map[string]map[string]string) bool { return len(have[xds.ScopeType]) == 1 })
}

func TestBrokenEditKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/pet")
	p.start(nil, "shop")
	good := p.untilState("shop", "pets/1.0.0", Live)
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("serving", p.Serving)
	have := gw.State()[xds.RouteType]

	p.write("shop/api_definitions/pets.yaml", "openapi: 3.0.3\ninfo: {title: pets, version: 1.0.0}\npaths:\n  /pet: [oops\n")
	s := p.untilState("shop", "pets/1.0.0", Stale)
	if s.Revision != good.Revision || !strings.Contains(s.Words, p.path("shop/api_definitions/pets.yaml")+":") {
		t.Errorf("status %+v", s)
	}
	if log := p.log.String(); !regexp.MustCompile(`at=\S+/pets\.yaml:\d`).MatchString(log) {
		t.Errorf("the log does not name the line:\n%s", log)
	}
	if got := p.Status().Projects[0]; got.State != Stale || !model.Refusing(got.Problems) {
		t.Errorf("project %+v", got)
	}
	for name, version := range gw.State()[xds.RouteType] {
		if have[name] != version {
			t.Error("what is served changed")
		}
	}

	p.api("shop", "pets", "/pets", "/pet", "/more")
	p.untilState("shop", "pets/1.0.0", Live)
	p.remove("shop")
	p.untilState("shop", "pets/1.0.0", Stale) // a folder that vanishes takes nothing along
	p.api("shop", "pets", "/pets", "/pet")
	if s := p.untilState("shop", "pets/1.0.0", Live); s.Revision == "" {
		t.Errorf("status %+v", s)
	}
}

func TestBrokenFromTheStart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.write("bad/api_definitions/x.yaml", "openapi: 3.0.3\n")
	p.api("good", "pets", "/pets", "/pet")
	p.start(nil, "bad", "good", "missing")
	p.untilState("good", "pets/1.0.0", Live)
	states := map[string]State{}
	for _, s := range p.Status().Projects {
		states[strings.TrimPrefix(s.Path, p.dir+"/")] = s.State
	}
	if states["bad"] != Rejected || states["missing"] != Rejected || states["good"] != Live {
		t.Errorf("projects %v", states)
	}
	p.api("missing", "late", "/late", "/x")
	p.untilState("missing", "late/1.0.0", Live)
}

func TestClaims(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("a", "pets", "/pets", "/pet")
	p.api("b", "animals", "/pets", "/pet")
	p.api("c", "pets", "/elsewhere", "/pet")
	p.start(nil, "a", "b", "c")
	p.untilState("a", "pets/1.0.0", Live)
	base := p.untilState("b", "animals/1.0.0", Rejected)
	name := p.untilState("c", "pets/1.0.0", Rejected)
	for _, s := range []APIStatus{base, name} {
		for _, file := range []string{p.path("a/api_definitions/pets.yaml"), s.Path + "/api_definitions/"} {
			if !strings.Contains(s.Words, file) {
				t.Errorf("%q does not name %s", s.Words, file)
			}
		}
	}
	p.api("a", "pets", "/moved", "/pet") // the base path is free, the name is not
	p.untilState("b", "animals/1.0.0", Live)
	p.untilState("c", "pets/1.0.0", Rejected)

	p.api("b", "animals", "/moved", "/pet") // taken: what it has stays
	if s := p.untilState("b", "animals/1.0.0", Stale); s.BasePath != "/pets" {
		t.Errorf("status %+v", s)
	}
	p.remove("a/api_definitions/pets.yaml")
	p.api("a", "dogs", "/dogs", "/dog")
	p.untilState("c", "pets/1.0.0", Live)
	p.untilState("b", "animals/1.0.0", Live)
}

func TestTwoAPIsSwapBasePaths(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("a", "x", "/one", "/p")
	p.api("a", "y", "/two", "/p")
	p.start(nil, "a")
	p.untilState("a", "y/1.0.0", Live)
	old := p.of("a", "x/1.0.0").Revision
	p.write("a/api_definitions/swap.tmp", "") // two files cannot be swapped at once; quiet makes them one edit
	p.api("a", "x", "/two", "/p")
	p.api("a", "y", "/one", "/p")
	p.until("swapped", func() bool {
		x, y := p.of("a", "x/1.0.0"), p.of("a", "y/1.0.0")
		return x.State == Live && y.State == Live && x.BasePath == "/two" && y.BasePath == "/one" && x.Revision != old
	})
}

func TestGatewayRejects(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/pet")
	p.api("shop", "cats", "/cats", "/cat")
	p.start(nil, "shop")
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
	p.until("serving", p.Serving)
	good, old := p.of("shop", "pets/1.0.0").Revision, p.of("shop", "cats/1.0.0").Revision
	have := gw.State()[xds.RouteType]

	p.api("shop", "pets", "/pets", "/pet", "/poison")
	p.api("shop", "cats", "/cats", "/cat", "/kitten")
	s := p.untilState("shop", "pets/1.0.0", Stale)
	if s.Revision != good || !strings.Contains(s.Words, "this is poison") {
		t.Errorf("status %+v", s)
	}
	p.until("the other one is live", func() bool {
		cats := p.of("shop", "cats/1.0.0")
		return cats.State == Live && cats.Revision != old && p.Serving()
	})
	changed := 0
	for name, version := range gw.State()[xds.RouteType] {
		if have[name] != version {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d route tables changed, want that of cats alone", changed)
	}
	p.api("shop", "pets", "/pets", "/pet", "/remedy")
	p.untilState("shop", "pets/1.0.0", Live)
}

// refusePoison refuses what names poison.
func refusePoison(_ string, r *discoveryv3.Resource) string {
	if strings.Contains(string(r.Resource.Value), "poison") {
		return "a dump of it {\n}\nthis is poison"
	}
	return ""
}

func TestRejectedAPIInASharedScope(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		p.api("shop", name, "/all/"+name, "/x")
	}
	p.start(nil, "shop")
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
	p.until("serving", p.Serving)
	old := p.of("shop", "c/1.0.0").Revision
	for _, name := range []string{"a", "b", "c", "d", "e"} { // one edit
		extra := "/fine"
		if name == "c" {
			extra = "/poison"
		}
		p.api("shop", name, "/all/"+name, "/x", extra)
	}
	if s := p.untilState("shop", "c/1.0.0", Stale); s.Revision != old {
		t.Errorf("status %+v", s)
	}
	p.until("the others live in their new revision", func() bool {
		return p.Serving() && !slices.ContainsFunc([]string{"a", "b", "d", "e"}, func(name string) bool {
			return p.of("shop", name+"/1.0.0").State != Live
		})
	})
}

func TestRejectedByAGatewayThatComesLater(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/all/a", "/x")
	p.api("shop", "b", "/all/b", "/poison")
	p.api("shop", "c", "/all/c", "/x")
	p.api("shop", "d", "/other/d", "/x")
	p.start(nil, "shop")
	p.untilState("shop", "b/1.0.0", Live) // nobody has seen it yet
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
	s := p.untilState("shop", "b/1.0.0", Rejected)
	if !strings.Contains(s.Words, "this is poison") || s.Revision != "" {
		t.Errorf("status %+v", s)
	}
	p.until("the others are served", func() bool {
		return p.Serving() && p.of("shop", "a/1.0.0").State == Live && p.of("shop", "c/1.0.0").State == Live && p.of("shop", "d/1.0.0").State == Live
	})
	gw.Wait("both scopes", func(have map[string]map[string]string) bool { return len(have[xds.RouteType]) == 2 })
}

func TestWhatWasThereBeforeIsRejectedToo(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x", "/poison")
	p.api("shop", "b", "/b", "/x")
	p.start(nil, "shop")
	easy := p.gateway("easy", xds.RoleEnvoy, xdstest.Options{})
	for _, role := range []string{xds.RoleEnforcer, xds.RoleRateLimiter} {
		p.gateway("its "+role, role, xdstest.Options{})
	}
	p.until("serving", p.Serving)
	p.until("proven", func() bool { return p.lookup(xds.DefaultLabel).Proven("a/1.0.0") })
	first := p.of("shop", "a/1.0.0").Revision
	easy.Close()
	p.until("easy is gone", func() bool {
		return slices.ContainsFunc(p.Status().Gateways, func(g publish.Gateway) bool { return g.ID == "easy" && g.State == publish.Lost })
	})
	p.api("shop", "a", "/a", "/x", "/more/poison")
	p.until("the edit", func() bool { return p.of("shop", "a/1.0.0").Revision != first })

	p.gateway("strict", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
	if s := p.untilState("shop", "a/1.0.0", Rejected); s.Revision != "" {
		t.Errorf("status %+v", s)
	}
	p.until("serving b", p.Serving)
}

func TestRestartResendsNothing(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x")
	p.api("shop", "b", "/b", "/x")
	p.start(nil, "shop")
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("serving", p.Serving)
	memory := gw.State()
	gw.Close()
	p.stop()
	p.start(nil, "shop")
	again := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Have: memory})
	p.until("serving", p.Serving)
	if log := again.Log(); len(log) != 0 {
		t.Errorf("sent again: %v", log)
	}
}

func TestIssuersAreResources(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x")
	p.start(func(o *Options) { o.Issuers = []*posternv1.Issuer{{Issuer: "https://a"}} }, "shop")
	enforcer := p.gateway("enf", xds.RoleEnforcer, xdstest.Options{})
	enforcer.Wait("the issuer", func(have map[string]map[string]string) bool { return have[posternv1.IssuerType]["https://a"] != "" })
	if err := p.SetIssuers([]*posternv1.Issuer{{Issuer: "https://b"}}); err != nil {
		t.Fatal(err)
	}
	enforcer.Wait("the other issuer", func(have map[string]map[string]string) bool {
		return have[posternv1.IssuerType]["https://b"] != "" && len(have[posternv1.IssuerType]) == 1
	})
	if err := p.SetIssuers([]*posternv1.Issuer{{Issuer: "https://b"}, {Issuer: "https://b"}}); err == nil {
		t.Error("one issuer twice was accepted")
	}
}

func TestManyEditsAreOneUpdate(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x0")
	p.start(func(o *Options) { o.Watch.Quiet, o.Watch.Cap = time.Second, 10*time.Second }, "shop")
	var tables atomic.Int32
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, _ *discoveryv3.Resource) string {
		if typeURL == xds.RouteType {
			tables.Add(1)
		}
		return ""
	}})
	p.until("serving", p.Serving)
	before, old := tables.Load(), p.of("shop", "a/1.0.0").Revision
	for _, path := range []string{"/x1", "/x2", "/x3", "/x4", "/x5"} {
		p.api("shop", "a", "/a", path)
	}
	p.until("the last edit", func() bool { return p.of("shop", "a/1.0.0").Revision != old })
	if n := tables.Load() - before; n != 1 {
		t.Errorf("%d route tables were sent", n)
	}
}

func TestDecideRouting(t *testing.T) {
	api := func(base, path string) model.Project {
		return model.Project{APIs: []model.API{{BasePath: base, Operations: []model.Operation{{Method: "GET", Path: path}}}}}
	}
	for _, c := range []struct {
		base, path string
		segment    int
		flat       bool
	}{
		{"/pets", "/pet/{id}", 1, false},
		{"/", "/pet/{id}", 1, false},
		{"/", "/{id}", 1, true},
		{"/", "/*", 1, true},
		{"/", "/", 1, true},
		{"/api", "/{id}", 2, true},
		{"/api/pets", "/{id}", 2, false},
		{"/api", "/pet", 2, false},
		{"/pets", "/a", 3, true},
	} {
		got := DecideRouting([]model.Project{api(c.base, c.path)}, model.Routing{Segment: c.segment})
		if got.Flat != c.flat || got.Segment != c.segment {
			t.Errorf("%s %s at segment %d: flat %v, want %v", c.base, c.path, c.segment, got.Flat, c.flat)
		}
	}
}

func TestAutoRouting(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "root", "/", "/{anything}")
	p.start(func(o *Options) { o.AutoRouting, o.Label = true, xds.DefaultLabel }, "shop")
	p.untilState("shop", "root/1.0.0", Live)
	if !strings.Contains(p.log.String(), "mode=flat") {
		t.Errorf("the log does not tell the mode:\n%s", p.log.String())
	}
}

func TestScopelessOperationIsRefusedAlone(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "root", "/", "/{anything}")
	p.api("shop", "pets", "/pets", "/pet")
	p.start(nil, "shop")
	p.untilState("shop", "pets/1.0.0", Live)
	if s := p.untilState("shop", "root/1.0.0", Rejected); !strings.Contains(s.Words, "root.yaml") {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(p.log.String(), "no literal path segment"); n != 1 {
		t.Errorf("why it is rejected is logged %d times:\n%s", n, p.log.String())
	}
	if !strings.Contains(p.log.String(), `msg="api rejected"`) || strings.Contains(p.log.String(), "refused") {
		t.Errorf("what is not served is rejected, in the log as in the status:\n%s", p.log.String())
	}
}

// TestRevisionsAreOfTheContent: what is remembered of a project changes nothing about what it is published as.
func TestRevisionsAreOfTheContent(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "a", "/a", "/x")
	p.api("shop", "b", "/b", "/x")
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := New(Options{Settings: settings(), Listen: l, Folders: []string{p.path("shop")}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	known := memories{}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"the first time", func() {}},
		{"nothing", func() {}},
		{"an edit", func() { p.api("shop", "a", "/a", "/y") }},
		{"another is broken", func() { p.write("shop/api_definitions/b.yaml", "openapi: [") }},
		{"an edit beside it", func() { p.api("shop", "a", "/a", "/z") }},
		{"it is mended", func() { p.api("shop", "b", "/b", "/x") }},
		{"the project is edited", func() { p.write("shop/project.yaml", "hosts: [a.example]") }},
		{"one goes", func() { p.remove("shop/api_definitions/b.yaml") }},
		{"another edit", func() { p.api("shop", "a", "/a", "/x") }},
		{"it comes back", func() { p.api("shop", "b", "/b", "/w") }},
	} {
		step.do()
		want, got := a.compileAll(a.options.Folders, memories(nil).of), a.compileAll(a.options.Folders, known.of)
		if diff := cmp.Diff(want[0].revisions, got[0].revisions); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an adapter without a listener")
	}
}
