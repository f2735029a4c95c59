package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/test/fixture"
)

// resource is what is needed of a Kubernetes resource to do here what the kubelet does.
type resource struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec struct {
				InitContainers []podContainer `yaml:"initContainers"`
				Containers     []podContainer
				Volumes        []podVolume
			}
		}
	}
}

type podContainer struct {
	Name, Image    string
	Args           []string
	Env            []struct{ Name, Value string }
	ReadinessProbe struct{ Exec struct{ Command []string } } `yaml:"readinessProbe"`
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type podVolume struct {
	Name      string
	ConfigMap struct {
		Name  string
		Items []struct{ Key, Path string }
	} `yaml:"configMap"`
	Secret struct {
		Name string `yaml:"secretName"`
	}
}

// cluster stands for one: the manifests of a folder, started on this machine with their arguments, their environment and
// what is mounted. Only what a machine has once is replaced: folders at the root, addresses, well-known ports.
type cluster struct {
	t         *testing.T
	folder    string
	resources []resource
	secrets   map[string]map[string]string
	here      []string // pairs for replacement, by what is the same for all pods
	pods      map[string]*podProcess
}

// podProcess is a container that runs, with its mounts by the names of their ConfigMaps and Secrets.
type podProcess struct {
	cmd    *exec.Cmd
	env    []string
	probe  []string
	log    *output
	ended  chan struct{}
	mounts map[string]*mount
	items  map[string]map[string]string // of a ConfigMap: key → path
}

func newCluster(t *testing.T, folder string, here ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, folder: fixture.TempDir(t), secrets: map[string]map[string]string{}, here: here, pods: map[string]*podProcess{}}
	names, err := filepath.Glob(filepath.Join("../../deploy/kubernetes", folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var r resource
			if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			c.resources = append(c.resources, r)
		}
	}
	return c
}

func (c *cluster) configMap(name string) map[string]string {
	c.t.Helper()
	for _, r := range c.resources {
		if r.Kind == "ConfigMap" && r.Metadata.Name == name {
			return r.Data
		}
	}
	c.t.Fatalf("there is no ConfigMap %s", name)
	return nil
}

// start runs the containers of postern, one for each Deployment, and waits until none has said that it is not ready.
func (c *cluster) start(env ...string) {
	c.t.Helper()
	for _, r := range c.resources {
		spec := r.Spec.Template.Spec
		for _, one := range append(spec.InitContainers, spec.Containers...) {
			if one.Image == "postern" || one.Image == "postern-envoy" {
				c.pods[one.Name] = c.run(one, spec.Volumes, env)
			}
		}
	}
	for name, p := range c.pods {
		fixture.WaitFor(c.t, name+" to be ready", func() bool {
			select {
			case <-p.ended:
				c.t.Fatalf("%s ended:\n%s", name, p.log)
			default:
			}
			probe := exec.Command(p.probe[0], p.probe[1:]...)
			probe.Env = p.env
			return probe.Run() == nil
		})
	}
}

func (c *cluster) run(one podContainer, volumes []podVolume, env []string) *podProcess {
	c.t.Helper()
	program, err := program()
	if err != nil {
		c.t.Fatal(err)
	}
	root := filepath.Join(c.folder, one.Name)
	pairs := append([]string{"/etc/postern", root + "/etc", "/var/lib/postern", root + "/data", "/usr/local/bin/postern", program}, c.here...)
	local := strings.NewReplacer(pairs...)
	p := &podProcess{log: &output{}, ended: make(chan struct{}), mounts: map[string]*mount{}, items: map[string]map[string]string{}}
	for _, m := range one.VolumeMounts {
		for _, v := range volumes {
			if v.Name == m.Name {
				c.mount(p, v, local.Replace(m.MountPath), local)
			}
		}
	}
	var args []string
	for _, arg := range one.Args {
		args = append(args, local.Replace(arg))
	}
	for _, word := range one.ReadinessProbe.Exec.Command {
		p.probe = append(p.probe, local.Replace(word))
	}
	p.env = append(os.Environ(), "POSTERN_ENVOY_PATH="+fixture.EnvoyPath(c.t), "POSTERN_MANAGEMENT_LISTEN=127.0.0.1:0",
		"POSTERN_ENFORCER_ADMIN=127.0.0.1:0", "POSTERN_RATELIMITER_ADMIN=127.0.0.1:0")
	for _, e := range one.Env {
		p.env = append(p.env, e.Name+"="+local.Replace(e.Value))
	}
	p.env = append(p.env, env...)
	p.cmd = exec.Command(program, args...)
	p.cmd.Env, p.cmd.Dir = p.env, root
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	c.t.Cleanup(func() { c.stop(one.Name, p) })
	return p
}

// mount brings a volume to where the container sees it.
func (c *cluster) mount(p *podProcess, v podVolume, at string, local *strings.Replacer) {
	c.t.Helper()
	files := map[string]string{}
	name := v.ConfigMap.Name
	switch {
	case v.Secret.Name != "":
		name, files = v.Secret.Name, c.secrets[v.Secret.Name]
		if files == nil {
			c.t.Fatalf("there is no Secret %s", name)
		}
	case name != "":
		p.items[name] = map[string]string{}
		for _, item := range v.ConfigMap.Items {
			p.items[name][item.Key] = item.Path
		}
		for key, text := range c.configMap(name) {
			files[p.path(name, key)] = local.Replace(text)
		}
	default: // an emptyDir
		if err := os.MkdirAll(at, 0o700); err != nil {
			c.t.Fatal(err)
		}
		return
	}
	p.mounts[name] = newMount(c.t, at, files)
}

func (p *podProcess) path(configMap, key string) string {
	if path := p.items[configMap][key]; path != "" {
		return path
	}
	return key
}

func (c *cluster) stop(name string, p *podProcess) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(fixture.Patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		c.t.Errorf("%s did not end when it was told to", name)
	}
	if c.t.Failed() {
		c.t.Logf("%s said:\n%s", name, p.log)
	}
}

// postern runs a command and returns what it prints.
func postern(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := command(t, dir, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("postern %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// secret is a Secret of a certificate that `postern certs` made.
func secret(t *testing.T, dir, part string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for key, name := range map[string]string{"tls.crt": part + ".pem", "tls.key": part + ".key", "ca.crt": "ca.pem"} {
		text, err := os.ReadFile(filepath.Join(dir, "certs", name))
		if err != nil {
			t.Fatal(err)
		}
		files[key] = string(text)
	}
	return files
}

// TestKubernetesGateway starts what deploy/kubernetes/gateway says, as far as one machine can, and changes a ConfigMap and
// Secrets under it.
func TestKubernetesGateway(t *testing.T) {
	t.Parallel()
	b := backend(t)
	plain, secure, work := fixture.Address(t), fixture.Address(t), fixture.TempDir(t)
	here := []string{"0.0.0.0:9090", plain, "0.0.0.0:9095", secure, "pets.default.svc:80", b.Listener.Addr().String()}
	inner := map[string]string{}
	for part, port := range map[string]string{"adapter": "18000", "enforcer": "18001", "ratelimiter": "18002"} {
		inner[part] = fixture.Address(t)
		here = append(here, "postern-"+part+":"+port, inner[part], "0.0.0.0:"+port, inner[part])
	}
	c := newCluster(t, "gateway", here...)
	postern(t, work, "certs", "set", "adapter", "enforcer", "ratelimiter", "envoy")
	for _, part := range []string{"adapter", "enforcer", "ratelimiter", "envoy"} {
		c.secrets["postern-"+part+"-tls"] = secret(t, work, part)
	}
	authority := fixture.NewAuthority(t)
	shown := func() map[string]string {
		one := authority.Issue(t, time.Hour, "shop.example.com")
		return map[string]string{"tls.crt": string(one.Cert), "tls.key": string(one.Key)}
	}
	c.secrets["postern-https"] = shown()
	jwks := filepath.Join(work, "jwks.json")
	postern(t, work, "token", "--jwks", jwks)
	c.start()

	g := &gateway{t: t, http: plain, stderr: c.pods["envoy"].log}
	token := postern(t, work, "token", "--scope", "read:pets")
	c.nameIssuer(g, token, jwks)
	for _, call := range []struct {
		path, token string
		status      int
	}{
		{"/petstore/1.0.0/pet/1", token, 200},
		{"/petstore/1.0.0/pet/1", "", 401},
		{"/petstore/1.0.0/nothing", token, 404},
	} {
		if a := g.get("GET", call.path, call.token); a.status != call.status {
			t.Errorf("%s answers %d, want %d: %s", call.path, a.status, call.status, a.body)
		}
	}
	if a := g.get("GET", "/petstore/1.0.0/store/inventory", ""); a.status != 200 || a.header.Get("X-RateLimit-Limit") != "10" {
		t.Errorf("the ratelimiter counts nothing: %d %v", a.status, a.header)
	}

	c.changeProject(g, token)
	c.renewCertificates(g, token, work, inner)
	c.replaceShown(secure, authority, shown)
}

// nameIssuer puts an issuer of tokens into the ConfigMap of the settings, which names none.
func (c *cluster) nameIssuer(g *gateway, token, jwks string) {
	c.t.Helper()
	if a := g.get("GET", "/petstore/1.0.0/pet/1", token); a.status != 401 {
		c.t.Errorf("without an issuer it answers %d", a.status)
	}
	settings := c.pods["adapter"].mounts["postern"]
	text, err := os.ReadFile(filepath.Join(settings.folder, "postern.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	named := strings.Replace(string(text), "issuers: []", fmt.Sprintf("issuers: [{issuer: 'urn:postern:dev', jwks: {file: %q}}]", jwks), 1)
	settings.put(map[string]string{"postern.yaml": named})
	fixture.WaitFor(c.t, "the issuer to be known", func() bool { return g.get("GET", "/petstore/1.0.0/pet/1", token).status == 200 })
}

// changeProject puts another definition into the ConfigMap of the example.
func (c *cluster) changeProject(g *gateway, token string) {
	c.t.Helper()
	adapter := c.pods["adapter"]
	files := map[string]string{}
	for key, text := range c.configMap("postern-petstore") {
		files[adapter.path("postern-petstore", key)] = strings.ReplaceAll(text, "/pet/{petId}:", "/animal/{petId}:")
	}
	adapter.mounts["postern-petstore"].put(files)
	fixture.WaitFor(c.t, "the other definition", func() bool { return g.get("GET", "/petstore/1.0.0/animal/1", token).status == 200 })
	if a := g.get("GET", "/petstore/1.0.0/pet/1", token); a.status != 404 {
		c.t.Errorf("what is gone answers %d", a.status)
	}
}

// renewCertificates gives all parts others of the same authority, which they show from then on, and calls go on.
func (c *cluster) renewCertificates(g *gateway, token, work string, inner map[string]string) {
	c.t.Helper()
	for part, kind := range map[string]string{"adapter": "server", "enforcer": "server", "ratelimiter": "server", "envoy": "client"} {
		postern(c.t, work, "certs", kind, part, "--role", part, "--renew")
		c.pods[part].mounts["postern-"+part+"-tls"].put(secret(c.t, work, part))
	}
	for part, address := range inner {
		block, _ := pem.Decode([]byte(secret(c.t, work, part)["tls.crt"]))
		// why: a server shows its certificate before it asks for another, and this is all that is wanted of it
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			c.t.Fatal(err)
		}
		if shown := conn.ConnectionState().PeerCertificates[0]; !bytes.Equal(shown.Raw, block.Bytes) {
			c.t.Errorf("the %s still shows its old certificate", part)
		}
		conn.Close()
	}
	if a := g.get("GET", "/petstore/1.0.0/animal/1", token); a.status != 200 {
		c.t.Errorf("after new certificates it answers %d: %s", a.status, a.body)
	}
}

// replaceShown puts another certificate into the Secret of what consumers are shown.
func (c *cluster) replaceShown(address string, authority *fixture.Authority, next func() map[string]string) {
	c.t.Helper()
	serial := func() string {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, &tls.Config{RootCAs: authority.Pool, ServerName: "shop.example.com"})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority.Pool, ServerName: "shop.example.com"}, DisableKeepAlives: true,
	}}
	res, err := client.Get("https://" + address + "/petstore/1.0.0/store/inventory")
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		c.t.Errorf("over TLS it answers %s", res.Status)
	}
	c.pods["adapter"].mounts["postern-https"].put(next())
	fixture.WaitFor(c.t, "the other certificate", func() bool { return serial() != first })
}

// TestKubernetesSidecar starts the gateway of deploy/kubernetes/sidecar, and changes its project.
func TestKubernetesSidecar(t *testing.T) {
	t.Parallel()
	b := backend(t)
	plain, work := fixture.Address(t), fixture.TempDir(t)
	c := newCluster(t, "sidecar", "0.0.0.0:9090", plain, "127.0.0.1:9091", b.Listener.Addr().String())
	jwks := filepath.Join(work, "jwks.json")
	postern(t, work, "token", "--jwks", jwks)
	c.start(fmt.Sprintf(`POSTERN_ISSUERS=[{"issuer": "urn:postern:dev", "jwks": {"file": %q}}]`, jwks))
	p := c.pods["gateway"]
	g := &gateway{t: t, http: plain, stderr: p.log}
	token := postern(t, work, "token")
	if a := g.get("GET", "/ann/notes", token); a.status != 200 || a.body != "GET /ann/notes" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := g.get("GET", "/ann/notes", ""); a.status != 401 {
		t.Errorf("without a token it answers %d", a.status)
	}
	files := map[string]string{}
	for key, text := range c.configMap("notes-project") {
		text = strings.NewReplacer("/{user}/notes:", "/{user}/letters:", "127.0.0.1:9091", b.Listener.Addr().String()).Replace(text)
		files[p.path("notes-project", key)] = text
	}
	p.mounts["notes-project"].put(files)
	fixture.WaitFor(t, "the other definition", func() bool { return g.get("GET", "/ann/letters", token).status == 200 })
}
