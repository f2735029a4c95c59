package publish

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// crowd is gateways and what is committed of each API: its version, 0 for none.
type crowd struct {
	*rig
	gateways map[string]*xdstest.Gateway

	mu        sync.Mutex
	committed map[string]int
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{rig: newRig(t, Options{}), gateways: map[string]*xdstest.Gateway{}, committed: map[string]int{}}
	for id, role := range map[string]string{
		"gw1": xds.RoleEnvoy, "gw2": xds.RoleEnvoy, "commuter": xds.RoleEnvoy,
		"enf1": xds.RoleEnforcer, "enf2": xds.RoleEnforcer, "rl": xds.RoleRateLimiter,
	} {
		c.gateways[id] = c.connect(id, role, xdstest.Options{})
	}
	c.gateways["gw2"].Become(xdstest.Behaviour{Delay: 3 * time.Millisecond, Refuse: refuseEvery5th})
	return c
}

// refuseEvery5th refuses a part of every fifth version, another one each time.
func refuseEvery5th(typeURL string, r *discoveryv3.Resource) string {
	switch {
	case typeURL == xds.ClusterType && strings.HasSuffix(r.Name, "-5"),
		typeURL == xds.RouteType && strings.Contains(string(r.Resource.Value), "-10"):
		return "not the fifth"
	}
	return ""
}

// TestManyRolloutsAtOnce: rollouts of different APIs are open at the same time, are kept, rejected and taken back, while
// gateways come and go and time passes. What each says of a gateway is true of it, and in the end everybody has what was
// kept and nothing else.
func TestManyRolloutsAtOnce(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	var pushers, others sync.WaitGroup
	done := make(chan struct{})
	for i := range 12 {
		pushers.Go(func() { c.push(fmt.Sprintf("api%02d", i), 12) })
	}
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				c.gateways["commuter"].Return()
				c.advance(2 * time.Minute)
			}
		}
	})
	pushers.Wait()
	close(done)
	others.Wait()
	c.until("serving", c.Serving)
	c.settled()
}

// push brings out versions of an API, one after the other.
func (c *crowd) push(name string, versions int) {
	was := 0
	for version := 1; version <= versions; version++ {
		change, is := api(name, version), version
		switch {
		case was != 0 && version%7 == 0:
			change, is = removal(name, was), 0
		case was != 0:
			change = edit(name, was, version)
		}
		rollout := c.Begin(strict)
		result := rollout.Publish(c.t.Context(), change)
		c.believe(result, change)
		if rejected := len(result.Rejections) > 0; rejected != (version%5 == 0) || rejected == result.Met {
			c.t.Errorf("%s %d: %+v", name, version, result)
		}
		if !result.Met || rand.IntN(3) == 0 {
			rollout.Rollback(c.t.Context())
			continue
		}
		rollout.Commit()
		was = is
		c.mu.Lock()
		c.committed[name] = is
		c.mu.Unlock()
	}
}

// believe: who is said to serve a change has it.
func (c *crowd) believe(result Result, change translate.Delta) {
	for _, v := range result.Verdicts {
		if has := holds(c.gateways[v.Gateway], v.Role, change); v.State == Serving && !has {
			c.t.Errorf("%s is said to be serving, and has %v", v.Gateway, c.gateways[v.Gateway].State())
		}
		if v.State != Serving && v.Gateway != "commuter" && len(result.Rejections) == 0 {
			c.t.Errorf("%s is %s: %s", v.Gateway, v.State, v.Detail)
		}
	}
}

// settled: everybody has what was kept and nothing else, and the publisher nothing in hand.
func (c *crowd) settled() {
	c.until("nothing in hand", func() bool {
		c.advance(2 * time.Minute)
		c.Publisher.mu.Lock()
		defer c.Publisher.mu.Unlock()
		return len(c.staged)+len(c.left)+len(c.retirees)+len(c.unproven) == 0
	})
	want, n := translate.Delta{}, 0
	for name, version := range c.committed {
		if version > 0 {
			want, n = merge(want, api(name, version)), n+1
		}
	}
	for id, gw := range c.gateways {
		for _, g := range c.Gateways() {
			if g.ID != id {
				continue
			}
			gw.Wait("what is kept and nothing else", func(have map[string]map[string]string) bool {
				return everything(have) == n*map[string]int{xds.RoleEnvoy: 3, xds.RoleEnforcer: 1, xds.RoleRateLimiter: 1}[g.Role]
			})
			if !holds(gw, g.Role, want) {
				c.t.Errorf("%s has %v", id, gw.State())
			}
		}
	}
	if late := c.TakeLate(); len(late) > 0 {
		c.t.Errorf("late %+v", late)
	}
	if len(c.entries) != 5*n || c.caches[posternv1.PolicyType].Len() != n {
		c.t.Errorf("%d entries, %d policies of %d APIs", len(c.entries), c.caches[posternv1.PolicyType].Len(), n)
	}
}
