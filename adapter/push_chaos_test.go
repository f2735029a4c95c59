package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/xdstest"
)

// TestPushesAmongEdits: while folders are edited and projects pushed side by side, all wanting the same few base paths and
// some of them refused by a gateway, what a push has said is so, and in the end the gateways have what is committed and
// nothing else.
func TestPushesAmongEdits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newSite(t)
			p.api("folder", "f", "/s0/0", "/x")
			p.api("theirs", "theirs", "/theirs", "/x")
			p.labels("theirs", "partner") // why: a label without a project may end, so soon, before its first gateway is there
			p.start(func(o *Options) { p.withStore(o); o.Publish.Linger = 20 * time.Millisecond }, "folder", "theirs")
			gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
			other := p.gateway("other", xds.RoleEnvoy, xdstest.Options{})
			partner := p.gateway("partner", xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: "partner"}})
			p.until("the gateways are there", p.Serving)

			var group sync.WaitGroup
			pushers := make([]*pusher, 4)
			for i := range pushers {
				pushers[i] = &pusher{site: p, name: fmt.Sprint("p", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
				group.Go(func() { pushers[i].run(25) })
			}
			group.Go(func() {
				random := rand.New(rand.NewPCG(seed, 99))
				for i := range 15 {
					p.api("folder", "f", fmt.Sprintf("/s%d/%d", random.IntN(2), random.IntN(4)), "/x", fmt.Sprint("/edit", i))
					time.Sleep(5 * time.Millisecond) // no synchronisation: edits come when they come
				}
			})
			group.Wait()
			for _, one := range pushers {
				one.check()
			}
			for label, gateways := range map[string][]*xdstest.Gateway{"default": {gw, other}, "partner": {partner}} {
				for _, g := range gateways {
					p.until("the gateways of "+label+" have what is committed", func() bool { return p.has(g, label) })
				}
			}
		})
	}
}

// has says that a gateway has the routes of what is served to its label, and no others.
func (p *site) has(g *xdstest.Gateway, label string) bool {
	delta, _ := translate.NewIndex(p.options.Settings).Plan(p.Served(label), nil)
	have := g.State()
	want := map[string]map[string]string{xds.RouteType: {}, xds.ScopeType: {}}
	for typeURL, changes := range map[string]translate.Changes{xds.RouteType: delta.Routes, xds.ScopeType: delta.Scopes} {
		for _, r := range changes.Put {
			want[typeURL][r.Name] = r.Version
		}
	}
	for typeURL, names := range want {
		if len(have[typeURL]) != len(names) {
			return false
		}
		for name, version := range names {
			if xds.BaseVersion(have[typeURL][name]) != version {
				return false
			}
		}
	}
	return true
}

// pusher pushes one project again and again.
type pusher struct {
	*site
	name   string
	random *rand.Rand
	base   string // of what was committed last; "" is nothing
	rev    uint64
}

func (u *pusher) run(times int) {
	for i := range times {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		push := Push{Project: u.name, Wait: patience}
		base := fmt.Sprintf("/s%d/%d", u.random.IntN(2), u.random.IntN(6))
		switch u.random.IntN(6) {
		case 0:
			base = "" // it goes
		case 1:
			push.Archive = one(u.t, u.name, base, "/poison", fmt.Sprint("/edit", i))
		case 2:
			push.Archive = archive(u.t, map[string]string{
				"project.yaml": "labels: [default, partner]\n", "api_definitions/a.yaml": definition(u.name, base, "/x", fmt.Sprint("/edit", i)),
			})
		case 3: // whoever asked goes away in the middle of it
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(), time.Duration(u.random.IntN(3000))*time.Microsecond)
			fallthrough
		default:
			push.Archive = one(u.t, u.name, base, "/x", fmt.Sprint("/edit", i))
		}
		out, err := u.Push(ctx, push)
		cancel()
		failed := new(PushError)
		switch {
		case err == nil && out.Committed:
			u.base, u.rev = base, out.Revision
		case err == nil:
			u.t.Errorf("%s: neither committed nor failed: %+v", u.name, out)
		case !errors.As(err, &failed) || out.Committed:
			u.t.Errorf("%s: %v: %+v", u.name, err, out)
		case failed.Reason == Invalid || failed.Reason == Unavailable:
			u.t.Errorf("%s: %v", u.name, failed)
		}
	}
}

// check compares what was said with what is.
func (u *pusher) check() {
	info, err := u.Project(context.Background(), u.name)
	switch {
	case u.base == "" && err == nil:
		u.t.Errorf("%s was undeployed, and is there: %+v", u.name, info)
	case u.base == "":
	case err != nil:
		u.t.Errorf("%s is not there: %v", u.name, err)
	case info.Revision != u.rev || len(info.APIs) != 1 || info.APIs[0].BasePath != u.base || info.State != Live:
		u.t.Errorf("%s has revision %d and APIs %+v, state %s (%s); want %d at %s", u.name, info.Revision, info.APIs, info.State, info.Words, u.rev, u.base)
	}
}
