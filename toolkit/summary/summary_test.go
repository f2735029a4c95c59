package summary_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/toolkit/summary"
)

var (
	bearer = model.Security{Alternatives: []model.Alternative{{Requirements: []model.Requirement{{Scopes: []string{"read:pets", "x"}}}}}}
	gold   = &model.Limit{Name: "gold", Count: 5000, Window: time.Minute}
)

func pets() model.API {
	return model.API{
		Name: "petstore", Version: "1.0.0", BasePath: "/petstore/1.0.0", Tier: gold,
		Operations: []model.Operation{
			{Method: "POST", Path: "/pet", Security: bearer},
			{Method: "GET", Path: "/pet/{petId}", Security: bearer, Tier: &model.Limit{Name: "few", Count: 2, Window: 24 * time.Hour}},
			{Method: "GET", Path: "/open", Security: model.Security{Disabled: true}, Tier: gold},
		},
	}
}

// TestHTTPS: both addresses are told where there are two.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ http, https, want string }{
		{"0.0.0.0:9090", "shop.test:9095", "  petstore/1.0.0  http://127.0.0.1:9090/petstore/1.0.0  https://shop.test:9095/petstore/1.0.0\n"},
		{"", "0.0.0.0:9095", "  petstore/1.0.0  https://127.0.0.1:9095/petstore/1.0.0\n"},
	} {
		g := summary.Gateway{HTTP: c.http, HTTPS: c.https, APIs: []model.API{pets()}}
		g.Fill()
		var b strings.Builder
		if err := g.Write(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("got %s, want %s", &b, c.want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	g := summary.Gateway{
		Version: "1.2.3", Envoy: "1.40.0", HTTP: "0.0.0.0:9090", Management: "http://127.0.0.1:9843", DataDir: "/data", Dev: true,
		APIs: []model.API{pets()}, Warnings: []string{"one", "two"}, Token: "postern token",
	}
	g.Fill()
	var b strings.Builder
	if err := g.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `
Postern 1.2.3 with Envoy 1.40.0 serves 1 API.

  petstore/1.0.0  http://127.0.0.1:9090/petstore/1.0.0
    3 operations, 2 with a token, 1 open; limits: gold (5000 in 1m), few (2 in 24h)

  management  http://127.0.0.1:9843  (/api/v1, /healthz, /readyz, /metrics)
  data        /data

  warning: one
  warning: two

  DEVELOPMENT: whoever can read the data folder can make tokens. Never serve others with --dev.

Try:
  curl -i -H "Authorization: Bearer $(postern token --scope 'read:pets x')" http://127.0.0.1:9090/petstore/1.0.0/pet/1

`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLife: what is closed, on its way out or served elsewhere too is told, and is not what is offered to be tried.
func TestLife(t *testing.T) {
	t.Parallel()
	blocked, partly, proto := pets(), pets(), pets()
	blocked.State, blocked.Aliases = model.Blocked, []string{"/petstore"}
	partly.Operations[1].State, partly.Operations[0].State = model.Retired, model.Deployed
	partly.Operations[0].Lifespan.Deprecated, partly.Operations[1].Lifespan.Deprecated = true, true
	proto.State = model.Prototyped
	proto.Operations = proto.Operations[:1]
	for _, c := range []struct {
		api       model.API
		want, try string
	}{
		{blocked, "(2 in 24h); also at /petstore; blocked: 503\n", ""},
		{partly, "(2 in 24h); 1 blocked or retired; 1 deprecated\n", "http://a:1/petstore/1.0.0/open\n"},
		{proto, "gold (5000 in 1m); prototyped\n", "http://a:1/petstore/1.0.0/pet\n"},
	} {
		g := summary.Gateway{HTTP: "a:1", APIs: []model.API{c.api}}
		g.Fill()
		var b strings.Builder
		if err := g.Write(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) || !strings.Contains(b.String(), c.try) || (c.try == "") == strings.Contains(b.String(), "curl") {
			t.Errorf("got %s, want %s and %s", &b, c.want, c.try)
		}
	}
}

func TestManyAreNotAllTold(t *testing.T) {
	t.Parallel()
	var g summary.Gateway
	for i := range 30 {
		g.APIs = append(g.APIs, model.API{
			Name: fmt.Sprint("api", i), Version: "1", BasePath: "/", Hosts: []string{"*.shop.example"},
			Operations: []model.Operation{{Method: "DELETE", Path: "/*", Security: model.Security{Disabled: true}}},
		})
	}
	g.HTTP = "[::1]:80"
	g.Fill()
	var b strings.Builder
	if err := g.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"serves 30 APIs", "… and 10 more", "http://[::1]:80/  for *.shop.example", "all open; no limits", "curl -i -X DELETE -H 'Host: www.shop.example' http://[::1]:80/"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is missing in %s", part, b.String())
		}
	}
}
