package translate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// TestBlameOfWhatEnvoyRefuses has an Envoy refuse what slipped through, and finds whose it is.
func TestBlameOfWhatEnvoyRefuses(t *testing.T) {
	t.Parallel()
	settings := variants()
	g := startGateway(t, settings, nil)
	g.led = false
	for name, test := range map[string]struct {
		endpoint model.Endpoint
		typeURL  string
	}{
		"cluster": {model.Endpoint{Port: 80}, resource.ClusterType},
		"route":   {model.Endpoint{Host: "pets.test", Port: 80, Path: "/a\nb"}, resource.RouteType},
	} {
		t.Run(name, func(t *testing.T) {
			bad := op("GET /pet/{id}", to(model.Backend{Endpoints: []model.Endpoint{test.endpoint}}))
			bad.Origin = model.Origin{File: "shop.yaml", Line: 7}
			d, problems := translate.NewIndex(settings["default"]).Plan(
				[]model.API{api("pets/1", "/shop/pets", ops("GET /pet/{id}")...), api("shop/1", "/shop", append(ops("GET /pet", "POST /pet/{id}"), bad)...)}, nil)
			if model.Refusing(problems) {
				t.Fatal(problems)
			}
			var put []proto.Message
			remove := map[string][]string{}
			var refused string
			for typeURL, changes := range map[string]translate.Changes{resource.ClusterType: d.Clusters, resource.ScopedRouteType: d.Scopes, resource.RouteType: d.Routes} {
				for _, r := range changes.Put {
					put = append(put, r.Message)
					remove[typeURL] = append(remove[typeURL], r.Name)
					if typeURL == test.typeURL && !strings.HasPrefix(r.Name, "pets.test") {
						refused = r.Name
					}
				}
			}
			defer func() { _ = g.xds.Apply(nil, remove) }()
			err := g.xds.Apply(put, nil)
			if err == nil {
				t.Fatal("Envoy takes it")
			}
			words := err.Error()[strings.LastIndexByte(err.Error(), '\n')+1:]
			want := []translate.Culprit{{API: "shop/1", Operation: "GET /pet/{id}", Origin: bad.Origin}}
			if got := translate.NewIndex(settings["default"]).Blame(d, test.typeURL, refused, words); !slices.Equal(got, want) {
				t.Errorf("%s %s: %s\n got %v\nwant %v", test.typeURL, refused, words, got, want)
			}
		})
	}
}

func TestBlame(t *testing.T) {
	t.Parallel()
	pets := api("pets/1", "/shop/pets", ops("GET /", "GET /{id}")...)
	shop := api("shop/1.0", "/shop", append(ops("GET /pet", "POST /pet", "GET /pet/{id}", "GET /pet.json", "GET /files/*"),
		op("GET /orders", to(backend("http://orders.test"))))...)
	shop.Tier = &model.Limit{Name: "gold", Count: 5, Per: []model.LimitKey{model.PerAPI}}
	pets.Origin, shop.Origin = model.Origin{File: "pets.yaml", Line: 1}, model.Origin{File: "shop.yaml", Line: 1}
	pets.Operations[1].Origin = model.Origin{File: "pets.yaml", Line: 10}
	for i := range shop.Operations {
		shop.Operations[i].Origin = model.Origin{File: "shop.yaml", Line: 10 + i}
	}
	x := translate.NewIndex(variants()["default"])
	d, problems := x.Plan([]model.API{pets, shop}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	x.Commit(d)
	again := shop
	again.Operations = append(slices.Clone(shop.Operations), op("GET /new"))
	change, _ := x.Plan([]model.API{again}, nil)
	name := func(c translate.Changes, part string) string {
		for _, r := range c.Put {
			if strings.HasPrefix(r.Name, part) {
				return r.Name
			}
		}
		t.Fatalf("no resource is called %s…", part)
		return ""
	}
	policy := d.Policies.Put[slices.IndexFunc(d.Policies.Put, func(r translate.Resource) bool { return r.APIs[0] == "pets/1" })]
	for _, test := range []struct {
		delta                translate.Delta
		typeURL, name, words string
		want                 string
	}{
		{d, resource.ClusterType, name(d.Clusters, "orders.test"), "no", "shop/1.0 GET /orders"},
		{d, resource.ClusterType, name(d.Clusters, "pets.test"), "no", "pets/1; shop/1.0 GET /files/*; shop/1.0 GET /pet; shop/1.0 GET /pet.json; shop/1.0 GET /pet/{id}; shop/1.0 POST /pet"},
		{translate.Delta{}, resource.ClusterType, name(d.Clusters, "orders.test"), "no", "shop/1.0 GET /orders"},
		{d, resource.RouteType, "shop", "no", "pets/1; shop/1.0"},
		{change, resource.RouteType, "shop", "no", "shop/1.0"},
		{d, resource.ScopedRouteType, "shop", "scope key conflict found", "pets/1; shop/1.0"},
		{d, resource.RouteType, "shop", `route "GET /pet": no`, "shop/1.0 GET /pet"},
		{d, resource.RouteType, "shop", `route 'GET /pet/{id}': no`, "shop/1.0 GET /pet/{id}"},
		{d, resource.RouteType, "shop", `bad regex '/shop/files/.*'.`, "shop/1.0 GET /files/*"},
		{d, resource.RouteType, "shop", `regex: "/shop/pet/[^/]+//+"`, "shop/1.0 GET /pet/{id}"},
		{d, resource.RouteType, "shop", `cannot route /shop/pet.`, "shop/1.0 GET /pet; shop/1.0 POST /pet"},
		{d, resource.RouteType, "shop", `cannot route /shop/pet.json.`, "shop/1.0 GET /pet.json"},
		{d, resource.RouteType, "shop", `unknown cluster ` + name(d.Clusters, "orders.test"), "shop/1.0 GET /orders"},
		{d, resource.RouteType, "shop", `api pets/1: no`, "pets/1"},
		{d, resource.RouteType, "nobody's", `no`, ""},
		{d, posternv1.PolicyType, policy.Name, policy.APIs[0] + ` GET /{id}: no`, "pets/1 GET /{id}"},
		{d, posternv1.PolicyType, policy.Name, `requires "dpop"`, "pets/1"},
		{d, posternv1.LimitsType, name(d.Limits, ""), `requires a word`, "shop/1.0"},
		{translate.Delta{}, posternv1.LimitsType, name(d.Limits, ""), `requires a word`, "shop/1.0"},
		{d, posternv1.ProbeType, "shop/1.0", `GET /pet/{id}: asked GET /shop/pet/probe, and 404 came back`, "shop/1.0 GET /pet/{id}"},
		{d, posternv1.ProbeType, "shop/1.0", `GET /pet/{id}: GET http://probe.invalid/shop/pet/probe led to GET /pet of shop/1.0`, "shop/1.0 GET /pet/{id}"},
		{translate.Delta{}, posternv1.ProbeType, "pets/1", `no`, "pets/1"},
		{d, resource.ListenerType, "http", `port taken`, ""},
	} {
		var got []string
		for _, c := range x.Blame(test.delta, test.typeURL, test.name, test.words) {
			if c.Origin.File == "" {
				t.Errorf("%s %s: %v comes from nowhere", test.name, test.words, c)
			}
			got = append(got, strings.TrimSpace(c.API+" "+c.Operation))
		}
		if got := strings.Join(got, "; "); got != test.want {
			t.Errorf("%s %s: %s\n got %s\nwant %s", test.typeURL, test.name, test.words, got, test.want)
		}
	}
}
