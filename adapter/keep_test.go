package adapter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/adapter/source/git"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// untilKept waits until the archive that is kept of a path has this in a definition.
func (p *site) untilKept(path, words string) {
	p.t.Helper()
	p.until(words+" of "+path+" is kept", func() bool {
		k, there, err := p.keeper.Kept(context.Background(), path)
		if err != nil || !there {
			return false
		}
		files, err := project.OpenBytes(k.Archive)
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := files.Open("api_definitions/pets.yaml")
		if err != nil {
			return false
		}
		defer text.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(text)
		return err == nil && strings.Contains(b.String(), words)
	})
}

const broken = "openapi: 3.0.3\n"

func TestAnAdapterStartsWhileAProjectIsBroken(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/a")
	p.api("shop", "dogs", "/dogs", "/a")
	p.write("shop/project.yaml", "name: kennel\n")
	p.api("other", "books", "/books", "/a")
	p.begun("shop", "other")
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("serving", p.Serving)
	p.untilKept(p.path("shop"), "/a")
	first := p.of("shop", "pets/1.0.0").Revision
	p.api("shop", "pets", "/pets", "/a", "/b")
	before := p.untilNew("pets/1.0.0", first)
	p.untilKept(p.path("shop"), "/b")
	p.write("shop/api_definitions/pets.yaml", broken)
	p.write("shop/project.yaml", "name: [\n")
	p.untilState("shop", "pets/1.0.0", Stale)
	p.until("serving", p.Serving)
	have := gw.State()
	gw.Close()
	p.stop()
	p.closeStore()

	p.begun("shop", "other")
	again := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Have: have})
	p.until("serving", p.Serving)
	if log := again.Log(); len(log) != 0 {
		t.Errorf("the gateway is told %v", log)
	}
	for _, id := range []string{"pets/1.0.0", "dogs/1.0.0"} {
		s := p.of("shop", id)
		if s.State != Stale || s.API == nil || !strings.Contains(s.Words, "shop/") {
			t.Errorf("%+v", s)
		}
	}
	if s := p.of("shop", "pets/1.0.0"); s.Revision != before {
		t.Errorf("revision %s, want %s", s.Revision, before)
	}
	for _, one := range p.Status().Projects {
		if one.Path == p.path("shop") && (one.State != Stale || one.Name != "kennel" || !model.Refusing(one.Problems)) {
			t.Errorf("%+v", one)
		}
	}
	if !strings.Contains(p.log.String(), "serving what was kept of it, of 20") {
		t.Error("the log does not say so")
	}
	if owner := p.names.owner("kennel"); owner != p.path("shop") {
		t.Errorf("the name is %q's", owner)
	}
	p.refused(Push{Project: "kennel", Archive: one(t, "cats", "/cats", "/a")}, Conflict)

	p.api("shop", "pets", "/pets", "/a", "/b")
	p.write("shop/project.yaml", "name: kennel\n")
	p.untilState("shop", "pets/1.0.0", Live)
	p.untilState("shop", "dogs/1.0.0", Live)
	if log := again.Log(); len(log) != 0 {
		t.Errorf("what is as it was is sent again: %v", log)
	}
	p.api("shop", "pets", "/pets", "/a", "/c")
	p.untilNew("pets/1.0.0", before)
	p.untilKept(p.path("shop"), "/c")
}

// untilNew waits until another revision of an API of the shop is live, and returns it.
func (p *site) untilNew(id, old string) (revision string) {
	p.t.Helper()
	p.until("a new "+id, func() bool {
		s := p.of("shop", id)
		revision = s.Revision
		return s.State == Live && s.Revision != old
	})
	return revision
}

// TestWhatWasKeptIsRefusedToo: then it is as if nothing was kept.
func TestWhatWasKeptIsRefusedToo(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.write("shop/api_definitions/pets.yaml", strings.Replace(definition("pets", "/pets", "/a"), "http://127.0.0.1:9", "${POSTERN_VAR_PETS}", 1))
	variable := func(there bool) func(o *Options) {
		return func(o *Options) {
			p.withStore(o)
			o.Lookup = func(string) (string, bool) { return "http://127.0.0.1:9", there }
		}
	}
	p.start(variable(true), "shop")
	p.untilState("shop", "pets/1.0.0", Live)
	p.untilKept(p.path("shop"), "/a")
	p.stop()
	p.closeStore()
	p.write("shop/api_definitions/pets.yaml", broken)
	p.start(variable(false), "shop")
	p.until("the adapter has started", p.Started)
	if all := p.Status(); len(all.APIs) != 0 || len(all.Projects) != 1 || all.Projects[0].State != Rejected {
		t.Errorf("%+v", all)
	}
	p.log.Wait(t, "what was kept of a project is refused too")
}

func TestABranchIsBrokenAtTheStart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	r := fixture.NewRepository(t)
	r.Commit(map[string]string{"shop/api_definitions/pets.yaml": definition("pets", "/pets", "/a"), "more/api_definitions/cats.yaml": definition("cats", "/cats", "/a")})
	var s *git.Source
	begin := func() {
		s = p.branch(r, "")
		p.start(func(o *Options) { p.withStore(o); o.Sources = []source.Source{s} })
	}
	begin()
	shop := func() string { return pathOf(s, "shop") }
	p.untilGit(shop, "pets/1.0.0", Live)
	p.untilKept(shop(), "/a")
	r.Commit(map[string]string{"shop/api_definitions/pets.yaml": broken})
	p.untilGit(shop, "pets/1.0.0", Stale)
	p.stop()
	p.closeStore()

	begin()
	p.until("the adapter has started", p.Started)
	p.untilGit(shop, "pets/1.0.0", Stale)
	r.Commit(map[string]string{"shop": ""})
	p.until("nothing is kept of what is gone", func() bool {
		paths, err := p.keeper.KeptPaths(t.Context())
		return err == nil && !slices.ContainsFunc(paths, func(path string) bool { return strings.HasSuffix(path, "/shop") })
	})
}

// TestOnlyWhatIsFollowedStaysKept: a start without a folder forgets what was kept of it.
func TestOnlyWhatIsFollowedStaysKept(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/a")
	p.api("other", "pets", "/others", "/a")
	p.write("other/project.yaml", "name: other\ndefinitions: {pets.yaml: {name: others}}\n")
	p.begun("shop", "other")
	p.untilKept(p.path("shop"), "/a")
	p.untilKept(p.path("other"), "/a")
	if info, err := os.Stat(p.path("postern.db")); err != nil || info.Mode().Perm() != 0o600 { // there are secrets in projects
		t.Errorf("%v, %v", info.Mode(), err)
	}
	p.stop()
	p.closeStore()
	p.begun("shop")
	p.until("the other is forgotten", func() bool {
		paths, err := p.keeper.KeptPaths(t.Context())
		return err == nil && slices.Equal(paths, []string{p.path("shop")})
	})
}

// TestLargeProjectsAreNotKept: they are told once, and what was kept before goes.
func TestLargeProjectsAreNotKept(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/a")
	p.begun("shop")
	p.untilKept(p.path("shop"), "/a")
	if err := os.WriteFile(p.path("shop/large.bin"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p.path("shop/large.bin"), maxKeptBytes); err != nil {
		t.Fatal(err)
	}
	p.until("nothing is kept", func() bool {
		paths, err := p.keeper.KeptPaths(t.Context())
		return err == nil && len(paths) == 0
	})
	p.keeper.note([]string{p.path("shop")}, time.Now())
	p.until("it was looked at again", func() bool { p.keeper.mu.Lock(); defer p.keeper.mu.Unlock(); return len(p.keeper.noted) == 0 })
	p.stop()
	if n := strings.Count(p.log.String(), "while it is broken, do not restart"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

// TestOnlyGoodStatesAreKept: what the desk found good may be broken by the time it is read for keeping.
func TestOnlyGoodStatesAreKept(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/a")
	p.begun("shop")
	p.untilKept(p.path("shop"), "/a")
	p.stop()
	p.write("shop/api_definitions/pets.yaml", broken)
	if err := p.keep(t.Context(), p.path("shop")); err != nil {
		t.Fatal(err)
	}
	p.untilKept(p.path("shop"), "/a")
}

func TestTheKeeperTakesTheLatestFirst(t *testing.T) {
	t.Parallel()
	k := newKeeper(nil)
	k.note([]string{"x"}, time.Now())
	if _, _, any := k.next(time.Now().Add(time.Hour)); any {
		t.Error("there is no store")
	}
	p := newSite(t)
	var o Options
	p.withStore(&o)
	k = newKeeper(o.Store)
	now := time.Now()
	k.note([]string{"a", "b"}, now)
	k.note([]string{"edit"}, now.Add(time.Second))
	k.note([]string{"edit"}, now.Add(1500*time.Millisecond)) // does not put it off
	var got []string
	for _, after := range []time.Duration{500, 1500, 2000, 2000, 2000} {
		path, in, any := k.next(now.Add(after * time.Millisecond))
		got = append(got, fmt.Sprintf("%s %v %v", strings.NewReplacer("a", "old", "b", "old").Replace(path), in, any))
	}
	if want := []string{" 500ms true", "old 0s true", "edit 0s true", "old 0s true", " 0s false"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// BenchmarkKeep is what keeping costs after an edit, with what it had to compile.
func BenchmarkKeep(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("definitions=%d", n), func(b *testing.B) {
			p := newSite(b)
			for i := range n {
				p.api("shop", fmt.Sprintf("api%d", i), fmt.Sprintf("/api%d", i), "/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/j")
			}
			p.begun("shop")
			p.untilState("shop", "api0/1.0.0", Live)
			b.ResetTimer()
			cpu := time.Duration(0)
			for i := range b.N {
				p.api("shop", "api0", "/api0", fmt.Sprintf("/edit%d", i))
				began := cpuTime(b)
				if err := p.keep(context.Background(), p.path("shop")); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime(b) - began
			}
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// TestPushesWarnOfWhatIsOver: as the commands do.
func TestPushesWarnOfWhatIsOver(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	text := strings.Replace(definition("pets", "/pets", "/a", "/b"), "/a: {get:", "/a: {x-postern-sunset: 2020-01-01, get:", 1)
	out := p.push(Push{Project: "shop", Archive: archive(t, map[string]string{filepath.Join("api_definitions", "pets.yaml"): text})})
	if !slices.ContainsFunc(out.Warnings, func(w model.Problem) bool { return w.Code == "sunset-passed" && w.Severity == model.Warning }) {
		t.Errorf("%+v", out)
	}
}
