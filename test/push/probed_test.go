package push

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// realEnvoy is what adapters call the one of an apart.
const realEnvoy = "gw-real"

// apart is a lab whose Envoy, with what runs beside it, is a process of its own, before which somebody stands.
type apart struct {
	*lab
	middle *xdstest.Middle
	beside *process
	other  *fixture.Backend
	token  string
}

func newApart(t *testing.T) *apart {
	t.Helper()
	l := newLab(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%.20000s", l.log.String())
		}
	})
	l.startAdapter()
	a := &apart{lab: l, middle: xdstest.StartMiddle(t, l.socket()), other: fixture.StartBackend(t, "other", fixture.BackendOptions{}), token: l.token()}
	l.write("beside/postern.yaml", fmt.Sprintf("management: {listen: %q}\nxds: {addresses: [%q]}\nenvoy: {id: %s, concurrency: 2, drain: 100ms}\n",
		fixture.Address(t), a.middle.Address, realEnvoy))
	a.beside = l.startIn("beside", &l.log, "envoy")
	l.serving(a.token, realEnvoy)
	a.probed(0)
	return a
}

// in is the lab for a test within its test.
func (a *apart) in(t *testing.T) *apart {
	inner := *a
	inner.lab = &lab{t: t, dir: a.dir, http: a.http, admin: a.admin, backend: a.backend}
	return &inner
}

// probed waits until there were more streams of probers than so many.
func (a *apart) probed(before int) {
	a.t.Helper()
	fixture.WaitFor(a.t, "the prober", func() bool { return a.middle.Met(xds.RoleProber) > before })
}

// offer writes a project at /NAME: one backend serves its first operation, another the second. A scope that callers must
// have gives the API a policy.
func (a *apart) offer(name, scope string, one, two *fixture.Backend) {
	a.t.Helper()
	security := "security: [{}]"
	if scope != "" {
		security = fmt.Sprintf("security: [{token: [%s]}]\ncomponents: {securitySchemes: {token: {type: oauth2, flows: {clientCredentials: {tokenUrl: \"https://idp.test/token\", scopes: {%[1]s: x}}}}}}", scope)
	}
	a.write(a.definitionOf(name), fmt.Sprintf(`openapi: 3.0.3
info: {title: %s, version: 1.0.0}
x-wso2-basePath: /%[1]s
%s
paths:
  /one:
    servers: [{url: "http://%s:%d"}]
    get: {responses: {"200": {description: ok}}}
  /two/{id}:
    servers: [{url: "http://%s:%d"}]
    get: {parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {"200": {description: ok}}}
`, name, security, one.Host, one.Port, two.Host, two.Port))
}

func (a *apart) definitionOf(name string) string {
	return filepath.Join(name, "api_definitions", name+".yaml")
}

// deploy pushes a project, and returns how postern ends and what it says.
func (a *apart) deploy(name, wait string) (exit int, words string) {
	a.t.Helper()
	c := exec.Command(program, "deploy", name, "--server", "http://"+a.admin, "--wait", wait)
	c.Dir, c.Env = a.dir, append(os.Environ(), "POSTERN_TOKEN="+a.token)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		a.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// put is deploy without postern.
func (a *apart) put(name, wait string) (status int, v verdicts) {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, a.definitionOf(name)))
	if err != nil {
		a.t.Fatal(err)
	}
	answer, err := a.call(a.token, http.MethodPut, "/projects/"+name+"?wait="+wait, a.packed(name, string(text)))
	if err != nil {
		a.t.Fatal(err)
	}
	if err := json.Unmarshal(answer.body, &v); err != nil {
		a.t.Fatalf("%v: %s", err, answer.body)
	}
	return answer.status, v
}

// revisions says which of a project there are.
func (a *apart) revisions(name string) string {
	a.t.Helper()
	answer, err := a.call(a.token, http.MethodGet, "/projects/"+name+"/revisions", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if answer.status == http.StatusNotFound {
		return "none"
	}
	var list struct{ Revisions []struct{ Revision uint64 } }
	if err := json.Unmarshal(answer.body, &list); err != nil {
		a.t.Fatalf("%v: %s", err, answer.body)
	}
	return fmt.Sprint(list.Revisions)
}

// served is what clients of both operations are answered, by which backend.
func (a *apart) served(name string) string {
	var all []string
	for _, path := range []string{"/one", "/two/7"} {
		response, err := client.Get("http://" + a.http + "/" + name + path)
		if err != nil {
			return err.Error()
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		var echo fixture.Echo
		_ = json.Unmarshal(text, &echo) // why: what the gateway itself answers is no echo
		all = append(all, strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", echo.Backend)))
	}
	return strings.Join(all, ", ")
}

// serves waits until clients are answered so: Envoy's workers have new routes some milliseconds after it says so.
func (a *apart) serves(name, want string) {
	a.t.Helper()
	got := ""
	defer func() {
		if got != want {
			a.t.Errorf("of %s is served %s, want %s", name, got, want)
		}
	}()
	fixture.WaitFor(a.t, "what is served of "+name, func() bool { got = a.served(name); return got == want })
}

// seen are the routes and the metadata of a project on their way to Envoy, while nobody alters them.
type seen struct {
	mu     sync.Mutex
	routes map[string]*routev3.Route
	policy string
}

func (s *seen) tamper(name string) xdstest.Tamper {
	return xdstest.Tampering(name, func(all []*routev3.Route) []*routev3.Route {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range all {
			s.routes[r.Name] = proto.CloneOf(r)
		}
		return all
	}, func(m *corev3.Metadata) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if policy := ours(m)[posternv1.MetadataPolicy].GetStringValue(); policy != "" {
			s.policy = policy
		}
	})
}

func ours(m *corev3.Metadata) map[string]*structpb.Value {
	return m.GetFilterMetadata()["postern"].GetFields()
}

// second alters the route of the second operation.
func second(change func(*routev3.Route)) func([]*routev3.Route) []*routev3.Route {
	return func(all []*routev3.Route) []*routev3.Route {
		for _, r := range all {
			if r.Name == "GET /two/{id}" {
				change(r)
			}
		}
		return all
	}
}

// says alters what route tables say of themselves, where they say it.
func says(key string, value func() string) func(*corev3.Metadata) {
	return func(m *corev3.Metadata) {
		if fields := ours(m); fields[key] != nil {
			fields[key] = structpb.NewStringValue(value())
		}
	}
}

// TestWhatIsNotServedIsTakenBack has a real Envoy take route tables that are not quite those that the adapter has sent, and
// say that it has them. Its prober must notice; the push must fail, in words that name what is wrong, and leave nothing.
func TestWhatIsNotServedIsTakenBack(t *testing.T) {
	t.Parallel()
	a := newApart(t)
	was := &seen{routes: map[string]*routev3.Route{}}
	to := func(r *routev3.Route, cluster string) {
		r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster}
	}
	other := fmt.Sprintf("goes to cluster %s:%d-", a.other.Host, a.other.Port)
	for _, c := range []struct {
		name, scope string // of the project, and what it asks for
		changes     bool   // else the API is new
		routes      func([]*routev3.Route) []*routev3.Route
		metadata    func(*corev3.Metadata)
		words       string // of the prober, of GET /two/{id}
		then        string // what is served at last
	}{
		{"dropped", "", false, func(all []*routev3.Route) []*routev3.Route {
			return slices.DeleteFunc(all, func(r *routev3.Route) bool { return r.Name == "GET /two/{id}" })
		}, nil, "found no route (404)", "200 pets, 200 pets"},
		{"misdirected", "", false, second(func(r *routev3.Route) { to(r, posternv1.NotFoundCluster) }), nil, "found no operation (404)", "200 pets, 200 pets"},
		{"missing", "", false, second(func(r *routev3.Route) { to(r, "nowhere") }), nil, "goes to cluster none, not ", "200 pets, 200 pets"},
		{"renamed", "", false, second(func(r *routev3.Route) { r.Name = "GET /one" }), nil, "led to GET /one of renamed/1.0.0", "200 pets, 200 pets"},
		{"unprotected", "buy", false, nil, says(posternv1.MetadataPolicy, func() string { return strings.Repeat("0", 64) }), "found policy 000000000000, not ", "503, 503"},
		{"confused", "", false, nil, says(posternv1.MetadataAPI, func() string { return "dropped/1.0.0" }), "led to GET /one of dropped/1.0.0", "200 pets, 200 pets"},
		{"kept", "", true, second(func(r *routev3.Route) { proto.Reset(r); proto.Merge(r, was.routes["GET /two/{id}"]) }), nil, other, "200 pets, 200 pets"},
		{"kept-policy", "buy", true, nil, says(posternv1.MetadataPolicy, func() string { return was.policy }), "found policy ", "503, 503"},
		{"kept-cluster", "", true, second(func(r *routev3.Route) { to(r, was.routes["GET /two/{id}"].GetRoute().GetCluster()) }), nil, other, "200 pets, 200 pets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := a.in(t)
			before, revisions, old, as := "404, 404", "none", c.scope, "it was taken back everywhere"
			if c.changes {
				as = "revision 1 is served as before"
				if c.scope != "" {
					old += "-before"
				}
				a.offer(c.name, old, a.backend, a.other)
				a.middle.Become(was.tamper(c.name))
				if exit, words := a.deploy(c.name, "10s"); exit != 0 {
					t.Fatalf("exit %d\n%s", exit, words)
				}
				before, revisions = a.served(c.name), a.revisions(c.name)
			}
			a.offer(c.name, c.scope, a.backend, a.backend)
			a.middle.Become(xdstest.Tampering(c.name, c.routes, c.metadata))

			exit, words := a.deploy(c.name, "10s")
			if exit != 4 {
				t.Errorf("exit %d, want 4", exit)
			}
			about, asked := " GET /two/{id}: ", "/two/probe "
			if c.metadata != nil { // which is that of all operations
				about, asked = ": ", "/one "
			}
			for _, part := range []string{
				a.definitionOf(c.name) + ":", c.name + "/1.0.0" + about, realEnvoy, "GET http://probe.invalid/" + c.name + asked + c.words, as,
			} {
				if !strings.Contains(words, part) {
					t.Errorf("it does not say %q", part)
				}
			}
			if t.Failed() {
				t.Log(words)
			}
			a.serves(c.name, before)

			status, v := a.put(c.name, "10s")
			state, detail := v.of(realEnvoy)
			if status != http.StatusBadGateway || v.Code != "probe-failed" || v.Committed || !v.RolledBack || state != "rejected" || !strings.Contains(detail, c.words) {
				t.Errorf("the answer is %d %+v", status, v)
			}
			a.serves(c.name, before)
			if now := a.revisions(c.name); now != revisions {
				t.Errorf("there are revisions %s, want %s", now, revisions)
			}

			a.middle.Become(nil)
			if exit, words := a.deploy(c.name, "10s"); exit != 0 {
				t.Errorf("exit %d\n%s", exit, words)
			}
			a.serves(c.name, c.then)
		})
	}
}

// TestWhatNobodyCanSayIsNoSuccess takes an Envoy or its prober away when it has taken everything and is to be asked.
func TestWhatNobodyCanSayIsNoSuccess(t *testing.T) {
	t.Parallel()
	a := newApart(t)
	asked := func(then func() xdstest.Fate) xdstest.Tamper {
		return func(role string, r *xdstest.Response) xdstest.Fate {
			if role == xds.RoleProber && len(r.Resources) > 0 {
				return then()
			}
			return xdstest.Pass
		}
	}
	stop := func() xdstest.Fate { a.signal(syscall.SIGSTOP); return xdstest.Pass }
	for _, c := range []struct {
		name, wait  string
		then        func() xdstest.Fate
		status      int
		code, state string
		detail      string
	}{
		{"silent", "1s", func() xdstest.Fate { return xdstest.Swallow }, http.StatusGatewayTimeout, "silent", "pending", "did not say in time whether it serves what it took"},
		{"left", "10s", func() xdstest.Fate { return xdstest.Break }, http.StatusGatewayTimeout, "silent", "lost", "disconnected before it said whether it serves what it took"},
		{"stopped", "10s", stop, http.StatusBadGateway, "probe-failed", "rejected", "envoy does not answer"},
		{"stopped-late", "800ms", stop, http.StatusGatewayTimeout, "silent", "pending", "did not say in time whether it serves what it took"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := a.in(t)
			a.offer(c.name, "", a.backend, a.other)
			met := a.middle.Met(xds.RoleProber)
			a.middle.Become(asked(c.then))
			status, v := a.put(c.name, c.wait)
			a.middle.Become(nil)
			a.signal(syscall.SIGCONT)
			if state, detail := v.of(realEnvoy); status != c.status || v.Code != c.code || v.Committed || !v.RolledBack || state != c.state || !strings.Contains(detail, c.detail) {
				t.Errorf("the answer is %d %+v", status, v)
			}
			if c.state == "lost" {
				a.probed(met)
			}
			a.serves(c.name, "404, 404")
			if now := a.revisions(c.name); now != "none" {
				t.Errorf("there are revisions %s", now)
			}
			if exit, words := a.deploy(c.name, "10s"); exit != 0 {
				t.Errorf("exit %d\n%s", exit, words)
			}
			a.serves(c.name, "200 pets, 200 other")
		})
	}
}

// signal signals the Envoy, and returns when a SIGSTOP has stopped all of it.
func (a *apart) signal(s syscall.Signal) {
	a.t.Helper()
	for _, envoy := range numbers(a.t, fmt.Sprintf("/proc/%d/task/*/children", a.beside.cmd.Process.Pid)) {
		if err := syscall.Kill(envoy, s); err != nil {
			a.t.Error(err)
		}
		fixture.WaitFor(a.t, "the signal", func() bool { return s != syscall.SIGSTOP || stopped(envoy) })
	}
}

func numbers(t *testing.T, files string) (all []int) {
	t.Helper()
	lists, err := filepath.Glob(files)
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that has ended there is nothing
		for _, word := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Error(err)
			}
			all = append(all, n)
		}
	}
	if err != nil || len(all) == 0 {
		t.Errorf("no process in %s: %v", files, err)
	}
	return all
}

// stopped says that no thread of a process runs.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, thread := range threads {
		if text, err := os.ReadFile(thread); err == nil && !strings.Contains(string(text), "\nState:\tT") {
			return false
		}
	}
	return len(threads) > 0
}
