package translate_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/envoy/probe"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// TestProbeOfWhatIsNotServed: where an Envoy does something else than expected, it is told in words that name it.
func TestProbeOfWhatIsNotServed(t *testing.T) {
	t.Parallel()
	settings := map[string]model.Settings{"default": variants()["default"]}
	backends := startBackends(t)
	g := startGateway(t, settings, backends)
	shop := api("shop/1", "/shop", ops("GET /pet", "POST /pet", "GET /pet/{id}", "HEAD /ping")...)
	d, problems := translate.NewIndex(settings["default"]).Plan([]model.API{shop}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	defer g.serve(t, d)()
	impatient, err := probe.New(probe.Options{Address: "unix:" + filepath.Join(g.envoy.Dir, "default.sock"), Patience: time.Millisecond})
	must(t, err)
	for name, c := range map[string]struct {
		change func(*posternv1.Check)
		words  string
	}{
		"operation": {func(c *posternv1.Check) { c.Operation = "GET /pet/{other}" }, "GET /pet/{other}: GET http://probe.invalid/shop/pet/probe led to GET /pet/{id} of shop/1"},
		"path":      {func(c *posternv1.Check) { c.Path = "/shop/pets/probe" }, "GET /pet/{id}: GET http://probe.invalid/shop/pets/probe found no operation (404)"},
		"scope":     {func(c *posternv1.Check) { c.Path = "/shops/pet/probe" }, "found no route table (404)"},
		"method":    {func(c *posternv1.Check) { c.Method = "PATCH" }, "GET /pet/{id}: PATCH http://probe.invalid/shop/pet/probe found no such method (405)"},
		"policy":    {func(c *posternv1.Check) { c.Policy = strings.Repeat("0", 64) }, "not 000000000000"},
		"cluster":   {func(c *posternv1.Check) { c.Clusters = []string{"other"} }, "goes to cluster pets.test:80-"},
		"bad path":  {func(c *posternv1.Check) { c.Path = "/shop/%2F" }, "was answered 400"},
	} {
		t.Run(name, func(t *testing.T) {
			p := proto.Clone(d.Probes.Put[0].Message).(*posternv1.Probe)
			i := slices.IndexFunc(p.Checks, func(c *posternv1.Check) bool { return c.GetOperation() == "GET /pet/{id}" })
			c.change(p.Checks[i])
			err := impatient.Ask(t.Context(), p)
			if err == nil || !strings.HasPrefix(err.Error(), "probe of shop/1: GET /pet/{") || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v\nwant … %s", err, c.words)
			}
		})
	}
	if checks, limited := g.take(); len(checks)+len(limited) > 0 {
		t.Errorf("asked the enforcer %v and the limiter %v", checks, limited)
	}
	if n := backends["pets.test:80"].Hits(); n > 0 {
		t.Errorf("the backend got %d requests", n)
	}
	g.sharesTables(t)
}

func TestAChangeOfVeryManyIsAskedForSome(t *testing.T) {
	t.Parallel()
	for apis, want := range map[int]int{1: 5, 400: 5, 500: 4, 1000: 2, 3000: 1} {
		d, _ := translate.NewIndex(variants()["default"]).Plan(catalogue(apis), nil)
		if len(d.Probes.Put) != apis {
			t.Errorf("%d probes of %d APIs", len(d.Probes.Put), apis)
		}
		for _, r := range d.Probes.Put {
			if n := len(r.Message.(*posternv1.Probe).GetChecks()); n != want {
				t.Errorf("of %d APIs, %s is asked for %d operations, want %d", apis, r.Name, n, want)
				break
			}
		}
	}
}

// sharesTables: the listener for probes and the other have one subscription.
func (g *gateway) sharesTables(t *testing.T) {
	t.Helper()
	for _, stat := range []string{"active_scopes", "rds.shop.config_reload$"} {
		text, err := g.envoy.Admin(http.MethodGet, "/stats?filter="+strings.ReplaceAll(stat, "$", "%24"))
		must(t, err)
		if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) != 1 || !strings.HasSuffix(lines[0], ": 1") {
			t.Errorf("%s: %q", stat, lines)
		}
	}
}
