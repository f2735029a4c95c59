package publish

import (
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// probed is an API with what is to be asked about it.
func probed(n string, version int) translate.Delta {
	d := api(n, version)
	d.Probes = translate.Changes{Put: []translate.Resource{{
		Name: n + "/1", Version: "same", Message: &posternv1.Probe{Api: n + "/1"}, APIs: []string{n + "/1"},
	}}}
	return d
}

// prober connects the prober beside an Envoy.
func (r *rig) prober(envoy string, o xdstest.Options) *xdstest.Gateway {
	r.t.Helper()
	o.Node = xds.Node{ID: envoy + "/prober", Label: xds.DefaultLabel, Role: xds.RoleProber}
	return r.join(o, func(y party) bool { return y.finished || o.Silent })
}

func (r *rig) untilLog(g *xdstest.Gateway, want ...string) {
	r.t.Helper()
	fixture.WaitFor(r.t, "what it sees", func() bool { return len(g.Log()) >= len(want) })
	wantLog(r.t, g, want...)
}

func TestProbesAreAskedWhenAllIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.connect("older", xds.RoleEnvoy, xdstest.Options{}) // has no prober, and is believed
	taken := 0
	prober := r.prober("gw", xdstest.Options{Refuse: func(string, *discoveryv3.Resource) string {
		taken = len(gw.State()[xds.RouteType])
		return ""
	}})
	for _, version := range []int{1, 2} { // what is asked is the same each time
		rollout := r.Begin(strict)
		result := rollout.Publish(t.Context(), probed("a", version))
		wantMet(t, result, true)
		wantVerdicts(t, result, "gw serving", "older serving")
		rollout.Commit()
	}
	r.untilLog(prober, "Probe +a/1", "Probe -a/1", "Probe +a/1", "Probe -a/1")
	if taken != 1 {
		t.Errorf("the probe came when %d route tables were there", taken)
	}
	if len(r.Gateways()) != 2 || !r.Serving() {
		t.Errorf("gateways %+v", r.Gateways())
	}
	late := r.prober("gw", xdstest.Options{})
	rollout := r.Begin(strict)
	wantMet(t, rollout.Publish(t.Context(), api("b", 1)), true)
	rollout.Commit()
	wantLog(t, late) // nothing is kept for those who come later
}

func TestAProbeThatFailsEndsTheRollout(t *testing.T) {
	t.Parallel()
	for name, terms := range map[string]Terms{"strict": strict, "one of them is enough": {Require{1}}, "converging": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{})
			gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
			r.connect("other", xds.RoleEnvoy, xdstest.Options{})
			r.prober("gw", xdstest.Options{Refuse: refuse("a/1", "GET /x: found no operation (404)")})
			r.prober("other", xdstest.Options{})
			rollout := r.Begin(terms)
			result := rollout.Publish(t.Context(), probed("a", 1))
			wantMet(t, result, false)
			wantVerdicts(t, result, "gw rejected: GET /x: found no operation", "other serving")
			want := Rejection{TypeURL: posternv1.ProbeType, Name: "a/1", Gateway: "gw", Role: xds.RoleEnvoy, Words: "GET /x: found no operation (404)", Probe: true}
			if len(result.Rejections) != 1 || !slices.Equal(result.Rejections[0].APIs, []string{"a/1"}) {
				t.Fatalf("rejections %+v", result.Rejections)
			}
			if got := result.Rejections[0]; got.TypeURL != want.TypeURL || got.Name != want.Name || got.Gateway != want.Gateway || got.Role != want.Role || got.Words != want.Words || !got.Probe {
				t.Errorf("rejection %+v, want %+v", got, want)
			}
			if !terms.strict() { // it goes on without
				result = rollout.Publish(t.Context(), probed("b", 1))
				wantMet(t, result, true)
				wantVerdicts(t, result, "gw serving", "other serving")
				rollout.Commit()
				return
			}
			wantMet(t, rollout.Rollback(t.Context()), true)
			if have := gw.State()[xds.ScopeType]; len(have) > 0 {
				t.Errorf("left after the rollback: %v", have)
			}
			rollout = r.Begin(terms)
			wantMet(t, rollout.Publish(t.Context(), probed("c", 1)), true)
			rollout.Commit()
		})
	}
}

func TestASilentProberIsASilentGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Wait: 500 * time.Millisecond})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.connect("other", xds.RoleEnvoy, xdstest.Options{})
	r.prober("gw", xdstest.Options{}).Become(xdstest.Silent)
	r.prober("other", xdstest.Options{})
	for _, c := range []struct {
		percent int
		met     bool
	}{{100, false}, {50, true}} {
		rollout := r.Begin(Terms{Require{c.percent}})
		result := rollout.Publish(t.Context(), probed("a", 1))
		wantMet(t, result, c.met)
		wantVerdicts(t, result, "gw pending: did not say in time", "other serving")
		rollout.Rollback(t.Context())
	}
	rollout := r.Begin(strict) // silent twice: not waited for, and its Envoy is believed
	result := rollout.Publish(t.Context(), probed("a", 1))
	wantMet(t, result, true)
	wantVerdicts(t, result, "gw serving", "other serving")
}

// TestAProberThatLeavesSaysNothing: whose prober goes away when it is asked is as if it had gone itself, whether or not the
// prober comes back.
func TestAProberThatLeavesSaysNothing(t *testing.T) {
	t.Parallel()
	for name, returns := range map[string]bool{"for good": false, "for once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{})
			r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
			leaving := r.prober("gw", xdstest.Options{})
			leaving.Become(xdstest.Leaving(posternv1.ProbeType, returns))
			rollout := r.Begin(strict)
			result := rollout.Publish(t.Context(), probed("a", 1))
			wantMet(t, result, false)
			wantVerdicts(t, result, "gw lost: disconnected before it said")
			rollout.Rollback(t.Context())

			leaving.Become(xdstest.Honest)
			leaving.Return()
			r.until("the prober", func() bool { return r.probers("gw") == 1 })
			r.connect("other", xds.RoleEnvoy, xdstest.Options{})
			r.prober("other", xdstest.Options{})
			leaving.Become(xdstest.Leaving(posternv1.ProbeType, returns))
			rollout = r.Begin(strict)
			result = rollout.Publish(t.Context(), probed("a", 1))
			wantMet(t, result, true) // as without the one that is lost
			wantVerdicts(t, result, "gw lost: disconnected before it said", "other serving")
			rollout.Commit()
		})
	}
}

// probers is how many are connected beside an Envoy.
func (r *rig) probers(envoy string) (n int) {
	r.Publisher.mu.Lock()
	defer r.Publisher.mu.Unlock()
	for _, y := range r.parties() {
		if y.node.ID == envoy+"/prober" && y.finished {
			n++
		}
	}
	return n
}

// TestWhoCannotBeAskedIsSaidSo: it is believed, and nobody is told that it was asked.
func TestWhoCannotBeAskedIsSaidSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("older", xds.RoleEnvoy, xdstest.Options{})
	publish := func(d translate.Delta) Result {
		rollout := r.Begin(strict)
		defer rollout.Commit()
		result := rollout.Publish(t.Context(), d)
		wantMet(t, result, true)
		return result
	}
	wantVerdicts(t, publish(probed("a", 1)), "older serving: could not be asked")
	if v := publish(api("b", 1)).Verdicts[0]; v.Detail != "" { // there is nothing to ask
		t.Errorf("%+v", v)
	}
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.prober("gw", xdstest.Options{})
	result := publish(probed("a", 2))
	wantVerdicts(t, result, "gw serving", "older serving: could not be asked")
	if d := result.Verdicts[0].Detail; d != "" {
		t.Errorf("of who was asked: %s", d)
	}
}

func TestAProberCountsAsLongAsItsEnvoyDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Wait: 500 * time.Millisecond})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.prober("gone", xdstest.Options{Refuse: refuse("", "its Envoy does not answer")})
	rollout := r.Begin(strict)
	result := rollout.Publish(t.Context(), probed("a", 1))
	wantMet(t, result, true)
	wantVerdicts(t, result, "gw serving")
	rollout.Commit()

	r.connect("quiet", xds.RoleEnvoy, xdstest.Options{}).Become(xdstest.Silent)
	r.prober("quiet", xdstest.Options{Refuse: refuse("", "found no route table (404)")})
	for _, terms := range []Terms{{Require{50}}, {}} {
		rollout := r.Begin(terms)
		result := rollout.Publish(t.Context(), probed("b", 1))
		wantMet(t, result, true)
		wantVerdicts(t, result, "gw serving", "quiet pending")
		rollout.Rollback(t.Context())
	}
}
