package skew

import (
	"encoding/json"
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
	"github.com/postern-gateway/postern/test/idp"
)

// often is how many calls the operations of the system's API are good for.
const often = 5

// system is one gateway in parts, each of a version.
type system struct {
	t          *testing.T
	folder     string
	address    string // of the data plane
	management string // of the adapter
	keys       *idp.Provider
	backend    *fixture.Backend
	logs       map[string]*fixture.Log
}

// versions say which build a part is of; those that are not named are of the current one.
type versions map[string]string

// How the parts of a system talk.
const (
	bySocket = false
	byTLS    = true // over TCP, each with a certificate
)

// parts are the programs of a gateway.
var parts = []string{"adapter", "enforcer", "ratelimiter", "envoy"}

// start starts a gateway of one API, with a token and limits, and waits until it serves. /x is its first operation.
func start(t *testing.T, of versions, tls bool) *system {
	t.Helper()
	envoy := fixture.EnvoyPath(t)
	s := &system{
		t: t, folder: fixture.TempDir(t), address: fixture.Address(t), management: fixture.Address(t), keys: idp.New("ES256"), logs: map[string]*fixture.Log{},
		backend: fixture.StartBackend(t, "pets", fixture.BackendOptions{}),
	}
	t.Cleanup(s.keys.Close)
	s.write("postern.yaml", fmt.Sprintf(`
dataDir: data
listen: {http: %q}
management: {listen: %q}
xds: %s
enforcer: {admin: %q, %s}
ratelimiter: {admin: %q, %s}
envoy: {path: %q, id: gw-1, concurrency: 1, drain: 100ms}
log: {format: json}
issuers: [{issuer: %q, jwks: {uri: %q}}]
`, s.address, s.management, s.xds(tls), fixture.Address(t), s.service(tls), fixture.Address(t), s.service(tls), envoy, s.keys.URL, s.keys.JWKS()))
	s.write("pets/policies.yaml", fmt.Sprintf("policies:\n- {name: few, per: [operation], limit: %d, window: 1d}\n", often))
	s.serve("/x")
	for _, name := range parts {
		version := of[name]
		if version == "" {
			version = current
		}
		s.run(name, programs[version], tls)
	}
	s.until("it serves", func() bool { return s.get("/x", "").StatusCode == http.StatusUnauthorized })
	return s
}

// xds is where the adapter is found.
func (s *system) xds(tls bool) string {
	if !tls {
		return `{addresses: ["unix:data/xds.sock"]}`
	}
	for _, arguments := range [][]string{
		{"init"},
		{"server", "adapter", "--role", "adapter"},
		{"server", "enforcer", "--role", "enforcer"},
		{"server", "ratelimiter", "--role", "ratelimiter"},
		{"client", "gw-1", "--role", "envoy"},
	} {
		if out, err := command(s.folder, programs[current], append([]string{"certs"}, arguments...)...); err != nil {
			s.t.Fatalf("postern certs %v: %v\n%s", arguments, err, out)
		}
	}
	address := fixture.Address(s.t)
	return fmt.Sprintf("{listen: %q, addresses: [%q]}", address, address)
}

// service is where Envoy finds an enforcer or a ratelimiter, as keys of its section.
func (s *system) service(tls bool) string {
	if !tls {
		return ""
	}
	address := fixture.Address(s.t)
	return fmt.Sprintf("listen: %q, address: %q", address, address)
}

// serve makes the API one of these operations.
func (s *system) serve(paths ...string) {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `openapi: 3.0.3
info: {title: pets, version: 1.0.0}
x-wso2-basePath: /pets
x-wso2-production-endpoints: {urls: ["http://%s:%d"]}
components: {securitySchemes: {jwt: {type: http, scheme: bearer}}}
security: [{jwt: []}]
paths:
`, s.backend.Host, s.backend.Port)
	for _, path := range paths {
		fmt.Fprintf(&b, "  %s: {get: {x-postern-limits: [few], responses: {\"200\": {description: ok}}}}\n", path)
	}
	s.write("pets/api_definitions/pets.yaml", b.String())
}

// write replaces a file at once.
func (s *system) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.folder, name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file+"~", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(file+"~", file)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// run runs a part until the test ends.
func (s *system) run(name, program string, tls bool) {
	s.t.Helper()
	arguments := []string{name, "--config", "postern.yaml"}
	switch name {
	case "adapter":
		arguments = append(arguments, "pets")
	case "envoy":
		arguments = append(arguments, "--management-listen", fixture.Address(s.t))
	}
	log := &fixture.Log{}
	s.logs[name] = log
	cmd := exec.Command(program, arguments...)
	cmd.Dir, cmd.Stderr = s.folder, log
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	if tls {
		who := name
		if name == "envoy" {
			who = "gw-1"
		}
		cmd.Env = append(cmd.Env, "POSTERN_XDS_TLS_CERT=certs/"+who+".pem", "POSTERN_XDS_TLS_KEY=certs/"+who+".key", "POSTERN_XDS_TLS_CA=certs/ca.pem")
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	s.t.Cleanup(func() {
		fixture.ListenersKept(s.t, filepath.Join(s.folder, "data", "envoy-admin.sock"))
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-exited:
			if err != nil {
				s.t.Errorf("%s ended: %v", name, err)
			}
		case <-time.After(fixture.Patience):
			s.t.Errorf("%s goes on after SIGTERM", name)
			_ = cmd.Process.Kill()
			<-exited
		}
		if s.t.Failed() {
			s.t.Logf("what %s said:\n%s", name, log)
		}
	})
}

// get calls an operation; without an answer the status is 0.
func (s *system) get(path, token string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address+"/pets"+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return &http.Response{}
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response
}

// until waits for what takes a moment.
func (s *system) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * fixture.Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// gateways is what `postern gateways` of this build says of the adapter.
func (s *system) gateways() (r struct {
	Adapter  string
	Gateways []struct{ Role, Version, State string }
	Labels   []struct{ Live, Stale, Rejected int }
},
) {
	s.t.Helper()
	cmd := exec.Command(programs[current], "gateways", "--config", "postern.yaml", "--output", "json")
	cmd.Dir = s.folder
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		s.t.Fatalf("postern gateways: %v in %s", err, out)
	}
	return r
}

// protects checks that an operation asks for a token and stops at its limit.
func (s *system) protects(path string) {
	s.t.Helper()
	token := s.keys.Token(nil)
	if got := s.get(path, "").StatusCode; got != http.StatusUnauthorized {
		s.t.Errorf("%s without a token: %d", path, got)
	}
	if got := s.get(path, "x.y.z").StatusCode; got != http.StatusUnauthorized {
		s.t.Errorf("%s with a bad token: %d", path, got)
	}
	for i := range often {
		if r := s.get(path, token); r.StatusCode != http.StatusOK || r.Header.Get("X-RateLimit-Remaining") != fmt.Sprint(often-1-i) {
			s.t.Errorf("%s, call %d: %d, remaining %q", path, i+1, r.StatusCode, r.Header.Get("X-RateLimit-Remaining"))
		}
	}
	if r := s.get(path, token); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		s.t.Errorf("%s beyond its limit: %d, %v", path, r.StatusCode, r.Header)
	}
}
