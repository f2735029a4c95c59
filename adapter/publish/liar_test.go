package publish

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// lie is one way not to be an honest gateway, and what is true of a rollout with one of that kind in it.
type lie struct {
	name      string
	behaviour xdstest.Behaviour
	state     State
	met       bool // with all of the gateways required
}

func lies(role string) []lie {
	first, last := xds.ClusterType, xds.RouteType
	if role == xds.RoleEnforcer {
		first, last = posternv1.PolicyType, posternv1.PolicyType
	}
	nothing := map[string]map[string]string{}
	bogus := map[string]map[string]string{first: {"cluster-a-1": "bogus", "policy-a-1": "bogus", "nobody's": "1"}, last: {"a": "bogus"}}
	return []lie{
		{"honest", xdstest.Honest, Serving, true},
		{"refuses all", xdstest.Refusing("", "not this"), Rejected, false},
		{"refuses one", xdstest.Refusing(map[string]string{xds.RoleEnvoy: "cluster-b", xds.RoleEnforcer: "policy-b"}[role], "not this"), Rejected, false},
		{"never answers", xdstest.Silent, Pending, false},
		{"answers late", xdstest.Late(20 * time.Millisecond), Serving, true},
		{"answers too late", xdstest.Late(2 * liarWait), Pending, false},
		{"leaves", xdstest.Leaving(first, false), Lost, true},
		{"leaves with the last", xdstest.Leaving(last, false), Lost, true},
		{"leaves and returns", xdstest.Leaving(first, true), Lost, true},
		{"returns and says it has nothing", xdstest.Claiming(nothing, xdstest.Leaving(last, true)), Lost, true},
		{"returns and says it has what is not", xdstest.Claiming(bogus, xdstest.Leaving(last, true)), Lost, true},
		{"acknowledges what was not sent", xdstest.Guessing, Pending, false},
		{"refuses what was not sent", xdstest.Slandering, Serving, true},
		{"accepts and refuses", xdstest.Contradicting(false), Serving, true},
		{"refuses and accepts", xdstest.Contradicting(true), Rejected, false},
		{"floods", xdstest.Flooding(100), Serving, true},
	}
}

// How long a step is waited for: where somebody is silent it takes that long, and where nobody is it must not run out on a
// busy machine.
const (
	liarWait = time.Second
	patient  = 10 * time.Second
)

// TestLies: whatever one gateway does, what is said of the rollout is true of what the gateways have, it ends in time,
// the others are served on, and once the liar is gone all is as if it had never been there.
func TestLies(t *testing.T) {
	t.Parallel()
	for _, role := range []string{xds.RoleEnvoy, xds.RoleEnforcer} {
		for _, percent := range []int{100, 50} {
			for _, lie := range lies(role) {
				t.Run(fmt.Sprintf("%s %s/%d", role, lie.name, percent), func(t *testing.T) {
					t.Parallel()
					wait := patient
					if lie.state == Pending {
						wait = liarWait
					}
					newCourt(t, wait).try(role, lie, percent)
				})
			}
		}
	}
}

// court is honest gateways, and one that is not known to be.
type court struct {
	*rig
	wait   time.Duration
	honest map[string]*xdstest.Gateway
}

func newCourt(t *testing.T, wait time.Duration) *court {
	c := &court{rig: newRig(t, Options{Wait: patient, PolicyWait: patient}), wait: wait, honest: map[string]*xdstest.Gateway{}}
	for id, role := range map[string]string{"gw1": xds.RoleEnvoy, "gw2": xds.RoleEnvoy, "enf": xds.RoleEnforcer, "rl": xds.RoleRateLimiter} {
		c.honest[id] = c.connect(id, role, xdstest.Options{})
	}
	c.publish(api("a", 1))
	c.waits(wait)
	return c
}

// waits sets how long a step is waited for from now on. No rollout is open.
func (c *court) waits(wait time.Duration) { c.options.Wait, c.options.PolicyWait = wait, wait }

func (c *court) try(role string, l lie, percent int) {
	liar := c.connect("liar", role, xdstest.Options{})
	liar.Become(l.behaviour)
	change := merge(edit("a", 1, 2), api("b", 1))
	began, rollout := time.Now(), c.Begin(Terms{Require{percent}})
	result := rollout.Publish(c.t.Context(), change)
	met := l.met || percent == 50 && role == xds.RoleEnvoy && l.state == Pending
	wantMet(c.t, result, met)
	c.judge(result, liar, l.state, change)
	if met {
		rollout.Commit()
		c.served(change)
	} else {
		c.judgeRollback(rollout.Rollback(c.t.Context()), liar)
		c.served(api("a", 1))
	}
	if took := time.Since(began); took > 8*c.wait {
		c.t.Errorf("it took %v", took)
	}
	liar.Close()
	c.until("the liar gone", func() bool { return c.state("liar") == Lost || c.state("liar") == "" })
	c.waits(patient)
	rollout = c.Begin(strict)
	result = rollout.Publish(c.t.Context(), api("c", 1))
	wantMet(c.t, result, true)
	wantVerdicts(c.t, result, "enf serving", "gw1 serving", "gw2 serving", "rl serving")
	rollout.Commit()
	c.served(api("c", 1))
}

// judge compares what is said of a rollout with what the gateways have.
func (c *court) judge(result Result, liar *xdstest.Gateway, state State, change translate.Delta) {
	c.t.Helper()
	for _, v := range result.Verdicts {
		gw := c.honest[v.Gateway]
		if v.Gateway == "liar" {
			gw = liar
			if v.State != state {
				c.t.Errorf("the liar is %s (%s), want %s", v.State, v.Detail, state)
			}
		}
		has := holds(gw, v.Role, change)
		if v.State == Serving && !has || v.State == Rejected && has || (v.State != Serving && v.Detail == "") {
			c.t.Errorf("%s is said to be %s (%s), and it is %v that it has the change", v.Gateway, v.State, v.Detail, has)
		}
	}
	if rejected := len(result.Rejections) > 0; rejected != (state == Rejected) {
		c.t.Errorf("rejections %+v", result.Rejections)
	}
	for _, r := range result.Rejections {
		if r.Gateway != "liar" || r.Words == "" || r.Name == "" || len(r.APIs) != 1 {
			c.t.Errorf("rejection %+v", r)
		}
	}
}

// judgeRollback: who is said to have what was before has it, and none of the routes that were not kept.
func (c *court) judgeRollback(result Result, liar *xdstest.Gateway) {
	c.t.Helper()
	all := true
	for _, v := range result.Verdicts {
		gw := c.honest[v.Gateway]
		if v.Gateway == "liar" {
			gw = liar
		}
		all = all && v.State == Serving
		if v.State != Serving {
			continue
		}
		if !holds(gw, v.Role, api("a", 1)) || gw.Version(xds.RouteType, "b")+gw.Version(xds.ScopeType, "b") != "" {
			c.t.Errorf("%s is said to have what was before, and has %v", v.Gateway, gw.State())
		}
	}
	if result.Met != all {
		c.t.Errorf("met is %v: %+v", result.Met, result.Verdicts)
	}
}

// served: the honest ones have this.
func (c *court) served(d translate.Delta) {
	c.t.Helper()
	for _, v := range c.Gateways() {
		if gw := c.honest[v.ID]; gw != nil && !holds(gw, v.Role, d) {
			c.t.Errorf("%s has %v", v.ID, gw.State())
		}
	}
}

// holds says that a gateway has all that a change puts.
func holds(gw *xdstest.Gateway, role string, d translate.Delta) bool {
	for typeURL, changes := range map[string]translate.Changes{
		posternv1.PolicyType: d.Policies, posternv1.LimitsType: d.Limits,
		xds.ClusterType: d.Clusters, xds.ScopeType: d.Scopes, xds.RouteType: d.Routes,
	} {
		if types[typeURL] == role && slices.ContainsFunc(changes.Put, func(r translate.Resource) bool {
			return gw.Version(typeURL, r.Name) != r.Version
		}) {
			return false
		}
	}
	return true
}

// TestAProphetIsAskedLikeEverybody: who claims when it connects to have what is published later has to acknowledge it.
func TestAProphetIsAskedLikeEverybody(t *testing.T) {
	t.Parallel()
	c := newCourt(t, liarWait)
	change := edit("a", 1, 2)
	claim := c.honest["gw1"].State()
	for typeURL, changes := range map[string]translate.Changes{xds.ClusterType: change.Clusters, xds.RouteType: change.Routes} {
		for _, r := range changes.Put {
			claim[typeURL][r.Name] = r.Version
		}
	}
	liar := xdstest.Join(t, c.address, xds.Node{ID: "liar", Label: xds.DefaultLabel, Role: xds.RoleEnvoy}, xdstest.Claiming(claim, xdstest.Honest))
	c.until("there", func() bool { return c.state("liar") == Serving })
	liar.Become(xdstest.Silent)
	rollout := c.Begin(strict)
	result := rollout.Publish(t.Context(), change)
	wantMet(t, result, false)
	c.judge(result, liar, Pending, change)
	rollout.Rollback(t.Context())
}

// TestWhoIsSilentAboutTheWayBack is told as soon as it listens, and until then nobody says it has been.
func TestWhoIsSilentAboutTheWayBack(t *testing.T) {
	t.Parallel()
	c := newCourt(t, liarWait)
	liar := c.connect("liar", xds.RoleEnvoy, xdstest.Options{})
	change := edit("a", 1, 2)
	rollout := c.Begin(strict)
	wantMet(t, rollout.Publish(t.Context(), change), true)
	liar.Become(xdstest.Silent)
	result := rollout.Rollback(t.Context())
	wantMet(t, result, false)
	wantVerdicts(t, result, "enf serving", "gw1 serving", "gw2 serving", "liar pending: did not answer in time about RouteConfiguration a", "rl serving")
	if c.Serving() {
		t.Error("said to be serving what is committed")
	}
	liar.Become(xdstest.Honest)
	liar.Answer()
	c.until("serving", c.Serving)
	if !holds(liar, xds.RoleEnvoy, api("a", 1)) {
		t.Errorf("it has %v", liar.State())
	}
}

// TestWhoRefusesTheWayBack keeps nobody else from it.
func TestWhoRefusesTheWayBack(t *testing.T) {
	t.Parallel()
	c := newCourt(t, liarWait)
	liar := c.connect("liar", xds.RoleEnvoy, xdstest.Options{})
	rollout := c.Begin(strict)
	wantMet(t, rollout.Publish(t.Context(), merge(edit("a", 1, 2), api("b", 1))), true)
	liar.Become(xdstest.Refusing("a", "I like it"))
	result := rollout.Rollback(t.Context())
	wantMet(t, result, false)
	wantVerdicts(t, result, "enf serving", "gw1 serving", "gw2 serving", "liar rejected: I like it", "rl serving")
	c.judgeRollback(result, liar)
	c.served(api("a", 1))
	if liar.Version(xds.ScopeType, "b") != "" {
		t.Error("a refusal on the way back ended it")
	}
}

// TestARejectionByWhoIsNotWaitedForEndsARollout: one that was silent twice may have something to say after all.
func TestARejectionByWhoIsNotWaitedForEndsARollout(t *testing.T) {
	t.Parallel()
	c := newCourt(t, liarWait)
	liar := c.connect("liar", xds.RoleEnvoy, xdstest.Options{})
	liar.Become(xdstest.Silent)
	for i := range 2 {
		rollout := c.Begin(strict)
		wantMet(t, rollout.Publish(t.Context(), api(fmt.Sprint("silent", i), 1)), false)
		rollout.Rollback(t.Context())
	}
	if s := c.state("liar"); s != Lagging {
		t.Fatalf("the liar is %s", s)
	}
	liar.Become(xdstest.Refusing("cluster-c", "no"))
	c.honest["gw1"].Become(xdstest.Silent) // until the liar has said it
	rollout, done := c.Begin(strict), make(chan Result, 1)
	go func() { done <- rollout.Publish(t.Context(), api("c", 1)) }()
	c.until("the liar's words", func() bool { return c.state("liar") == Rejected })
	c.honest["gw1"].Become(xdstest.Honest)
	c.honest["gw1"].Answer()
	result := <-done
	wantMet(t, result, false)
	c.judge(result, liar, Rejected, api("c", 1))
	rollout.Rollback(t.Context())
}
