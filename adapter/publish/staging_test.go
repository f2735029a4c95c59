package publish

import (
	"slices"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// everything is how many resources of all types a gateway has.
func everything(have map[string]map[string]string) int {
	n := 0
	for _, of := range have {
		n += len(of)
	}
	return n
}

func TestWhoJoinsGetsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		r := newRig(t, Options{})
		was := r.connect("was there", xds.RoleEnvoy, xdstest.Options{})
		r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
		r.publish(api("a", 1))
		committed := was.Version(xds.RouteType, "a")

		rollout := r.Begin(strict)
		wantMet(t, rollout.Publish(t.Context(), merge(edit("a", 1, 2), api("b", 1))), true)
		staged := was.Version(xds.RouteType, "a")
		joined := r.connect("joined", xds.RoleEnvoy, xdstest.Options{})
		enforcer := r.connect("enf joined", xds.RoleEnforcer, xdstest.Options{})
		if joined.Version(xds.RouteType, "a") != committed || everything(joined.State()) != 3 || everything(enforcer.State()) != 1 {
			t.Errorf("who joins has %v and %v", joined.State(), enforcer.State())
		}
		joined.Reset()
		was.Reset()
		if commits {
			rollout.Commit()
			joined.Wait("the change", func(have map[string]map[string]string) bool {
				return have[xds.RouteType]["a"] == staged && have[xds.RouteType]["b"] != ""
			})
			wantLog(t, was)
			wantLog(t, joined, "Cluster +cluster-a-2", "Cluster +cluster-b-1", "RouteConfiguration +a", "ScopedRouteConfiguration +b", "RouteConfiguration +b")
			enforcer.Wait("the policies", func(have map[string]map[string]string) bool { return everything(have) == 3 })
			r.until("serving", r.Serving)
			continue
		}
		result := rollout.Rollback(t.Context())
		wantMet(t, result, true)
		wantVerdicts(t, result, "enf serving", "was there serving")
		wantLog(t, was, "RouteConfiguration +a", "ScopedRouteConfiguration -b")
		wantLog(t, joined)
		if !r.Serving() {
			t.Errorf("%+v", r.Gateways())
		}
	}
}

// TestWhatWasTakenBackLingers: a request may have chosen a route that is gone, and a gateway that is away may have it yet.
func TestWhatWasTakenBackLingers(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	away := r.connect("away", xds.RoleEnvoy, xdstest.Options{})
	enforcer := r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	r.publish(api("a", 1))
	rollout := r.Begin(strict)
	rollout.Publish(t.Context(), edit("a", 1, 2))
	away.Close()
	r.until("lost", func() bool { return r.state("away") == Lost })
	wantVerdicts(t, rollout.Rollback(t.Context()), "enf serving", "away lost: disconnected", "gw serving")
	if gw.Version(xds.ClusterType, "cluster-a-2") == "" || enforcer.Version(posternv1.PolicyType, "policy-a-2") == "" {
		t.Error("what a request may be on its way through is gone")
	}
	joined := r.connect("joined", xds.RoleEnvoy, xdstest.Options{})
	if everything(joined.State()) != 3 {
		t.Errorf("who joins has %v", joined.State())
	}
	r.advance(2 * time.Minute)
	if enforcer.Version(posternv1.PolicyType, "policy-a-2") == "" {
		t.Error("the policy of an absent gateway's routes is gone")
	}
	r.connect("away", xds.RoleEnvoy, xdstest.Options{Have: away.State()}).Wait("what is committed", func(have map[string]map[string]string) bool {
		return have[xds.RouteType]["a"] == gw.Version(xds.RouteType, "a")
	})
	r.until("serving", r.Serving)
	r.advance(2 * time.Minute)
	gw.Wait("one cluster", func(have map[string]map[string]string) bool { return len(have[xds.ClusterType]) == 1 })
	enforcer.Wait("one policy", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) == 1 })
	if len(r.staged) != 0 {
		t.Errorf("staged for ever: %v", r.staged)
	}
}

// TestWhatWasTakenBackIsWantedAgain before it has gone.
func TestWhatWasTakenBackIsWantedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.publish(api("a", 1))
	rollout := r.Begin(strict)
	rollout.Publish(t.Context(), edit("a", 1, 2))
	rollout.Rollback(t.Context())
	joined := r.connect("joined", xds.RoleEnvoy, xdstest.Options{})

	gw.Reset()
	rollout = r.Begin(strict)
	result := rollout.Publish(t.Context(), edit("a", 1, 2))
	wantMet(t, result, true)
	wantVerdicts(t, result, "gw serving", "joined serving")
	wantLog(t, gw, "RouteConfiguration +a")
	if joined.Version(xds.ClusterType, "cluster-a-2") == "" {
		t.Error("who joined between them lacks the cluster")
	}
	r.advance(2 * time.Minute)
	if gw.Version(xds.ClusterType, "cluster-a-2") == "" {
		t.Error("the cluster is gone from under a rollout")
	}
	rollout.Commit()
	r.advance(2 * time.Minute)
	gw.Wait("the old cluster gone", func(have map[string]map[string]string) bool {
		return slices.Equal(sorted(have[xds.ClusterType]), []string{"cluster-a-2"})
	})
}

// TestReturnInTheMiddle: who comes back in the middle of a rollout with what was staged is brought to what is committed,
// and the rollout says so.
func TestReturnInTheMiddle(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	first := r.connect("back", xds.RoleEnvoy, xdstest.Options{})
	r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	r.publish(api("a", 1))
	committed := first.Version(xds.RouteType, "a")
	enforcer := r.connect("late", xds.RoleEnforcer, xdstest.Options{})
	enforcer.Become(xdstest.Silent)

	rollout, done := r.Begin(strict), make(chan Result)
	go func() { done <- rollout.Publish(t.Context(), merge(edit("a", 1, 2), api("b", 1))) }()
	enforcer.Wait("a question", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) == 3 })
	first.Close()
	second := r.connect("back", xds.RoleEnvoy, xdstest.Options{Have: first.State()})
	enforcer.Become(xdstest.Honest)
	enforcer.Answer()
	result := <-done
	wantMet(t, result, true)
	wantVerdicts(t, result, "enf serving", "late serving", "back lost: came back", "gw serving")
	if second.Version(xds.RouteType, "a") != committed {
		t.Error("who came back has what is staged")
	}

	third := r.connect("back", xds.RoleEnvoy, xdstest.Options{Have: gw.State()})
	third.Wait("what is committed", func(have map[string]map[string]string) bool {
		return have[xds.RouteType]["a"] == committed && have[xds.ScopeType]["b"] == ""
	})
	rollout.Commit()
	third.Wait("the change", func(have map[string]map[string]string) bool {
		return have[xds.RouteType]["a"] != committed && have[xds.RouteType]["b"] != ""
	})
	r.until("serving", r.Serving)
}

func sorted(have map[string]string) []string {
	var names []string
	for name := range have {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestTakenBackOverWhatWasUndeployed: what was served long before is not what was before.
func TestTakenBackOverWhatWasUndeployed(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.publish(api("a", 1))
	r.publish(removal("a", 1))
	gw.Reset()
	for range 2 {
		rollout := r.Begin(strict)
		wantMet(t, rollout.Publish(t.Context(), api("a", 2)), true)
		wantMet(t, rollout.Rollback(t.Context()), true)
	}
	wantLog(t, gw, "Cluster +cluster-a-2", "ScopedRouteConfiguration +a", "RouteConfiguration +a", "ScopedRouteConfiguration -a",
		"ScopedRouteConfiguration +a", "RouteConfiguration +a", "ScopedRouteConfiguration -a")
	r.publish(api("a", 1))
	if holds(gw, xds.RoleEnvoy, api("a", 2)) || !holds(gw, xds.RoleEnvoy, api("a", 1)) {
		t.Errorf("it has %v", gw.State())
	}
	r.advance(2 * time.Minute)
	gw.Wait("the one cluster", func(have map[string]map[string]string) bool {
		return slices.Equal(sorted(have[xds.ClusterType]), []string{"cluster-a-1"})
	})
	if len(r.staged)+len(r.left) != 0 || len(r.entries) != 5 {
		t.Errorf("staged %v, left %v, %d entries", r.staged, r.left, len(r.entries))
	}
}
