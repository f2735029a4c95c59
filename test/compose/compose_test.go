//go:build compose

package compose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	root    = "../.."
	project = "postern-test" // of the containers, networks and volumes, apart from those of whoever works on this machine
	plain   = "http://127.0.0.1:9090"
	secure  = "https://localhost:9095"
	patient = 2 * time.Minute
)

func TestCompose(t *testing.T) {
	s := up(t)
	for _, c := range []struct {
		name string
		test func(*stack)
	}{
		{"images", (*stack).images},
		{"containers", (*stack).containers},
		{"acceptance over HTTP", func(s *stack) { s.acceptance(plain, s.client(nil)) }},
		{"acceptance over HTTPS, HTTP/1.1", func(s *stack) { s.acceptance(secure, s.client([]string{"http/1.1"})) }},
		{"acceptance over HTTPS, HTTP/2", func(s *stack) { s.acceptance(secure, s.client([]string{"h2"})) }},
		{"edits", (*stack).edits},
		{"strangers", (*stack).strangers},
		{"failures", (*stack).failures},
		{"restarts without an adapter", (*stack).restartsWithoutAdapter},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(s.in(t)) })
	}
}

// stack is what docker-compose.yaml describes, up and ready.
type stack struct {
	t           *testing.T
	authorities *x509.CertPool // of the gateway's certificate
	token       string         // with the scope read:pets
	load        string         // the folder of one more project
}

// up starts everything anew, and takes it away with its volumes when the test ends.
func up(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, load: copied(t, "testdata/load")}
	s.compose("down", "--volumes", "--timeout", "1")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.words("compose", s.files("logs", "--no-color", "--tail", "60")...))
		}
		s.compose("down", "--volumes", "--timeout", "5")
	})
	begun := time.Now()
	if out, err := s.try("compose", s.files("up", "--no-build", "--detach", "--wait", "--wait-timeout", "90")...); err != nil {
		t.Fatalf("compose up: %v\n%s\n%s", err, out, s.compose("ps", "--all"))
	}
	t.Logf("up and healthy after %s", time.Since(begun).Round(100*time.Millisecond))
	s.token = s.sign("read:pets")
	s.authorities = s.ca()
	return s
}

func (s *stack) environment() []string { return append(os.Environ(), "LOAD="+s.load) }

// copied is a copy of a folder that containers may read and the test may write.
func copied(t *testing.T, folder string) string {
	t.Helper()
	target, err := os.MkdirTemp("", "p")
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(target) })
		err = errors.Join(os.CopyFS(target, os.DirFS(folder)), os.Chmod(target, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// in is the same stack for a subtest, which fails by itself.
func (s *stack) in(t *testing.T) *stack {
	own := *s
	own.t = t
	return &own
}

// files are the arguments of `docker compose` that name what is to be up.
func (s *stack) files(arguments ...string) []string {
	return append([]string{
		"--project-name", project, "--project-directory", ".", "--file", "docker-compose.yaml", "--file", "test/compose/testdata/load.yaml",
	}, arguments...)
}

func (s *stack) compose(arguments ...string) string {
	s.t.Helper()
	return s.docker("compose", s.files(arguments...)...)
}

// docker runs a command of docker and returns what it prints on standard output.
func (s *stack) docker(command string, arguments ...string) string {
	s.t.Helper()
	out, err := s.try(command, arguments...)
	if err != nil {
		s.t.Fatalf("docker %s %s: %v\n%s", command, strings.Join(arguments, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (s *stack) try(command string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{command}, arguments...)...)
	cmd.Dir, cmd.Env = root, s.environment()
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		return string(out) + string(exit.Stderr), err
	}
	return string(out), err
}

// words is all that a command of docker prints, however it ends.
func (s *stack) words(command string, arguments ...string) string {
	cmd := exec.Command("docker", append([]string{command}, arguments...)...)
	cmd.Dir, cmd.Env = root, s.environment()
	out, _ := cmd.CombinedOutput() // what went wrong is among the words
	return string(out)
}

// container is the id of a service's container.
func (s *stack) container(service string) string {
	s.t.Helper()
	id := s.compose("ps", "--all", "--quiet", service)
	if id == "" || strings.Contains(id, "\n") {
		s.t.Fatalf("containers of %s: %q", service, id)
	}
	return id
}

// sign makes a token as the guide says.
func (s *stack) sign(scope string) string {
	s.t.Helper()
	return s.compose("run", "--rm", "--no-TTY", "token", "--scope", scope)
}

// ca is the authority that the gateway's certificate comes from, got as the guide says.
func (s *stack) ca() *x509.CertPool {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "ca.crt")
	s.compose("cp", "adapter:/etc/postern/https/ca.crt", file)
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		s.t.Fatalf("no certificate in %s", text)
	}
	return pool
}

// client makes a client that speaks these protocols over TLS; nil is for plain HTTP.
func (s *stack) client(protocols []string) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}
	if protocols != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: s.authorities, NextProtos: protocols, MinVersion: tls.VersionTLS12}
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP1(protocols[0] == "http/1.1")
		transport.Protocols.SetHTTP2(protocols[0] == "h2")
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// answer is what came back for a request.
type answer struct {
	status   int
	protocol string
	header   http.Header
	body     string
}

// problem is the code in the body.
func (a answer) problem() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &p) // what is no problem has no code
	return p.Code
}

func (a answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

func call(client *http.Client, method, url, token string) (answer, error) {
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Proto, response.Header, string(body)}, err
}

// eventually waits until done says that it is so.
func eventually(t testing.TB, what string, limit time.Duration, done func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !done() {
		if time.Since(begun) > limit {
			t.Fatalf("%s: not after %s", what, limit)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
	return time.Since(begun)
}
