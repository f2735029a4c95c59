package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/internal/config"
)

const manifests = "../../deploy/kubernetes"

// manifest is what these tests look at of a Kubernetes resource.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Ports []struct {
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		Selector map[string]any
		Template struct {
			Metadata struct{ Labels map[string]any }
			Spec     pod
		}
	}
}

type pod struct {
	InitContainers []container `yaml:"initContainers"`
	Containers     []container
	Volumes        []struct {
		Name      string
		ConfigMap struct {
			Name  string
			Items []struct{ Key, Path string }
		} `yaml:"configMap"`
		Secret struct {
			Name string `yaml:"secretName"`
		}
		EmptyDir map[string]any `yaml:"emptyDir"`
	}
	Grace int `yaml:"terminationGracePeriodSeconds"`
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Startup   podProbe `yaml:"startupProbe"`
	Liveness  podProbe `yaml:"livenessProbe"`
	Readiness podProbe `yaml:"readinessProbe"`
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		SubPath   string `yaml:"subPath"`
	} `yaml:"volumeMounts"`
}

type podProbe struct{ Exec struct{ Command []string } }

// cluster is a folder of manifests.
type cluster []manifest

func readManifests(t *testing.T, folder string) cluster {
	t.Helper()
	var all cluster
	names, err := filepath.Glob(filepath.Join(manifests, folder, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no manifests in %s: %v", folder, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var m manifest
			if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all = append(all, m)
		}
	}
	return all
}

func (c cluster) find(kind, name string) (manifest, bool) {
	i := slices.IndexFunc(c, func(m manifest) bool { return m.Kind == kind && m.Metadata.Name == name })
	if i < 0 {
		return manifest{}, false
	}
	return c[i], true
}

// place is a container of a pod, with the files it sees.
type place struct {
	cluster
	pod
	container
	labels map[string]any
}

// places are the containers that run postern.
func (c cluster) places() []place {
	var found []place
	for _, m := range c {
		if m.Kind != "Deployment" {
			continue
		}
		spec := m.Spec.Template.Spec
		for _, one := range slices.Concat(spec.InitContainers, spec.Containers) {
			if one.Image == "postern" || one.Image == "postern-envoy" {
				found = append(found, place{c, spec, one, m.Spec.Template.Metadata.Labels})
			}
		}
	}
	return found
}

// sees says what a path is inside the container: files with their texts, if they are a ConfigMap's; "secret" and
// "folder" for what is known only when it runs.
func (p place) sees(name string) (kind string, files map[string]string) {
	for _, mount := range p.VolumeMounts {
		rest, within := strings.CutPrefix(name+"/", mount.MountPath+"/")
		if !within || mount.SubPath != "" { // why not subPath: such a mount never changes
			continue
		}
		for _, v := range p.Volumes {
			switch {
			case v.Name != mount.Name:
			case v.Secret.Name != "":
				return "secret", nil
			case v.EmptyDir != nil:
				return "folder", nil
			default:
				return "files", p.project(v.ConfigMap.Name, strings.TrimSuffix(rest, "/"))
			}
		}
	}
	return "", nil
}

// project are the files of a ConfigMap as the container sees them, at or below a path.
func (p place) project(name, below string) map[string]string {
	m, ok := p.find("ConfigMap", name)
	if !ok {
		return nil
	}
	files := map[string]string{}
	for key, text := range m.Data {
		files[key] = text
	}
	for _, v := range p.Volumes {
		if v.ConfigMap.Name == name && len(v.ConfigMap.Items) > 0 {
			files = map[string]string{}
			for _, item := range v.ConfigMap.Items {
				files[item.Path] = m.Data[item.Key]
			}
		}
	}
	for file := range files {
		if below != "" && file != below && !strings.HasPrefix(file, below+"/") {
			delete(files, file)
		}
	}
	return files
}

// understood says whether postern knows these arguments, and returns the command they call.
func understood(t *testing.T, args []string) *cobra.Command {
	t.Helper()
	c, rest, err := newRoot().Find(args)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		var known []string
		for _, arg := range c.Flags().Args() {
			if strings.HasPrefix(arg, "/etc/postern/projects/") {
				arg = t.TempDir() // why: a project must be there
			}
			known = append(known, arg)
		}
		err = c.ValidateArgs(known)
	}
	if err != nil || !c.HasParent() {
		t.Fatalf("postern %q: %v", args, err)
	}
	return c
}

// TestManifestsAreUnderstood: what deploy/kubernetes has postern started with is what it knows; the configuration in it is
// one that it takes, with every file it names mounted.
func TestManifestsAreUnderstood(t *testing.T) {
	t.Parallel()
	for folder, want := range map[string][]string{"gateway": {"adapter", "enforcer", "envoy", "ratelimiter"}, "sidecar": {"run"}} {
		var got []string
		for _, p := range readManifests(t, folder).places() {
			t.Run(folder+"/"+p.Name, func(t *testing.T) {
				c := understood(t, p.Args)
				got = append(got, c.Name())
				cfg := p.load(t, c, config.Part(c.Name()))
				p.checkFiles(t, c, cfg)
				p.checkPorts(t, c.Name(), cfg)
				p.checkEnd(t, c.Name(), cfg)
				for _, asked := range []podProbe{p.Startup, p.Liveness, p.Readiness} {
					if len(asked.Exec.Command) == 0 || asked.Exec.Command[0] != "/usr/local/bin/postern" {
						t.Errorf("a probe runs %q", asked.Exec.Command)
						continue
					}
					if file := understood(t, asked.Exec.Command[1:]).Flag("config"); file == nil || file.Value.String() != c.Flag("config").Value.String() {
						t.Errorf("%q asks with another configuration", asked.Exec.Command)
					}
				}
			})
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s runs %v, want %v", folder, got, want)
		}
	}
}

// load reads the mounted configuration as the command would.
func (p place) load(t *testing.T, c *cobra.Command, part config.Part) *config.Config {
	t.Helper()
	name := c.Flag("config").Value.String()
	_, files := p.sees(path.Dir(name))
	text, ok := files[path.Base(name)]
	if !ok {
		t.Fatalf("%s is not mounted", name)
	}
	file := filepath.Join(t.TempDir(), "postern.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := config.Load(config.Options{Path: file, Lookup: func(string) (string, bool) { return "", false }, Part: part})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v %v", name, warnings, err)
	}
	return cfg
}

// checkFiles: the projects are the examples, keys and certificates come from secrets, and the data folder can be written.
func (p place) checkFiles(t *testing.T, c *cobra.Command, cfg *config.Config) {
	t.Helper()
	for _, project := range c.Flags().Args() {
		_, files := p.sees(project)
		if len(files) == 0 {
			t.Errorf("%s is not mounted", project)
		}
		example := map[string]string{"petstore": "petstore", "notes": "sidecar"}[path.Base(project)]
		for name, text := range files {
			want, err := os.ReadFile(filepath.Join("../../examples", example, filepath.FromSlash(name)))
			if err != nil || string(want) != text {
				t.Errorf("%s of %s is another than that of examples/%s (%v)", name, project, example, err)
			}
		}
	}
	if kind, _ := p.sees(cfg.DataDir); kind != "folder" {
		t.Errorf("dataDir %s is %q: it must be a folder that can be written", cfg.DataDir, kind)
	}
	named := map[string][]config.MutualTLS{
		"adapter": {cfg.XDS.TLS}, "envoy": {cfg.XDS.TLS}, "enforcer": {cfg.XDS.TLS, cfg.Enforcer.TLS}, "ratelimiter": {cfg.XDS.TLS, cfg.RateLimiter.TLS},
	}[c.Name()]
	if c.Name() == "adapter" {
		for _, shown := range cfg.TLS.Certificates {
			named = append(named, config.MutualTLS{Cert: shown.Cert, Key: shown.Key, CA: shown.Cert})
		}
	}
	for _, set := range named {
		for _, name := range []string{set.Cert, set.Key, set.CA} {
			if kind, _ := p.sees(name); kind != "secret" || !slices.Contains([]string{"tls.crt", "tls.key", "ca.crt"}, path.Base(name)) {
				t.Errorf("%s is %q: it must be of a secret's tls.crt, tls.key, ca.crt", name, kind)
			}
		}
	}
}

// checkPorts: where a part listens is a port of its container that a service leads to, and whom it calls is a service.
func (p place) checkPorts(t *testing.T, part string, cfg *config.Config) {
	t.Helper()
	listens := map[string][]string{
		"adapter": {cfg.XDS.Listen}, "enforcer": {cfg.Enforcer.Listen}, "ratelimiter": {cfg.RateLimiter.Listen},
		"envoy": {cfg.Listen.HTTP, cfg.Listen.HTTPS}, "run": {cfg.Listen.HTTP},
	}[part]
	for i, address := range listens {
		_, port, err := net.SplitHostPort(address)
		if err != nil || len(p.Ports) != len(listens) || strconv.Itoa(p.Ports[i].ContainerPort) != port {
			t.Errorf("%s listens on %v, and its container has the ports %v", part, listens, p.Ports)
			continue
		}
		if !slices.ContainsFunc(p.cluster, func(m manifest) bool { return m.Kind == "Service" && m.leads(p.labels, p.Ports[i].Name) }) {
			t.Errorf("no service leads to port %s of %s", p.Ports[i].Name, part)
		}
	}
	calls := map[string][]string{
		"adapter": {cfg.Enforcer.Address, cfg.RateLimiter.Address},
		"envoy":   cfg.XDS.Addresses, "enforcer": cfg.XDS.Addresses, "ratelimiter": cfg.XDS.Addresses,
	}[part]
	for _, address := range calls {
		host, port, err := net.SplitHostPort(address)
		service, ok := p.find("Service", host)
		if err != nil || !ok || strconv.Itoa(service.Spec.Ports[0].Port) != port {
			t.Errorf("%s calls %s, which no service is", part, address)
		}
	}
}

// leads says whether a service leads to a port of pods with these labels.
func (m manifest) leads(labels map[string]any, port string) bool {
	for key, value := range m.Spec.Selector {
		if labels[key] != value {
			return false
		}
	}
	for _, one := range m.Spec.Ports {
		if one.TargetPort == port {
			return true
		}
	}
	return false
}

// checkEnd: the pod is given the time that what is under way may take.
func (p place) checkEnd(t *testing.T, part string, cfg *config.Config) {
	t.Helper()
	if part != "envoy" && part != "run" {
		return
	}
	wait := 0
	for _, one := range slices.Concat(p.InitContainers, p.Containers) {
		wait = max(wait, one.Lifecycle.PreStop.Sleep.Seconds)
	}
	if needed := wait + int(cfg.Envoy.Drain.Seconds()) + 5; wait == 0 || p.Grace < needed {
		t.Errorf("the pod is given %d s, and needs %d: %d of preStop, %s of envoy.drain, and some", p.Grace, needed, wait, cfg.Envoy.Drain)
	}
}
