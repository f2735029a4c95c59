package adapter

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

// open writes a definition that asks nobody for a credential.
func (p *site) open(project, name, base string, backend *fixture.Backend, paths ...string) {
	p.t.Helper()
	text := strings.Replace(definition(name, base, paths...), "http://127.0.0.1:9", fmt.Sprintf("http://%s:%d", backend.Host, backend.Port), 1)
	p.write(project+"/api_definitions/"+name+".yaml", strings.Replace(text, "paths:", "x-wso2-disable-security: true\npaths:", 1))
}

// envoy starts a real Envoy that follows the adapter.
func (p *site) envoy() *fixture.Envoy { return p.envoyOf("") }

// envoyOf starts one that says it has a label.
func (p *site) envoyOf(label string) *fixture.Envoy {
	p.t.Helper()
	return fixture.StartEnvoy(p.t, fixture.EnvoyOptions{XDS: "unix:" + p.socket, Node: "envoy-" + label, Label: label})
}

// get is the status, and the backend that answered.
func get(url string) (status int, backend string) {
	res, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if _, after, ok := strings.Cut(string(body), `"backend":"`); ok {
		backend, _, _ = strings.Cut(after, `"`)
	}
	return res.StatusCode, backend
}

func TestEnvoyServesEditsWithoutAFailure(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	p := newSite(t)
	blue, green := fixture.StartBackend(t, "blue", fixture.BackendOptions{}), fixture.StartBackend(t, "green", fixture.BackendOptions{})
	p.open("shop", "pets", "/pets", blue, "/pet")
	p.start(nil, "shop")
	envoy := p.envoy()
	p.until("serving", p.Serving)
	url := "http://" + envoy.Address(t, translate.HTTPListener)
	if status, backend := get(url + "/pets/pet"); status != http.StatusOK || backend != "blue" {
		t.Fatalf("status %d, backend %q", status, backend)
	}

	stopLoad := load(t, url+"/pets/pet")
	for i := range 6 {
		backend := []*fixture.Backend{green, blue}[i%2]
		began := time.Now()
		p.open("shop", "pets", "/pets", backend, "/pet", fmt.Sprint("/extra", i))
		fixture.WaitFor(t, "the edit", func() bool {
			_, got := get(url + "/pets/pet")
			return got == backend.Name
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("edit %d was live after %v", i, took)
		}
	}
	p.write("shop/api_definitions/pets.yaml", "{broken")
	p.untilState("shop", "pets/1.0.0", Stale)
	stopLoad()

	p.open("shop", "pets", "/pets", blue, "/pet")
	p.open("shop", "cats", "/cats", green, "/cat")
	p.untilState("shop", "cats/1.0.0", Live)
	// Envoy's worker may still be taking up what its main thread has acknowledged.
	fixture.WaitFor(t, "a new API to answer", func() bool {
		status, backend := get(url + "/cats/cat")
		return status == http.StatusOK && backend == "green"
	})
	p.remove("shop/api_definitions/cats.yaml")
	p.until("cats gone", func() bool { return p.of("shop", "cats/1.0.0") == APIStatus{} })
	fixture.WaitFor(t, "a removed API to be gone", func() bool { status, _ := get(url + "/cats/cat"); return status == http.StatusNotFound })
	if n := envoy.Stat(t, "listener_manager.listener_modified"); n != 0 {
		t.Errorf("the listener was changed %d times", n)
	}
}

func TestEnvoyServesOnWhileTheAdapterIsAway(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	p := newSite(t)
	blue := fixture.StartBackend(t, "blue", fixture.BackendOptions{})
	green := fixture.StartBackend(t, "green", fixture.BackendOptions{})
	p.open("shop", "pets", "/pets", blue, "/pet")
	p.open("shop", "cats", "/cats", blue, "/cat")
	p.start(nil, "shop")
	envoy := p.envoy()
	p.until("serving", p.Serving)
	url := "http://" + envoy.Address(t, translate.HTTPListener)

	stopLoad := load(t, url+"/pets/pet")
	p.stop()
	p.open("shop", "pets", "/pets", green, "/pet") // edited meanwhile
	p.start(nil, "shop")
	p.until("serving again", p.Serving)
	fixture.WaitFor(t, "the edit", func() bool {
		_, got := get(url + "/pets/pet")
		return got == "green"
	})
	stopLoad()
	if status, backend := get(url + "/cats/cat"); status != http.StatusOK || backend != "blue" {
		t.Errorf("the other API answers %d from %q", status, backend)
	}
}

// TestProjectsMoveBetweenEnvoys: two labels on one adapter serve different projects, and one that moves from one to the
// other is no other's trouble.
func TestProjectsMoveBetweenEnvoys(t *testing.T) {
	t.Parallel()
	fixture.EnvoyPath(t)
	p := newSite(t)
	blue, green := fixture.StartBackend(t, "blue", fixture.BackendOptions{}), fixture.StartBackend(t, "green", fixture.BackendOptions{})
	p.open("ours", "pets", "/pets", blue, "/pet")
	p.labels("ours", "a")
	p.open("theirs", "pets", "/pets", green, "/pet")
	p.labels("theirs", "b")
	p.open("moving", "cats", "/cats", green, "/cat")
	p.labels("moving", "a")
	p.start(nil, "ours", "theirs", "moving")
	envoys := map[string]*fixture.Envoy{"a": p.envoyOf("a"), "b": p.envoyOf("b")}
	p.until("serving", p.Serving)
	urls := map[string]string{}
	for label, e := range envoys {
		urls[label] = "http://" + e.Address(t, translate.HTTPListener)
	}
	for label, want := range map[string]string{"a": "blue", "b": "green"} {
		fixture.WaitFor(t, "label "+label+" serving "+want, func() bool { // p.Serving speaks of who is connected
			status, backend := get(urls[label] + "/pets/pet")
			return status == http.StatusOK && backend == want
		})
	}

	stops := []func(){load(t, urls["a"]+"/pets/pet"), load(t, urls["b"]+"/pets/pet")}
	for i, to := range []string{"b", "a", "b", "a"} {
		p.labels("moving", to)
		fixture.WaitFor(t, fmt.Sprint("move ", i), func() bool {
			here, _ := get(urls[to] + "/cats/cat")
			there, _ := get(urls[map[string]string{"a": "b", "b": "a"}[to]] + "/cats/cat")
			return here == http.StatusOK && there == http.StatusNotFound
		})
	}
	for _, stop := range stops {
		stop()
	}
	versions := map[string]bool{}
	for label, e := range envoys {
		if n := e.Stat(t, "listener_manager.listener_modified"); n != 0 {
			t.Errorf("the listener of label %s was changed %d times", label, n)
		}
		if n := e.Stat(t, "listener_manager.lds.update_success"); n != 1 {
			t.Errorf("label %s was sent listeners %d times", label, n)
		}
		versions[listenerVersion(t, e)] = true
	}
	if len(versions) != 1 {
		t.Errorf("listeners have the versions %v", versions)
	}
}

// listenerVersion is what Envoy says of the listener it has.
func listenerVersion(t *testing.T, e *fixture.Envoy) string {
	t.Helper()
	dump, err := e.Admin(http.MethodGet, "/config_dump?resource=dynamic_listeners")
	found := regexp.MustCompile(`"version_info": "([^"]+)"`).FindAllStringSubmatch(dump, -1)
	if err != nil || len(found) != 1 {
		t.Fatalf("no version of one listener: %v in %s", err, dump)
	}
	return found[0][1]
}

// load calls a URL until the returned function is called, which fails the test if an answer was not 200.
func load(t *testing.T, url string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var mu sync.Mutex
	calls, failures := 0, map[string]int{}
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				status, words := get(url)
				mu.Lock()
				calls++
				if status != http.StatusOK {
					failures[fmt.Sprint(status, " ", words)]++
				}
				mu.Unlock()
				time.Sleep(time.Millisecond) // why: the machine is not ours alone
			}
		})
	}
	return func() {
		t.Helper()
		cancel()
		group.Wait()
		if len(failures) > 0 || calls == 0 {
			t.Errorf("of %d calls failed: %v", calls, failures)
		}
	}
}
