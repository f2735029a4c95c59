// Package mutual starts the parts of a gateway as processes of their own, which speak by mutual TLS, and looks at who gets
// what.
package mutual

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
	"github.com/postern-gateway/postern/toolkit/certs"
)

var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	folder, err := os.MkdirTemp("", "p")
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		program = filepath.Join(folder, "postern")
		err = gateway.Build(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// system is an adapter, an enforcer, a ratelimiter and an Envoy, on TCP ports of this machine.
type system struct {
	t       *testing.T
	folder  string
	backend *fixture.Backend
	address map[string]string // of each listener
	parts   map[string]*part
}

// part is one process.
type part struct {
	cmd    *exec.Cmd
	log    fixture.Log
	exited chan struct{}
}

// listeners are those of TCP: the data plane, then those that speak TLS to those with a certificate, then the admin ones.
var listeners = []string{"http", "https", "xds", "enforcer", "ratelimiter", "management", "enforcer admin", "ratelimiter admin", "envoy management"}

// newSystem makes certificates and configurations, and starts nothing.
func newSystem(t *testing.T) *system {
	t.Helper()
	envoy := fixture.EnvoyPath(t)
	s := &system{
		t: t, folder: fixture.TempDir(t), address: map[string]string{}, parts: map[string]*part{},
		backend: fixture.StartBackend(t, "pets", fixture.BackendOptions{}),
	}
	for _, name := range listeners {
		s.address[name] = fixture.Address(t)
	}
	s.postern("certs", "set", "adapter", "enforcer", "ratelimiter", "envoy=edge-1", "client=ops")
	fixture.NewAuthority(t).Issue(t, time.Hour, "shop.test").Write(t, filepath.Join(s.folder, "certs/shop.pem"), filepath.Join(s.folder, "certs/shop.key"))
	s.write("pets/api_definitions/pets.yaml", fmt.Sprintf(`openapi: 3.0.3
info: {title: pets, version: 1.0.0}
x-wso2-basePath: /pets
x-wso2-production-endpoints: {urls: ["http://%s:%d"]}
components: {securitySchemes: {jwt: {type: http, scheme: bearer}}}
paths:
  /open: {get: {security: [{}], responses: {"200": {description: ok}}}}
  /closed: {get: {security: [{jwt: []}], responses: {"200": {description: ok}}}}
`, s.backend.Host, s.backend.Port))
	s.configure("adapter", "adapter", fmt.Sprintf(`listen: {http: %q, https: %q}
tls: {certificates: [{cert: certs/shop.pem, key: certs/shop.key}]}
management: {listen: %q, tls: {cert: certs/adapter.pem, key: certs/adapter.key, clientCA: certs/ca.pem}}
enforcer: {address: %q}
ratelimiter: {address: %q}
issuers: [{issuer: "https://keys.example.com", jwks: {file: jwks.json}}]
`, s.address["http"], s.address["https"], s.address["management"], s.address["enforcer"], s.address["ratelimiter"]))
	s.write("jwks.json", `{"keys": [{"kty": "RSA", "kid": "a", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw", "e": "AQAB"}]}`)
	s.configure("enforcer", "enforcer", fmt.Sprintf("enforcer: {listen: %q, admin: %q}\n", s.address["enforcer"], s.address["enforcer admin"]))
	s.configure("ratelimiter", "ratelimiter", fmt.Sprintf("ratelimiter: {listen: %q, admin: %q}\n", s.address["ratelimiter"], s.address["ratelimiter admin"]))
	s.configure("envoy", "edge-1", fmt.Sprintf("management: {listen: %q}\nenvoy: {path: %q, id: edge-1, concurrency: 1, drain: 100ms}\n", s.address["envoy management"], envoy))
	return s
}

// configure writes NAME.yaml of a process that shows a certificate.
func (s *system) configure(name, certificate, more string) {
	s.t.Helper()
	s.write(name+".yaml", fmt.Sprintf(`dataDir: data/%s
xds: {listen: %q, addresses: [%q], tls: {cert: certs/%[4]s.pem, key: certs/%[4]s.key, ca: certs/ca.pem}}
%[5]s`, name, s.address["xds"], s.address["xds"], certificate, more))
}

// start starts every part, and waits until both operations answer as they should.
func (s *system) start() {
	s.t.Helper()
	for _, name := range []string{"adapter", "enforcer", "ratelimiter", "envoy"} {
		s.run(name, name)
	}
	fixture.WaitFor(s.t, "the gateway's answers", func() bool {
		return s.get("/pets/open") == http.StatusOK && s.get("/pets/closed") == http.StatusUnauthorized
	})
}

// run starts a part with the configuration of a name.
func (s *system) run(command, name string) *part {
	s.t.Helper()
	arguments := []string{command, "--config", name + ".yaml"}
	if command == "adapter" {
		arguments = append(arguments, "pets")
	}
	p := &part{cmd: exec.Command(program, arguments...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr = s.folder, &p.log
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	s.parts[name] = p
	s.t.Cleanup(func() {
		fixture.ListenersKept(s.t, filepath.Join(s.folder, "data", name, "envoy-admin.sock"))
		s.stop(name)
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", name, &p.log)
		}
	})
	return p
}

// stop ends a part as its user does.
func (s *system) stop(name string) {
	p := s.parts[name]
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(fixture.Patience):
		s.t.Errorf("%s goes on after SIGTERM", name)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("%s ended with %d", name, code)
	}
}

// says waits until a part's log has words.
func (s *system) says(name, words string) {
	s.t.Helper()
	fixture.WaitFor(s.t, name+"'s log to say "+words, func() bool { return strings.Contains(s.parts[name].log.String(), words) })
}

// get is the status of the data plane's answer; 0 is none.
func (s *system) get(path string) int {
	response, err := http.Get("http://" + s.address["http"] + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (s *system) postern(arguments ...string) {
	s.t.Helper()
	cmd := exec.Command(program, arguments...)
	cmd.Dir = s.folder
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("postern %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func (s *system) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.folder, name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// certificate loads one of the system's authority, or of another folder's, made so long ago and good for an hour.
func (s *system) certificate(dir string, who mtls.Identity, ago time.Duration) *mtls.Set {
	s.t.Helper()
	folder := filepath.Join(s.folder, dir)
	w, err := certs.Issue(folder, certs.Leaf{Identity: who, TTL: time.Hour}, certs.Replace, time.Now().Add(-ago))
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := mtls.Load(mtls.Files{Cert: w.Cert, Key: w.Key, CA: filepath.Join(s.folder, "certs", certs.AuthorityFile)}, mtls.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return set
}
