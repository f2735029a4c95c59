package push

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// TestExits runs exits.sh against a real gateway with an Envoy, beside which another one rejects and ignores what has
// certain names. What is told of each end must let a stranger mend it.
func TestExits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := l.start(&l.log, "run")
	l.adapter = p
	fixture.WaitFor(t, "the gateway serves", func() bool {
		answer, err := client.Get("http://" + l.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == 200
	})
	named := func(m *discoveryv3.DeltaDiscoveryResponse, name string) bool {
		for _, r := range m.Resources {
			if m.TypeUrl == xds.RouteType && r.Name == name {
				return true
			}
		}
		return false
	}
	xdstest.Join(t, l.socket(), xds.Node{ID: "gw-odd", Role: xds.RoleEnvoy, Label: xds.DefaultLabel}, xdstest.Behaviour{
		Stall: func(m *xdstest.Response) bool { return named(m, "silent") },
		Refuse: func(typeURL string, r *discoveryv3.Resource) string {
			if typeURL == xds.RouteType && r.Name == "rejected" {
				return `invalid regex '/rejected/shop//+': this build has no regular expressions`
			}
			return ""
		},
	})
	l.serving(l.token(), "gw-odd")

	l.project("good", "good", "/pets")
	l.project("invalid", "invalid", "/pets")
	l.write("invalid/api_definitions/invalid.yaml", "openapi: 3.0.3\ninfo: {title: invalid, version: 1.0.0}\npaths:\n  /pets: {get: {}}\n")
	l.project("conflicting", "other", "/pets")
	l.write("conflicting/api_definitions/other.yaml", strings.Replace(l.definition("other", "/pets"), "x-wso2-basePath: /other", "x-wso2-basePath: /good", 1))
	l.project("rejected", "rejected", "/shop")
	l.project("silent", "silent", "/pets")

	script, err := filepath.Abs("exits.sh")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(script)
	c.Dir = l.dir
	c.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "POSTERN_SERVER=http://"+l.admin, "POSTERN_TOKEN="+l.token())
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for name, words := range map[string][]string{
		"good":        {"good", "revision 1"},
		"invalid":     {"invalid/api_definitions/invalid.yaml:", "servers"},
		"conflicting": {"other.yaml:", "/good", "good.yaml:", "basePath"},
		"rejected":    {"rejected.yaml:", "GET /shop", "gw-odd", "this build has no regular expressions"},
		"silent":      {"gw-odd", "no answer within 2", "RouteConfiguration silent"},
		"again":       {"good"},
	} {
		text, err := os.ReadFile(filepath.Join(l.dir, name+".out"))
		if err != nil {
			t.Error(err)
		}
		for _, w := range words {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not say %q:\n%s", name, w, text)
			}
		}
		t.Logf("%s:\n%s", name, text)
	}
}

// project writes a project of one API, at /NAME.
func (l *lab) project(folder, name, path string) {
	l.t.Helper()
	l.write(folder+"/api_definitions/"+name+".yaml", l.definition(name, path))
}
