package publish

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/xdstest"
)

// strict is what a push asks for unless somebody says otherwise.
var strict = Terms{Require: All}

// wantVerdicts compares "id state" and, for those who say why, a part of it: "id state: part".
func wantVerdicts(t *testing.T, result Result, want ...string) {
	t.Helper()
	if len(result.Verdicts) != len(want) {
		t.Fatalf("verdicts %+v, want %q", result.Verdicts, want)
	}
	for i, v := range result.Verdicts {
		line, detail, _ := strings.Cut(want[i], ": ")
		if got := fmt.Sprintf("%s %s", v.Gateway, v.State); got != line || !strings.Contains(v.Detail, detail) {
			t.Errorf("verdict %q (%s), want %q", got, v.Detail, want[i])
		}
	}
}

func wantMet(t *testing.T, result Result, met bool) {
	t.Helper()
	if result.Met != met {
		t.Errorf("met is %v: %+v", result.Met, result)
	}
}

func TestStrictRolloutThatAllTake(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	rollout := r.Begin(strict)
	result := rollout.Publish(t.Context(), api("a", 1))
	wantMet(t, result, true)
	wantVerdicts(t, result, "enf serving", "gw serving")
	rollout.Commit()
	if !r.Serving() {
		t.Errorf("not serving: %+v", r.Gateways())
	}
}

func TestStrictRolloutWithNobodyThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	result := r.Begin(strict).Publish(t.Context(), api("a", 1))
	wantMet(t, result, true)
	if !result.Unseen || len(result.Verdicts) != 0 {
		t.Errorf("%+v", result)
	}
}

func TestStrictRolloutEndsWithTheFirstSilentStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{PolicyWait: 500 * time.Millisecond})
	envoy := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	r.connect("enf", xds.RoleEnforcer, xdstest.Options{})
	quiet := r.connect("quiet", xds.RoleRateLimiter, xdstest.Options{})
	quiet.Become(xdstest.Silent)
	rollout := r.Begin(strict)
	result := rollout.Publish(t.Context(), api("a", 1))
	wantMet(t, result, false)
	wantVerdicts(t, result, "enf serving", "gw pending: not asked", "quiet pending: did not answer in time about Limits limits-a-1")
	result = rollout.Rollback(t.Context())
	wantMet(t, result, false)
	wantVerdicts(t, result, "enf serving", "gw serving", "quiet pending: did not answer in time")
	wantLog(t, envoy)
	if s := r.state("quiet"); s != Pending { // why: a rollout that is rolled back is missed once
		t.Errorf("quiet is %s", s)
	}
}

func TestStrictRolloutOfAPartOfTheEnvoys(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Wait: 2 * time.Second})
	for i := range 3 {
		r.connect(fmt.Sprint("gw", i), xds.RoleEnvoy, xdstest.Options{})
	}
	r.connect("quiet", xds.RoleEnvoy, xdstest.Options{}).Become(xdstest.Silent)
	for _, c := range []struct {
		percent int
		met     bool
	}{{76, false}, {75, true}} {
		rollout := r.Begin(Terms{Require{c.percent}})
		result := rollout.Publish(t.Context(), api(fmt.Sprint("api", c.percent), 1))
		wantMet(t, result, c.met)
		if c.met {
			wantVerdicts(t, result, "gw0 serving", "gw1 serving", "gw2 serving", "quiet pending")
			rollout.Commit()
			continue
		}
		wantVerdicts(t, result, "gw0 pending: not asked", "gw1 pending", "gw2 pending", "quiet pending: did not answer in time about Cluster cluster-api76-1")
		wantMet(t, rollout.Rollback(t.Context()), false)
	}
	rollout := r.Begin(strict) // silent twice: reported, not waited for
	result := rollout.Publish(t.Context(), api("later", 1))
	wantMet(t, result, true)
	wantVerdicts(t, result, "gw0 serving", "gw1 serving", "gw2 serving", "quiet lagging: 2 rollouts")
}

func TestARejectionEndsAStrictRolloutWhateverThePercentage(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	var others []*xdstest.Gateway
	for i := range 3 {
		others = append(others, r.connect(fmt.Sprint("gw", i), xds.RoleEnvoy, xdstest.Options{}))
	}
	taken := make(chan struct{})
	r.connect("odd", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, x *discoveryv3.Resource) string {
		if x.Name == "a" {
			<-taken // why: after a rejection the others are not waited for as long
		}
		return refuse("a", "not with me")(typeURL, x)
	}})
	rollout, done := r.Begin(Terms{Require{25}}), make(chan Result, 1)
	go func() { done <- rollout.Publish(t.Context(), api("a", 1)) }()
	for _, gw := range others {
		gw.Wait("the table", func(have map[string]map[string]string) bool { return have[xds.RouteType]["a"] != "" })
	}
	close(taken)
	result := <-done
	wantMet(t, result, false)
	wantVerdicts(t, result, "gw0 serving", "gw1 serving", "gw2 serving", "odd rejected: not with me")
	if n := len(result.Rejections); n == 0 || result.Rejections[0].Name != "a" || result.Rejections[0].APIs[0] != "a/1" {
		t.Errorf("rejections %+v", result.Rejections)
	}
	wantMet(t, rollout.Rollback(t.Context()), true)
}

func TestStrictRolloutInNoTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{}).Become(xdstest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // why not less: there must be time to ask
	defer cancel()
	rollout := r.Begin(strict)
	result := rollout.Publish(ctx, api("a", 1))
	wantMet(t, result, false)
	wantVerdicts(t, result, "gw pending: did not answer")
	wantMet(t, rollout.Rollback(ctx), false)
	if got := r.samples("postern_push_duration_seconds"); len(got) != 1 || !strings.Contains(got[0], "silent") {
		t.Errorf("counted as %v", got)
	}
}

func TestWhoIsLostIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	away := r.connect("away", xds.RoleEnvoy, xdstest.Options{})
	away.Become(xdstest.Silent)
	done := make(chan Result)
	rollout := r.Begin(strict)
	go func() { done <- rollout.Publish(t.Context(), api("a", 1)) }()
	away.Wait("something to be silent about", func(have map[string]map[string]string) bool { return len(have[xds.ClusterType]) == 1 })
	away.Close()
	result := <-done
	wantMet(t, result, true)
	wantVerdicts(t, result, "away lost: disconnected", "gw serving")
}

// TestAChangeThatEverybodyIsLostOverIsNotMet: it may be what they died of, and they are about to be back.
func TestAChangeThatEverybodyIsLostOverIsNotMet(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	gw := r.connect("gw", xds.RoleEnvoy, xdstest.Options{})
	gw.Become(xdstest.Silent)
	done := make(chan Result)
	rollout := r.Begin(strict)
	go func() { done <- rollout.Publish(t.Context(), api("a", 1)) }()
	gw.Wait("something to die of", func(have map[string]map[string]string) bool { return len(have[xds.ClusterType]) == 1 })
	gw.Close()
	result := <-done
	wantMet(t, result, false)
	wantVerdicts(t, result, "gw lost: disconnected")
}
