package adapter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

func warned(out Outcome, code string) bool {
	return slices.ContainsFunc(out.Warnings, func(p model.Problem) bool { return p.Code == code })
}

func TestPushSaysThatNoEnvoyServesIt(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.gateway("enforcer", xds.RoleEnforcer, xdstest.Options{})
	if out := p.push(Push{Project: "a", Archive: one(t, "a", "/a", "/x")}); !out.Committed || !warned(out, "no-gateway") {
		t.Errorf("no Envoy is there: %+v", out)
	}
	g := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	if out := p.push(Push{Project: "a", Archive: one(t, "a", "/a", "/y")}); warned(out, "no-gateway") {
		t.Errorf("an Envoy is there: %+v", out)
	}
	g.Close()
	p.until("the gateway is gone", func() bool {
		return slices.ContainsFunc(p.Status().Gateways, func(g publish.Gateway) bool { return g.ID == "gw" && g.State == publish.Lost })
	})
	for _, path := range []string{"/z", "/z"} { // what is changed, and what is not
		out := p.push(Push{Project: "a", Archive: one(t, "a", "/a", path)})
		if !warned(out, "no-gateway") || !slices.ContainsFunc(out.Gateways, func(v publish.Verdict) bool { return v.Gateway == "gw" && v.State == publish.Lost }) {
			t.Errorf("the Envoy is gone: %+v", out)
		}
	}
}

// TestPushIsNotServedByWhoNeverAnswers: an Envoy that has been silent for so long that pushes do not wait for it is none
// that serves them.
func TestPushIsNotServedByWhoNeverAnswers(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	g := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	g.Become(xdstest.Silent)
	for i := range 4 {
		failed := p.refused(Push{Project: "a", Archive: one(t, "a", "/a", fmt.Sprint("/x", i)), Wait: 500 * time.Millisecond}, Silent)
		if i == 3 && !strings.Contains(failed.Words, "label default") {
			t.Errorf("%q", failed.Words)
		}
	}
	g.Become(xdstest.Honest)
	g.Answer()
	p.push(Push{Project: "a", Archive: one(t, "a", "/a", "/x")})
}

// TestSilentPushNamesWhoIsSilent, and not an Envoy that nothing was asked, because the enforcer before it was silent or gone.
func TestSilentPushNamesWhoIsSilent(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	enforcer := p.gateway("guard", xds.RoleEnforcer, xdstest.Options{})
	p.until("both are there", func() bool { return p.Serving() && len(p.Status().Gateways) == 2 })
	enforcer.Become(xdstest.Silent)
	failed := p.refused(Push{Project: "a", Archive: one(t, "a", "/a", "/x"), Wait: 200 * time.Millisecond}, Silent)
	if !strings.Contains(failed.Words, "enforcer guard") || strings.Contains(failed.Words, "gw") {
		t.Errorf("the enforcer is silent: %q", failed.Words)
	}
	go func() {
		enforcer.Wait("the policy", func(have map[string]map[string]string) bool { return len(have[posternv1.PolicyType]) > 0 })
		enforcer.Close()
	}()
	failed = p.refused(Push{Project: "a", Archive: one(t, "a", "/a", "/y")}, Silent)
	if !strings.Contains(failed.Words, "enforcer guard went away") || strings.Contains(failed.Words, "gw") {
		t.Errorf("the enforcer is gone: %q", failed.Words)
	}
}

func TestUnchangedPushAsksForWhatItIsAbout(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.gateway("good", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})
	block := make(chan struct{})
	defer close(block)
	p.gateway("stuck", xds.RoleEnvoy, xdstest.Options{Refuse: func(string, *discoveryv3.Resource) string { <-block; return "" }})
	p.until("both are there", func() bool { return len(p.Status().Gateways) == 2 })
	out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet"), Wait: time.Second})
	if !out.Unchanged || len(out.Gateways) != 2 || out.Gateways[0].State != publish.Serving || out.Gateways[1].State != publish.Pending {
		t.Errorf("%+v", out)
	}
}

func TestProjectOfWhichNothingIsServedIsRejected(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/poison")})
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
	p.until("it is withdrawn", func() bool { return len(p.Served("default")) == 0 })
	info, err := p.Project(context.Background(), "shop")
	if err != nil || info.State != Rejected || !strings.Contains(info.Words, "this is poison") || len(info.APIs) != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestPushesOfOneBasePathAtOnce: one of them has it, and the others are told where it is.
func TestPushesOfOneBasePathAtOnce(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Behaviour: xdstest.Late(5 * time.Millisecond)})
	p.until("the gateway is there", p.Serving)
	var group sync.WaitGroup
	results := make(chan error, 6)
	for i := range 6 {
		group.Go(func() {
			name := fmt.Sprint("p", i)
			_, err := p.Push(context.Background(), Push{Project: name, Archive: one(t, name, "/same", "/x"), Wait: patience})
			results <- err
		})
	}
	group.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
		} else if text := err.Error(); !strings.Contains(text, "conflict") || strings.Count(text, "api_definitions/") < 2 {
			t.Errorf("%v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d have it", won)
	}
}
