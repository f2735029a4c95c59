package adapter

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestAnOperationRetiresOnItsDay: nobody edits anything, and the day comes; an adapter that was away when it came knows
// it at its start; and whoever takes the date back has the operation back.
func TestAnOperationRetiresOnItsDay(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	p := newSite(t)
	backend := fixture.StartBackend(t, "blue", fixture.BackendOptions{})
	p.open("shop", "pets", "/pets", backend, "/pet", "/cat")
	p.start(nil, "shop")
	envoy := p.envoy()
	p.until("serving", p.Serving)
	url := "http://" + envoy.Address(t, translate.HTTPListener)
	answers := func(path string, want int) func() bool {
		return func() bool { status, _ := get(url + path); return status == want }
	}
	if !answers("/pets/pet", http.StatusOK)() {
		t.Fatal("the operation is not served before")
	}

	text := definition("pets", "/pets", "/pet", "/cat")
	text = strings.Replace(text, "http://127.0.0.1:9", fmt.Sprintf("http://%s:%d", backend.Host, backend.Port), 1)
	text = strings.Replace(text, "paths:", "x-wso2-disable-security: true\npaths:", 1)
	sunset := time.Now().Add(1500 * time.Millisecond).Truncate(time.Second).Add(time.Second)
	ending := strings.Replace(text, "/pet: {get:", "/pet: {x-postern-sunset: "+sunset.UTC().Format(time.RFC3339)+", get:", 1)
	stop := load(t, url+"/pets/cat")
	p.write("shop/api_definitions/pets.yaml", ending)
	fixture.WaitFor(t, "the day to come", answers("/pets/pet", http.StatusGone))
	if early := time.Until(sunset); early > 0 {
		t.Errorf("it retired %v before its sunset", early)
	}
	stop()

	p.stop()
	p.write("shop/api_definitions/pets.yaml", strings.Replace(ending, "/cat: {get:", "/cat: {x-postern-sunset: 2020-01-01, get:", 1))
	p.start(nil, "shop")
	fixture.WaitFor(t, "the operation whose day has come meanwhile", answers("/pets/cat", http.StatusGone))
	if !answers("/pets/none", http.StatusGone)() {
		t.Error("an API without an operation that is left is not retired")
	}
	p.write("shop/api_definitions/pets.yaml", text)
	fixture.WaitFor(t, "the operation to be back", answers("/pets/pet", http.StatusOK))
	if n := envoy.Stat(t, "listener_manager.listener_modified"); n != 0 {
		t.Errorf("the listener was changed %d times", n)
	}
}

// TestAllBasePathsDecideTheRouting: without its version the API is at the root, where its path has no literal.
func TestAllBasePathsDecideTheRouting(t *testing.T) {
	t.Parallel()
	api := model.API{Name: "pets", Version: "v1", BasePath: "/v1", Operations: []model.Operation{{Method: "GET", Path: "/{id}"}}}
	for _, c := range []struct {
		aliases []string
		flat    bool
	}{{nil, false}, {[]string{"/pets"}, false}, {[]string{"/"}, true}} {
		api.Aliases = c.aliases
		if got := DecideRouting([]model.Project{{APIs: []model.API{api}}}, model.Routing{Segment: 1}); got.Flat != c.flat {
			t.Errorf("served at %v: flat is %v", api.BasePaths(), got.Flat)
		}
	}
}

// TestTheDefaultVersionMoves from one version to the other and back: a request that names none is always answered, and
// those that name one get what they name.
func TestTheDefaultVersionMoves(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	p := newSite(t)
	for version, backend := range map[string]*fixture.Backend{
		"1.0.0": fixture.StartBackend(t, "one", fixture.BackendOptions{}), "2.0.0": fixture.StartBackend(t, "two", fixture.BackendOptions{}),
	} {
		p.open("shop", "v"+version, "/pets/"+version, backend, "/pet")
	}
	choose := func(version string) {
		p.write("shop/project.yaml", fmt.Sprintf(`definitions:
  v1.0.0.yaml: {name: pets, version: 1.0.0, default: %t}
  v2.0.0.yaml: {name: pets, version: 2.0.0, default: %t}
`, version == "1.0.0", version == "2.0.0"))
	}
	choose("1.0.0")
	p.api("other", "first", "/first", "/pet")
	p.start(nil, "shop", "other")
	envoy := p.envoy()
	p.untilState("shop", "pets/2.0.0", Live)
	p.api("other", "other", "/pets", "/pet") // it wants what the default version has
	p.untilState("other", "other/1.0.0", Rejected)
	url := "http://" + envoy.Address(t, translate.HTTPListener)
	fixture.WaitFor(t, "the routes", func() bool { status, _ := get(url + "/pets/pet"); return status == http.StatusOK })
	if words := p.of("other", "other/1.0.0").Words; !strings.Contains(words, "/pets") || !strings.Contains(words, "pets/1.0.0") {
		t.Errorf("the other API is told %q", words)
	}

	stops := []func(){load(t, url+"/pets/pet"), load(t, url+"/pets/1.0.0/pet"), load(t, url+"/pets/2.0.0/pet")}
	for _, version := range []string{"2.0.0", "1.0.0", "2.0.0"} {
		choose(version)
		want := map[string]string{"1.0.0": "one", "2.0.0": "two"}[version]
		fixture.WaitFor(t, "the default to be "+version, func() bool { _, backend := get(url + "/pets/pet"); return backend == want })
	}
	for _, stop := range stops {
		stop()
	}
	if _, backend := get(url + "/pets/1.0.0/pet"); backend != "one" {
		t.Errorf("version 1.0.0 is answered by %q", backend)
	}
	choose("none")
	p.untilState("other", "other/1.0.0", Live)
	if _, backend := get(url + "/pets/2.0.0/pet"); backend != "two" {
		t.Errorf("version 2.0.0 is answered by %q", backend)
	}
}
