package adapter

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/xdstest"
)

// withStore gives the adapter of a site a store, which is the same after a restart.
func (p *site) withStore(o *Options) {
	p.t.Helper()
	s, err := store.Open(store.Options{Path: filepath.Join(p.dir, "postern.db"), History: 20})
	if err != nil {
		p.t.Fatal(err)
	}
	stop := sync.OnceFunc(func() { _ = s.Close() })
	p.closeStore = stop
	p.t.Cleanup(stop)
	o.Store = s
}

// archive packs files.
func archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// one is a project of one API.
func one(t testing.TB, name, base string, paths ...string) []byte {
	t.Helper()
	return archive(t, map[string]string{"api_definitions/" + name + ".yaml": definition(name, base, paths...)})
}

// pushes fails the test if a push comes to nothing.
func (p *site) push(push Push) Outcome {
	p.t.Helper()
	if push.Wait == 0 {
		push.Wait = patience
	}
	out, err := p.Push(context.Background(), push)
	if err != nil {
		p.t.Fatalf("push of %s: %v\n%.3000s", push.Project, err, p.log.String())
	}
	return out
}

// refused fails the test unless a push comes to nothing, for this reason.
func (p *site) refused(push Push, why Reason) *PushError {
	p.t.Helper()
	if push.Wait == 0 {
		push.Wait = patience
	}
	out, err := p.Push(context.Background(), push)
	failed := new(PushError)
	if !errors.As(err, &failed) || failed.Reason != why {
		p.t.Fatalf("push of %s: %+v, %v; want it to fail as %s", push.Project, out, err, why)
	}
	return failed
}

// begun starts an adapter with a store, once it answers.
func (p *site) begun(folders ...string) {
	p.t.Helper()
	p.start(p.withStore, folders...)
	p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
}

func TestPushesAreRevisions(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	g := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	ctx := context.Background()

	out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet"), Author: "ann"})
	if !out.Created || !out.Committed || out.Revision != 1 || len(out.Gateways) != 1 || out.Gateways[0].State != publish.Serving {
		t.Errorf("the first push: %+v", out)
	}
	if g.Version(xds.RouteType, "pets") == "" {
		t.Error("the push has returned, and the gateway does not have it")
	}
	if out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}); !out.Unchanged || out.Revision != 1 || out.Rollout != "" {
		t.Errorf("the same again: %+v", out)
	}
	if out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet", "/dog")}); out.Created || out.Revision != 2 {
		t.Errorf("other content: %+v", out)
	}
	back := p.push(Push{Project: "shop", Revision: 1})
	if back.Revision != 3 || back.Digest != out.Digest {
		t.Errorf("back to the first: %+v", back)
	}
	p.refused(Push{Project: "shop", Revision: 9}, Unknown)
	p.refused(Push{Project: "shop", Archive: one(t, "x", "/x", "/x"), IfRevision: 2}, Outdated)
	p.refused(Push{Project: "shop", Archive: one(t, "x", "/x", "/x"), IfNone: true}, Outdated)

	info, err := p.Project(ctx, "shop")
	if err != nil || info.Source != "push" || info.Revision != 3 || info.State != Live || len(info.APIs) != 1 {
		t.Errorf("the project: %+v, %v", info, err)
	}
	if r, err := p.Rollout(ctx, back.Rollout); err != nil || !r.Outcome.Committed || r.Outcome.Revision != 3 || r.Ended.IsZero() || r.Err != nil {
		t.Errorf("its rollout: %+v, %v", r, err)
	}

	if out := p.push(Push{Project: "shop"}); !out.Committed || out.Revision != 4 {
		t.Errorf("undeployed: %+v", out)
	}
	if _, err := p.Project(ctx, "shop"); err == nil {
		t.Error("the project is still there")
	}
	revisions, err := p.Revisions(ctx, "shop")
	if err != nil || len(revisions) != 4 || revisions[0].Digest != "" || revisions[3].Author != "ann" {
		t.Errorf("revisions: %+v, %v", revisions, err)
	}
	p.refused(Push{Project: "shop"}, Unknown)
	if out := p.push(Push{Project: "shop", Revision: 2}); out.Revision != 5 || !out.Created {
		t.Errorf("back after all: %+v", out)
	}
}

func TestPushThatAGatewayRejectsLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	bad := p.gateway("bad", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, r *discoveryv3.Resource) string {
		if refusePoison(typeURL, r) != "" {
			return `invalid regex '/pets/poison//+': this is poison`
		}
		return ""
	}})
	good := p.gateway("good", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateways are there", p.Serving)
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})
	before := map[*xdstest.Gateway]string{bad: bad.Version(xds.RouteType, "pets"), good: good.Version(xds.RouteType, "pets")}

	err := p.refused(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/poison")}, Refused)
	if !err.Outcome.RolledBack || err.Outcome.Committed {
		t.Errorf("the outcome: %+v", err.Outcome)
	}
	if len(err.Problems) == 0 || !strings.Contains(err.Problems[0].Message, "this is poison") || err.Problems[0].File != "api_definitions/pets.yaml" ||
		!strings.Contains(err.Problems[0].Message, "GET /poison") || err.Problems[0].Line != 6 {
		t.Errorf("the problems: %+v", err.Problems)
	}
	for g, version := range before {
		g.Wait("the gateway has what was before", func(have map[string]map[string]string) bool { return have[xds.RouteType]["pets"] == version })
	}
	if info, _ := p.Project(context.Background(), "shop"); info.Revision != 1 || info.State != Live {
		t.Errorf("the project: %+v", info)
	}
	if r, err := p.Rollout(context.Background(), err.Outcome.Rollout); err != nil || r.Err == nil || r.Err.Reason != Refused || len(r.Err.Problems) == 0 {
		t.Errorf("the rollout: %+v, %v", r, err)
	}
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/dog")})
}

func TestPushThatGatewaysAreSilentAboutIsTakenBack(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	block := make(chan struct{})
	g := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, _ *discoveryv3.Resource) string {
		if typeURL == xds.RouteType {
			<-block
		}
		return ""
	}})
	p.until("the gateway is there", p.Serving)
	err := p.refused(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet"), Wait: time.Second}, Silent)
	if !strings.Contains(err.Words, "envoy gw") || !err.Outcome.RolledBack {
		t.Errorf("%q, %+v", err.Words, err.Outcome)
	}
	close(block)
	g.Wait("nothing of it is left", func(have map[string]map[string]string) bool { return len(have[xds.ScopeType]) == 0 })
}

func TestPushesThatClaimTheSame(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("folder", "cats", "/cats", "/cat")
	p.begun("folder")
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})

	places := func(err *PushError, want ...string) {
		t.Helper()
		text := err.Words + fmt.Sprint(err.Problems)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q does not say %q", text, w)
			}
		}
	}
	places(p.refused(Push{Project: "other", Archive: one(t, "dogs", "/pets", "/dog")}, Conflict), "push:other/api_definitions/dogs.yaml", "push:shop/api_definitions/pets.yaml", "/pets")
	places(p.refused(Push{Project: "other", Archive: one(t, "cats", "/more", "/cat")}, Conflict), "push:other/api_definitions/cats.yaml", "folder/api_definitions/cats.yaml")
	places(p.refused(Push{Project: "folder", Archive: one(t, "x", "/x", "/x")}, Conflict), "folder "+p.path("folder"))
	places(p.refused(Push{Project: "bad", Archive: []byte("PK no zip")}, Invalid), "zip")
	places(p.refused(Push{Project: "bad", Archive: one(t, "x", "nowhere", "/x")}, Invalid), "nowhere")

	if out := p.push(Push{Project: "other", Archive: one(t, "dogs", "/dogs", "/dog"), DryRun: true}); out.Committed {
		t.Errorf("a dry run: %+v", out)
	}
	p.refused(Push{Project: "other", Archive: one(t, "dogs", "/pets", "/dog"), DryRun: true}, Conflict)
	if _, err := p.Project(context.Background(), "other"); err == nil {
		t.Error("a dry run has left a project")
	}
	if got := p.refused(Push{Project: "other"}, Unknown); got == nil {
		t.Error("there is something to undeploy")
	}
}

// TestAllBasePathsAreClaimedInTheStore: another adapter on the same store knows of a project what its claims say.
func TestAllBasePathsAreClaimedInTheStore(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "shop", Archive: archive(t, map[string]string{
		"api_definitions/a.yaml": definition("pets", "/pets/1.0.0", "/pet"),
		"project.yaml":           "definitions:\n  a.yaml: {name: pets, version: 1.0.0, default: true}\n",
	})})
	for _, base := range []string{"/pets/1.0.0", "/pets"} {
		_, err := p.pushes.store.Begin(context.Background(), store.Candidate{
			Project: "other", Archive: []byte("x"), Digest: fmt.Sprintf("%x", sha256.Sum256([]byte("x"))), Labels: []string{"default"}, Owner: "another adapter",
			Lease: time.Now().Add(time.Minute), Deadline: time.Now().Add(time.Minute),
			Claims: []store.Claim{store.Claim("default at *" + base)},
		})
		if claimed := new(store.ClaimedError); !errors.As(err, &claimed) {
			t.Errorf("%s is not claimed: %v", base, err)
		}
	}
}

func TestPushedProjectsSurviveARestart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})
	p.push(Push{Project: "gone", Archive: one(t, "gone", "/gone", "/x")})
	p.push(Push{Project: "gone"})
	p.stop()
	p.closeStore()

	p.begun()
	g := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	g.Wait("the committed project is served", func(have map[string]map[string]string) bool {
		return have[xds.RouteType]["pets"] != "" && len(have[xds.RouteType]) == 1
	})
	if out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}); !out.Unchanged {
		t.Errorf("the same again: %+v", out)
	}
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/dog")})
}

func TestPushesOfOtherProjectsDoNotWait(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			name := fmt.Sprintf("p%02d", i)
			if out, err := p.Push(context.Background(), Push{Project: name, Archive: one(t, name, "/"+name, "/a", "/b"), Wait: patience}); err != nil || !out.Committed {
				t.Errorf("%s: %+v, %v", name, out, err)
			}
		})
	}
	group.Wait()
	if all, more, err := p.Projects(context.Background(), "p04", 10, nil); err != nil || !more || len(all) != 10 || all[0].Name != "p05" {
		t.Errorf("a page: %d, %v, %v", len(all), more, err)
	}
}

func TestPushToSeveralLabelsIsOne(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	two := func(paths ...string) []byte {
		return archive(t, map[string]string{"project.yaml": "labels: [default, partner]\n", "api_definitions/pets.yaml": definition("pets", "/pets", paths...)})
	}
	a := p.gateway("a", xds.RoleEnvoy, xdstest.Options{})
	b := p.gateway("b", xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: "partner"}, Refuse: refusePoison})
	p.until("the gateways are there", p.Serving)
	p.push(Push{Project: "shop", Archive: two("/pet")})
	version := a.Version(xds.RouteType, "pets")
	if version == "" || b.Version(xds.RouteType, "pets") != version {
		t.Fatal("not both have it")
	}
	p.refused(Push{Project: "shop", Archive: two("/poison")}, Refused)
	a.Wait("the other label went back", func(have map[string]map[string]string) bool { return have[xds.RouteType]["pets"] == version })
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})
	b.Wait("the label it has left serves nothing", func(have map[string]map[string]string) bool { return len(have[xds.ScopeType]) == 0 })
	asked := []string(nil)
	denied := errors.New("no")
	if _, err := p.Push(context.Background(), Push{Project: "shop", Archive: two("/pet"), Allowed: func(labels []string) error {
		asked = append(asked, labels...)
		if slices.Contains(labels, "partner") {
			return denied
		}
		return nil
	}}); !errors.Is(err, denied) {
		t.Errorf("not permitted: %v", err)
	}
	if !slices.Equal(asked, []string{"default", "default", "partner"}) { // of what there is, and then of both
		t.Errorf("asked about %v", asked)
	}
}

func TestDiffTellsWhatAPushWouldChange(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.start(func(o *Options) { p.withStore(o); o.Pushes.RefuseBreaking = true })
	p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
	ctx := context.Background()
	if r, err := p.Diff(ctx, Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}); err != nil || r.Breaking || len(r.APIs) != 1 || len(r.Resources) == 0 {
		t.Errorf("a new project: %+v, %v", r, err)
	}
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet", "/dog")})
	if r, err := p.Diff(ctx, Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet", "/dog", "/cat")}); err != nil || r.Breaking || len(r.APIs) != 1 ||
		!slices.ContainsFunc(r.Resources, func(d diff.Touched) bool {
			return d.Type == "RouteConfiguration" && d.Name == "pets" && d.Label == "default"
		}) {
		t.Errorf("one operation more: %+v, %v", r, err)
	}
	if r, err := p.Diff(ctx, Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}); err != nil || !r.Breaking {
		t.Errorf("one operation less: %+v, %v", r, err)
	}
	failed := p.refused(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}, Breaking)
	if len(failed.Problems) == 0 || !strings.Contains(failed.Problems[0].Message, "GET /dog") {
		t.Errorf("problems: %+v", failed.Problems)
	}
	p.refused(Push{Project: "shop"}, Breaking)
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet", "/dog", "/cat")})
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet"), AllowBreaking: true})
	p.push(Push{Project: "shop", Revision: 1}) // what went on once may go on again
}

func TestAProjectHasOneSource(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "a", Archive: one(t, "pets", "/pets", "/pet")})
	p.push(Push{Project: "b", Archive: one(t, "dogs", "/dogs", "/dog")})
	p.stop()
	p.closeStore()

	// What was pushed comes before a folder of its name, which waits until it is undeployed.
	p.api("b", "cats", "/cats", "/cat")
	p.begun("b")
	conflict := func() bool {
		return slices.ContainsFunc(p.Status().Projects, func(s ProjectStatus) bool {
			return s.Path == p.path("b") && s.State == Rejected && len(s.Problems) > 0 && s.Problems[len(s.Problems)-1].Code == "source-conflict"
		})
	}
	if info, err := p.Project(context.Background(), "b"); err != nil || info.Source != "push" || info.State != Live || !conflict() {
		t.Errorf("b is %+v, %v: %+v", info, err, p.Status().Projects)
	}
	p.push(Push{Project: "b"})
	p.untilState("b", "cats/1.0.0", Live)
	p.refused(Push{Project: "b", Archive: one(t, "dogs", "/dogs", "/dog")}, Conflict)

	p.write("b/project.yaml", "name: other\n")
	p.until("the folder has another name", func() bool { return p.names.owner("b") == "" })
	p.push(Push{Project: "b", Archive: one(t, "dogs", "/dogs", "/dog")})
	p.write("b/project.yaml", "name: a\n")
	p.until("the folder has taken a name that is taken", func() bool {
		return slices.ContainsFunc(p.Status().Projects, func(s ProjectStatus) bool {
			return s.Path == p.path("b") && len(s.Problems) > 0 && strings.Contains(fmt.Sprint(s.Problems), "a push")
		})
	})
	p.push(Push{Project: "a"})
	p.untilState("b", "cats/1.0.0", Live)
}

func TestSunsetComesByItself(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	sunset := time.Now().Add(700 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	text := func(name, base string) string {
		return strings.Replace(definition(name, base, "/x"), "paths:", "x-postern-sunset: \""+sunset+"\"\npaths:", 1)
	}
	p.write("folder/api_definitions/f.yaml", text("f", "/f"))
	p.start(func(o *Options) { p.withStore(o); o.Publish.Linger = 20 * time.Millisecond }, "folder")
	p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
	p.push(Push{Project: "shop", Archive: archive(t, map[string]string{"api_definitions/pets.yaml": text("pets", "/pets")})})
	p.until("both are retired", func() bool {
		retired := 0
		for _, api := range p.Served("default") {
			if api.State == model.Retired {
				retired++
			}
		}
		return retired == 2
	})
	if info, err := p.Project(context.Background(), "shop"); err != nil || info.Revision != 1 || info.APIs[0].State != model.Retired {
		t.Errorf("the project: %+v, %v", info, err)
	}
}
