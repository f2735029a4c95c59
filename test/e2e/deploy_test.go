package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// types runs postern in another terminal of the gateway's machine: it finds the gateway and its admin token by the data
// folder. It must end with code and print all of want; what it prints is returned.
func (g *gateway) types(code int, want []string, args ...string) string {
	g.t.Helper()
	cmd := command(g.t, g.dataDir, args...)
	cmd.Env = append(cmd.Env, g.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		g.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		g.t.Errorf("postern %s ends with %d, want %d:\n%s", strings.Join(args, " "), got, code, out.String())
	}
	for _, part := range want {
		if !strings.Contains(out.String(), part) {
			g.t.Errorf("postern %s does not say %q:\n%s", strings.Join(args, " "), part, out.String())
		}
	}
	return out.String()
}

// TestDeployments follows a project from its first deployment to its end, and looks at it from all sides on the way.
func TestDeployments(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := backend(t)
	dir, file := project(t, definition("shop", "/shop", b.URL))

	g.types(0, []string{"+ shop/1 at /shop\n", "not breaking"}, "diff", dir)
	g.types(0, []string{"shop: would be deployed; nothing was told to a gateway"}, "deploy", dir, "--dry-run")
	if got := g.get("GET", "/shop/hello", ""); got.status != 404 {
		t.Errorf("after a dry run: %+v", got)
	}
	g.types(0, []string{"shop: deployed as revision 1\n", "shop/1 at /shop\n", "envoy", "serving"}, "deploy", dir, "--wait", "30s")
	if got := g.get("GET", "/shop/hello", ""); got.status != 200 {
		t.Errorf("at once after the deployment: %+v", got)
	}
	g.types(0, []string{"shop: unchanged, revision 1"}, "deploy", dir)

	g.types(0, []string{"shop/1  /shop      shop     default  live"}, "apis", "--project", "shop")
	g.types(0, []string{"shop/1 at /shop on any host, of project shop", "GET  /hello  api_definitions/shop.yaml:8:5"}, "apis", "shop/1")
	g.types(0, []string{"envoy", "enforcer", "ratelimiter", "serving"}, "gateways")
	g.types(0, []string{"operation  GET /hello", "auth", "cluster"}, "explain", "GET /shop/hello", "--server", "http://"+g.management)
	g.types(1, []string{"404: no API has this base path"}, "explain", "GET /nothing", "--server", "http://"+g.management)
	g.types(0, []string{"shop\tpush"}, "__complete", "rollback", "")
	g.types(0, []string{"shop/1\t/shop"}, "__complete", "apis", "")

	write(t, file, strings.Replace(definition("shop", "/shop", b.URL), "/hello", "/bye", 1))
	g.types(1, []string{"  - GET /hello", "  + GET /bye", "breaking: as it is served, api_definitions/shop.yaml:8:5: GET /hello: ", "data plane: put 1 RouteConfiguration"}, "diff", dir, "--fail-on", "breaking")
	g.types(1, []string{"not deployed", "postern revisions shop"}, "deploy", dir, "--if-revision", "7")
	g.types(0, []string{"revision 2"}, "deploy", dir, "--if-revision", "1")
	if got := g.get("GET", "/shop/bye", ""); got.status != 200 {
		t.Errorf("after a change: %+v", got)
	}
	g.types(0, []string{"shop: rolled back to what revision 1 was, as revision 3"}, "rollback", "shop")
	if got := g.get("GET", "/shop/hello", ""); got.status != 200 {
		t.Errorf("after the rollback: %+v", got)
	}
	var revisions []struct {
		Revision uint64
		Current  bool
		At       time.Time
	}
	if err := json.Unmarshal([]byte(g.types(0, nil, "revisions", "shop", "--output", "json")), &revisions); err != nil || len(revisions) != 3 || !revisions[0].Current || revisions[0].Revision != 3 {
		t.Errorf("revisions are %+v, %v", revisions, err)
	}
	before := filepath.Join(t.TempDir(), "before.zip")
	g.types(0, nil, "revisions", "shop", "--revision", "2", "--out", before)
	g.types(0, []string{"nothing changes"}, "diff", before, dir)
	g.refusals(dir, file, b.URL)

	g.types(0, []string{"shop: undeployed"}, "undeploy", "shop")
	if got := g.get("GET", "/shop/hello", ""); got.status != 404 {
		t.Errorf("after the undeployment: %+v", got)
	}
	g.types(1, []string{"shop: not undeployed"}, "undeploy", "shop")
	g.types(0, []string{"rolled back to what revision 3 was"}, "rollback", "shop")
	if got := g.get("GET", "/shop/hello", ""); got.status != 200 {
		t.Errorf("after the rollback of the undeployment: %+v", got)
	}
}

// refusals: what is not taken changes nothing, and is told with its place.
func (g *gateway) refusals(dir, file, backend string) {
	g.t.Helper()
	other, _ := project(g.t, definition("other", "/shop", backend))
	g.types(1, []string{"other: not deployed", "/shop", "change one of the two places"}, "deploy", other, "--name", "other")
	write(g.t, file, strings.Replace(definition("shop", "/shop", backend), "security: [{}]", "security: [{none: []}]", 1))
	place := fmt.Sprintf("error: %s/api_definitions/shop.yaml:5:", dir)
	g.types(1, []string{place, "nothing was sent"}, "deploy", dir)
	g.types(1, []string{place, "not deployed: it has a problem", "is served as before"}, "deploy", dir, "--no-validate")
	g.types(1, []string{place}, "diff", dir)
	g.types(3, []string{"does not take this token"}, "deploy", dir, "--no-validate", "--token", "ptk_wrong")
	g.types(3, []string{"nobody answers"}, "deploy", dir, "--no-validate", "--server", "http://127.0.0.1:1")
	if got := g.get("GET", "/shop/hello", ""); got.status != 200 {
		g.t.Errorf("after what was refused: %+v", got)
	}
}
