// Package apart drives the services of a gateway as operations do: each the real program in a process of its own, mutual
// TLS between them, a real Envoy, HTTP from outside. It imports nothing of Postern's but what tests share.
package apart

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
	"github.com/postern-gateway/postern/test/idp"
)

// program is the postern binary, built once.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // every test here needs an Envoy
		os.Exit(m.Run())
	}
	folder, err := os.MkdirTemp("", "pa")
	if err == nil {
		program = filepath.Join(folder, "postern")
		err = gateway.Build(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// lab is a gateway of four processes on the loopback, and what it needs around it.
type lab struct {
	t        *testing.T
	dir      string
	envoy    string
	http     string            // the data plane
	admin    map[string]string // by part: where its health and metrics are
	ports    map[string]string // by service
	issuer   *idp.Provider
	backend  *fixture.Backend
	parts    map[string]*part
	projects []string
}

var all = []string{"adapter", "enforcer", "ratelimiter", "envoy"}

// newLab makes certificates and a configuration, and starts nothing.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{
		t: t, dir: fixture.TempDir(t), envoy: fixture.EnvoyPath(t), http: fixture.Address(t),
		admin: map[string]string{}, ports: map[string]string{}, parts: map[string]*part{},
	}
	for _, name := range all {
		l.admin[name], l.ports[name] = fixture.Address(t), fixture.Address(t)
	}
	l.issuer = idp.New("RS256")
	t.Cleanup(l.issuer.Close)
	l.backend = fixture.StartBackend(t, "pets", fixture.BackendOptions{})
	l.run("certs", "set", "adapter", "enforcer", "ratelimiter", "envoy", "--dir", filepath.Join(l.dir, "certs"))
	l.write("postern.yaml", l.configuration())
	l.write("shop/api_definitions/shop.yaml", l.definition())
	l.write("shop/policies.yaml", "resourcePolicies: [{plenty: {count: 1000000, unitTime: 1, timeUnit: min}}]\n")
	petstore, err := filepath.Abs("../../examples/petstore")
	if err != nil {
		t.Fatal(err)
	}
	l.projects = []string{petstore, filepath.Join(l.dir, "shop")}
	return l
}

// configuration is one file for all parts.
func (l *lab) configuration() string {
	return fmt.Sprintf(`
listen: {http: %q}
xds: {listen: %q, addresses: [%q]}
enforcer: {listen: %q, address: %[4]q, admin: %q}
ratelimiter: {listen: %q, address: %[6]q, admin: %q}
envoy: {concurrency: 1, drain: 300ms}
issuers:
- {issuer: %q, jwks: {uri: %q}}
`, l.http, l.ports["adapter"], l.ports["adapter"], l.ports["enforcer"], l.admin["enforcer"], l.ports["ratelimiter"], l.admin["ratelimiter"],
		l.issuer.URL, l.issuer.JWKS())
}

// definition has an operation for each kind of call: without and with the enforcer, and with a limit.
func (l *lab) definition() string {
	return fmt.Sprintf(`openapi: 3.0.3
info: {title: shop, version: "1"}
x-wso2-basePath: /shop
servers: [{url: "http://%s:%d"}]
security: [{shop: []}]
components: {securitySchemes: {shop: {type: http, scheme: bearer}}}
paths:
  /open: {get: {security: [{}], responses: {"200": {description: ok}}}}
  /secure: {get: {responses: {"200": {description: ok}}}}
  /limited: {get: {security: [{}], x-wso2-throttling-tier: plenty, responses: {"200": {description: ok}}}}
`, l.backend.Host, l.backend.Port)
}

func (l *lab) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path+"~", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(path+"~", path)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// run is a call of postern that must go well.
func (l *lab) run(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// part is one process.
type part struct {
	l     *lab
	name  string
	at    string // of its health and metrics
	cmd   *exec.Cmd
	log   fixture.Log
	ended chan struct{}
}

// start starts a part, and waits for nothing. env is over what every part has.
func (l *lab) start(name string, env ...string) *part {
	l.t.Helper()
	p := &part{l: l, name: name, at: l.admin[name], ended: make(chan struct{})}
	args := []string{name}
	if name == "adapter" {
		args = append(args, l.projects...)
	}
	p.cmd = exec.Command(program, append(args, "--config", "postern.yaml")...)
	p.cmd.Dir = l.dir
	certificate := filepath.Join("certs", name)
	p.cmd.Env = append(append(os.Environ(),
		"POSTERN_DATA_DIR="+filepath.Join(l.dir, name), "POSTERN_MANAGEMENT_LISTEN="+l.admin[name], "POSTERN_ENVOY_PATH="+l.envoy,
		"POSTERN_XDS_TLS_CERT="+filepath.Join(l.dir, certificate+".pem"), "POSTERN_XDS_TLS_KEY="+filepath.Join(l.dir, certificate+".key"),
		"POSTERN_LOG_LEVEL=debug", "POSTERN_XDS_TLS_CA="+filepath.Join(l.dir, "certs", "ca.pem"),
		"POSTERN_VAR_PETS="+fmt.Sprintf("%s:%d", l.backend.Host, l.backend.Port), "GORACE=halt_on_error=1 exitcode=66"), env...)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	l.parts[name] = p
	l.t.Cleanup(func() {
		if name == "envoy" {
			fixture.ListenersKept(l.t, filepath.Join(l.dir, name, "envoy-admin.sock"))
		}
		p.stop()
		if l.t.Failed() {
			l.t.Logf("the %s (pid %d) said:\n%s", name, p.cmd.Process.Pid, &p.log)
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			l.t.Errorf("the %s has a data race:\n%s", name, &p.log)
		}
	})
	return p
}

// startAll starts everything, and waits until it serves.
func (l *lab) startAll() {
	l.t.Helper()
	for _, name := range all {
		l.start(name)
	}
	for _, name := range all {
		l.parts[name].ready()
	}
}

// kill ends a process without a word.
func (p *part) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends a process as it wants to be ended.
func (p *part) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(fixture.Patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.l.t.Errorf("the %s did not end when it was told to", p.name)
	}
}

// ready waits until a part says that it serves everything.
func (p *part) ready() {
	p.l.t.Helper()
	fixture.WaitFor(p.l.t, "the "+p.name+" to be ready", func() bool {
		select {
		case <-p.ended:
			p.l.t.Fatalf("the %s has ended:\n%s", p.name, &p.log)
		default:
		}
		status, _ := p.page("readyz")
		return status == http.StatusOK
	})
}

var patient = &http.Client{Timeout: fixture.Patience}

// page is what a part shows; 0 is nobody there.
func (p *part) page(name string) (status int, body string) {
	res, err := patient.Get("http://" + p.at + "/" + name)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func (p *part) says(words string) {
	p.l.t.Helper()
	fixture.WaitFor(p.l.t, "the "+p.name+" to say "+words, func() bool { return strings.Contains(p.log.String(), words) })
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

func (l *lab) call(c *http.Client, method, path, token string) (answer, error) {
	r, err := http.NewRequest(method, "http://"+l.http+path, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, err
}

// get is call for those who expect to be answered.
func (l *lab) get(method, path, token string) answer {
	l.t.Helper()
	a, err := l.call(patient, method, path, token)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (l *lab) token(scopes string) string { return l.issuer.Token(idp.Claims{"scope": scopes}) }
