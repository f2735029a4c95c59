package push

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// verdicts are what an answer to a push says of the gateways.
type verdicts struct {
	Committed  bool   `json:"committed"`
	RolledBack bool   `json:"rolledBack"`
	Revision   uint64 `json:"revision"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
	Gateways   []struct {
		ID     string `json:"id"`
		State  string `json:"state"`
		Detail string `json:"detail"`
	} `json:"gateways"`
}

func (v verdicts) of(id string) (state, detail string) {
	for _, g := range v.Gateways {
		if g.ID == id {
			return g.State, g.Detail
		}
	}
	return "", ""
}

// TestAnswersAreTrue has a gateway that does not keep to the protocol beside one that does. Whatever it does, what a push
// is answered is so: who is said to serve it has it, a push that failed has left nothing with anybody, and as soon as the
// odd one behaves, the next push passes.
func TestAnswersAreTrue(t *testing.T) {
	t.Parallel()
	routes := func(m *xdstest.Response) bool { return m.TypeUrl == xds.RouteType && len(m.Resources) > 0 }
	for name, c := range map[string]struct {
		behaviour xdstest.Behaviour
		status    int // 0: either, as long as it is true
		state     string
	}{
		"honest":           {xdstest.Honest, http.StatusOK, "serving"},
		"late":             {xdstest.Late(50 * time.Millisecond), http.StatusOK, "serving"},
		"flooding":         {xdstest.Flooding(200), http.StatusOK, "serving"},
		"slandering":       {xdstest.Slandering, http.StatusOK, "serving"},
		"refusing":         {xdstest.Refusing("pets", "I do not like pets"), http.StatusBadGateway, "rejected"},
		"silent":           {xdstest.Silent, http.StatusGatewayTimeout, "pending"},
		"silent on routes": {xdstest.Behaviour{Stall: routes}, http.StatusGatewayTimeout, "pending"},
		"guessing":         {xdstest.Guessing, http.StatusGatewayTimeout, "pending"},
		"refusing at last": {xdstest.Contradicting(true), http.StatusBadGateway, "rejected"},
		"contradicting":    {xdstest.Contradicting(false), 0, ""},
		"leaving":          {xdstest.Leaving(xds.RouteType, false), 0, "lost"},
		"leaving for once": {xdstest.Leaving(xds.ClusterType, true), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.startAdapter()
			token := l.token()
			honest := xdstest.Join(t, l.socket(), xds.Node{ID: "honest", Role: xds.RoleEnvoy, Label: xds.DefaultLabel}, xdstest.Honest)
			odd := xdstest.Join(t, l.socket(), xds.Node{ID: "odd", Role: xds.RoleEnvoy, Label: xds.DefaultLabel}, xdstest.Honest)
			l.serving(token, "honest", "odd")

			l.pushed(token, "?wait=10s", "/one")
			first := honest.Version(xds.RouteType, "pets")
			if first == "" || odd.Version(xds.RouteType, "pets") != first {
				t.Fatal("the push was answered, and not everybody has it")
			}
			odd.Become(c.behaviour)
			status, v := l.pushed(token, "?wait=1s", "/two")
			if c.status != 0 && status != c.status {
				t.Errorf("the answer is %d %+v, want %d", status, v, c.status)
			}
			state, detail := v.of("odd")
			if c.state != "" && state != c.state {
				t.Errorf("the odd one is said to be %q (%s), want %q", state, detail, c.state)
			}
			l.true(token, status, v, honest, odd, first)

			odd.Become(xdstest.Honest)
			odd.Answer()
			odd.Return()
			fixture.WaitFor(t, "a push that passes", func() bool {
				status, v = l.pushed(token, "?wait=5s", "/three")
				return status == http.StatusOK
			})
			third := honest.Version(xds.RouteType, "pets")
			odd.Wait("the odd one has what was pushed last", func(have map[string]map[string]string) bool {
				return xds.BaseVersion(have[xds.RouteType]["pets"]) == xds.BaseVersion(third)
			})
		})
	}
}

// serving waits until these gateways are said to have everything.
func (l *lab) serving(token string, ids ...string) {
	l.t.Helper()
	fixture.WaitFor(l.t, "the gateways are there", func() bool {
		a, err := l.call(token, http.MethodGet, "/gateways", nil)
		if err != nil || a.status != http.StatusOK {
			return false
		}
		var list struct {
			Gateways []struct{ ID, State string } `json:"gateways"`
		}
		if err := json.Unmarshal(a.body, &list); err != nil {
			l.t.Fatalf("%v: %s", err, a.body)
		}
		found := 0
		for _, id := range ids {
			for _, g := range list.Gateways {
				if g.ID == id && g.State == "serving" {
					found++
				}
			}
		}
		return found == len(ids)
	})
}

// pushed pushes the project pets with one operation.
func (l *lab) pushed(token, query, path string) (int, verdicts) {
	l.t.Helper()
	a, err := l.call(token, http.MethodPut, "/projects/pets"+query, l.archive("pets", path))
	if err != nil {
		l.t.Fatal(err)
	}
	var v verdicts
	if err := json.Unmarshal(a.body, &v); err != nil {
		l.t.Fatalf("%v: %s", err, a.body)
	}
	return a.status, v
}

// true compares an answer with what is.
func (l *lab) true(token string, status int, v verdicts, honest, odd *xdstest.Gateway, before string) {
	l.t.Helper()
	a, err := l.call(token, http.MethodGet, "/projects/pets", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	now := a.project(l.t).Revision
	if status/100 == 2 {
		if !v.Committed || now != v.Revision || now < 2 {
			l.t.Errorf("it is said to be committed as revision %d (%v), and revision %d is", v.Revision, v.Committed, now)
		}
		version := honest.Version(xds.RouteType, "pets")
		if version == before {
			l.t.Error("it is said to be served, and the honest gateway has what was before")
		}
		if state, _ := v.of("odd"); state == "serving" && odd.Version(xds.RouteType, "pets") != version {
			l.t.Error("the odd one is said to serve it, and does not have it")
		}
		return
	}
	if v.Committed || !v.RolledBack || now != 1 {
		l.t.Errorf("it is said to be rolled back (%v), and revision %d is committed", v.RolledBack, now)
	}
	if v.Detail == "" || v.Code == "" {
		l.t.Errorf("the answer says too little: %+v", v)
	}
	honest.Wait("the honest gateway has what was before", func(have map[string]map[string]string) bool {
		return xds.BaseVersion(have[xds.RouteType]["pets"]) == xds.BaseVersion(before)
	})
}
