//go:build compose

package compose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// inspected is what an engine tells of a container.
type inspected struct {
	Name   string
	Config struct {
		User  string
		Env   []string
		Image string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
		PortBindings   map[string][]struct{ HostIP, HostPort string }
		RestartPolicy  struct{ Name string }
	}
	Mounts []struct {
		Destination string
		Name        string
		RW          bool
	}
	State struct {
		Status string
		Health *struct{ Status string }
	}
}

var (
	ports  = map[string][]string{"/postern-test-envoy-1": {"9090/tcp", "9095/tcp"}}
	secret = regexp.MustCompile(`(?i)PRIVATE KEY|password|secret=|eyJ[A-Za-z0-9_-]{20}`)
)

// containers looks at how everything runs: what guides promise.
func (s *stack) containers() {
	t := s.t
	var all []inspected
	ids := strings.Fields(s.compose("ps", "--all", "--quiet"))
	if err := json.Unmarshal([]byte(s.docker("inspect", ids...)), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 7 {
		t.Errorf("%d containers", len(all))
	}
	holders := map[string][]string{} // volume → containers that see it
	for _, c := range all {
		h := c.HostConfig
		if !h.ReadonlyRootfs || h.Privileged || len(h.CapAdd) > 0 || !slices.Equal(h.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: read-only %v, privileged %v, capabilities +%v -%v", c.Name, h.ReadonlyRootfs, h.Privileged, h.CapAdd, h.CapDrop)
		}
		if !slices.Contains(h.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: security %v", c.Name, h.SecurityOpt)
		}
		if user, _, _ := strings.Cut(c.Config.User, ":"); user == "" || user == "0" || user == "root" {
			t.Errorf("%s: runs as %q", c.Name, c.Config.User)
		}
		for _, m := range c.Mounts {
			if m.Name != "" && strings.HasSuffix(m.Name, "-tls") && m.RW != (c.Name == "/postern-test-certs-1") {
				t.Errorf("%s: may write to %s: %v", c.Name, m.Name, m.RW)
			}
			holders[m.Name] = append(holders[m.Name], c.Name)
		}
		if found := secret.FindString(fmt.Sprint(c.Config.Env)); found != "" {
			t.Errorf("%s: its environment has %q", c.Name, found)
		}
		var published []string
		for port, where := range h.PortBindings {
			published = append(published, port)
			for _, w := range where {
				if w.HostIP != "127.0.0.1" {
					t.Errorf("%s: %s is published on %q", c.Name, port, w.HostIP)
				}
			}
		}
		if slices.Sort(published); !slices.Equal(published, ports[c.Name]) {
			t.Errorf("%s: publishes %v", c.Name, published)
		}
		if c.State.Status == "running" && (c.State.Health == nil || c.State.Health.Status != "healthy") {
			t.Errorf("%s: health %+v", c.Name, c.State.Health)
		}
	}
	for volume, want := range map[string]int{"authority": 1, "adapter-tls": 2, "enforcer-tls": 2, "ratelimiter-tls": 2, "envoy-tls": 2, "https-tls": 2, "issuer-key": 1} {
		if got := holders[project+"_"+volume]; len(got) != want {
			t.Errorf("%s is in %v, want %d containers", volume, got, want)
		}
	}
}

// images are small, say what they are, and are the same when they are built again.
func (s *stack) images() {
	t := s.t
	for image, limit := range map[string]int{"postern:local": 60 << 20, "postern-envoy:local": 220 << 20, "postern-backend:local": 20 << 20} {
		var size int
		if _, err := fmt.Sscan(s.docker("image", "inspect", "--format", "{{.Size}}", image), &size); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MB", image, float64(size)/1e6)
		if size > limit {
			t.Errorf("%s has %d bytes, more than %d", image, size, limit)
		}
		if user := s.docker("image", "inspect", "--format", "{{.Config.User}}", image); user != "65532:65532" {
			t.Errorf("%s runs as %q", image, user)
		}
	}
	if words := s.docker("run", "--rm", "--read-only", "--cap-drop", "ALL", "postern-envoy:local", "version"); !strings.Contains(words, "; tested with") {
		t.Errorf("postern version: %s", words)
	}
}
