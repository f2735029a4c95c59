package pushes_test

import (
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/pushes"
)

// results are one of each kind.
var results = []pushes.Result{
	{
		Path: "shop", Project: "shop", OK: true, Verb: "deployed",
		Outcome: &api.Outcome{
			Revision: 8, Committed: true, Apis: []api.PushedAPI{{Name: "pets", Version: "1", BasePath: "/pets", State: "retired"}},
			Warnings: []api.Problem{{File: "project.yaml", Line: 2, Severity: "warning", Code: "unused", Message: "nothing uses it"}},
			Gateways: []api.Verdict{{ID: "gw-1", Role: "envoy", Label: "a", State: "serving"}, {ID: "gw-22", Role: "envoy", Label: "a", State: "lagging", Detail: "silent twice"}},
		},
	},
	{
		Path: "toys", Project: "toys", Exit: 4, Verb: "deployed",
		Failure: pushes.FailureOf(api.Refusal{
			Code: "refused", Detail: "gw-1 rejected it", RolledBack: true, Revision: 3,
			Problems: []api.Problem{{File: "api_definitions/a.yaml", Line: 5, Column: 3, Severity: "error", Code: "refused", Message: "bad regex"}},
		}, "toys", "toys"),
	},
	{Path: "food", Project: "food", Exit: 4, Verb: "deployed", Failure: pushes.FailureOf(api.Refusal{Code: "silent", Detail: "nobody answered", RolledBack: true}, "food", "food")},
	{Path: "cars", Project: "cars", Exit: 3, Verb: "deployed", Failure: &pushes.Failure{Detail: "nobody is there"}},
	{Path: "later", Project: "later", OK: true, Verb: "deployed", Rollout: "r1"},
}

const text = `warning: shop/project.yaml:2: nothing uses it [unused]
shop: deployed as revision 8
  pets/1 at /pets, retired
  gw-1   envoy  a  serving
  gw-22  envoy  a  lagging  silent twice
error: toys/api_definitions/a.yaml:5:3: bad regex [refused]
toys: not deployed: gw-1 rejected it
  revision 3 is served as before
  next: mend what the gateway names and deploy it again; postern gateways shows the state of each
food: not deployed: nobody answered
  it was taken back everywhere
  next: postern gateways shows who is silent; wait for longer (--wait), or for fewer (--require percent:N)
cars: not deployed: nobody is there
later: begun as rollout r1, which goes on; postern apis --project later tells what became of it
`

func TestText(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := pushes.Write(&b, "text", results); err != nil || b.String() != text {
		t.Errorf("%v, got\n%swant\n%s", err, b.String(), text)
	}
	if got := pushes.Summary(results); got != "2 of 5 projects went well" {
		t.Error(got)
	}
}

// TestMachines: what is refused without a problem of its own is one, so that no pipeline shows green for it.
func TestMachines(t *testing.T) {
	t.Parallel()
	for format, want := range map[string][]string{
		"junit": {`<testsuite name="toys/api_definitions/a.yaml" tests="1" failures="1"`, `type="silent" message="nobody answered"`, `type="unreachable"`, `name="later"`},
		"sarif": {`"ruleId": "silent"`, `"ruleId": "unreachable"`, `"level": "warning"`, `"startLine": 5`},
		"json":  {`"exit": 4`, `"rollout": "r1"`, `"next": "postern gateways`},
	} {
		var b strings.Builder
		if err := pushes.Write(&b, format, results); err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%s has no %s:\n%s", format, part, b.String())
			}
		}
	}
	if err := pushes.Write(new(strings.Builder), "html", results); err == nil {
		t.Error("html was taken")
	}
}
