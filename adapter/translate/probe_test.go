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

// TestShadowedOperations: whoever comes second is warned, once, and both places are named.
func TestShadowedOperations(t *testing.T) {
	t.Parallel()
	outer := api("outer/1", "/shop", ops("GET /orders/{id}", "PUT /orders/{id}", "GET /{any}/x")...)
	inner := api("inner/1", "/shop/orders", ops("GET /")...)
	outer.Origin, outer.Operations[0].Origin, inner.Origin = model.Origin{File: "outer.yaml"}, model.Origin{File: "outer.yaml", Line: 7}, model.Origin{File: "inner.yaml"}
	for name, c := range map[string]struct {
		served, put  []model.API
		origin, want string
	}{
		"the outer one comes": {[]model.API{inner}, []model.API{outer}, "outer.yaml:7", "no request leads to GET /orders/{id} of outer/1 below /shop (nor to 1 more): all paths below /shop/orders are those of inner/1 (project test, inner.yaml)"},
		"the inner one comes": {[]model.API{outer}, []model.API{inner}, "inner.yaml", "inner/1 takes all paths below /shop/orders, and no request leads to GET /orders/{id} of outer/1 any longer (nor to 1 more) (project test, outer.yaml:7)"},
		"both come":           {nil, []model.API{inner, outer}, "outer.yaml:7", "no request leads to GET /orders/{id} of outer/1"},
		"the inner one again": {[]model.API{inner, outer}, []model.API{inner}, "", ""},
		"on another host":     {[]model.API{on(inner, "inner.test")}, []model.API{outer}, "", ""},
		"on the same host":    {[]model.API{on(outer, "a.test")}, []model.API{on(inner, "a.test")}, "inner.yaml", "inner/1 takes all paths"},
	} {
		x := translate.NewIndex(variants()["default"])
		d, _ := x.Plan(c.served, nil)
		x.Commit(d)
		_, problems := x.Plan(c.put, nil)
		var got []string
		for _, p := range problems {
			got = append(got, p.Code+" "+p.Origin.String()+" "+p.Message)
		}
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], "shadowed-operation "+c.origin+" "+c.want)) {
			t.Errorf("%s: %q", name, got)
		}
	}
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
