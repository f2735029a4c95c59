//go:build compose

package compose

import (
	"strings"
	"testing"
	"time"
)

// A stranger is a process in the network of the parts that calls itself an enforcer.
type stranger struct {
	name   string
	volume string // where its files are
	cert   string // without the ending; "" is none
	ca     string
	says   string // what the adapter says of it, or it itself before it calls anybody
}

// strangers have a certificate of another authority, for another part, one that has expired, or none. They get nothing, and a
// log says why.
func (s *stack) strangers() {
	t := s.t
	const foreign, authority = project + "_stranger", project + "_authority"
	t.Cleanup(func() { s.docker("volume", "rm", "--force", foreign) })
	certs := func(volume string, arguments ...string) {
		t.Helper()
		s.docker("run", append([]string{"--rm", "--volume", volume + ":/keys", "--network", "none", "postern-keys:local", "certs"}, arguments...)...)
	}
	certs(foreign, "set", "--dir", "/keys", "enforcer")
	certs(authority, "server", "old", "--role", "enforcer", "--ttl", "1s", "--dir", "/keys")
	time.Sleep(1100 * time.Millisecond) // it is to expire
	for _, c := range []stranger{
		{"of another authority", foreign, "/keys/enforcer", "/keys/ca.pem", "it does not accept our certificate"},
		{"of another authority, which believes ours", foreign, "/keys/enforcer", "/ours/ca.crt", "unknown authority"},
		{"expired", authority, "/keys/old", "/keys/ca.pem", "expired"},
		{"of another part", project + "_envoy-tls", "/keys/tls", "/keys/ca.crt", "role"},
		{"without any", foreign, "", "", "it does not speak TLS"},
	} {
		t.Run(c.name, func(t *testing.T) { s.in(t).turnedAway(c) })
	}
}

func (s *stack) turnedAway(c stranger) {
	t := s.t
	since := time.Now().UTC().Format(time.RFC3339)
	arguments := []string{
		"--detach", "--network", project + "_control", "--volume", c.volume + ":/keys:ro", "--volume", project + "_adapter-tls:/ours:ro",
		"--env", `POSTERN_XDS_ADDRESSES=["adapter:18000"]`,
	}
	arguments = append(arguments, c.files()...)
	arguments = append(arguments, "postern:local", "enforcer")
	if c.cert == "" {
		arguments = append(arguments, "--insecure")
	}
	id := s.docker("run", arguments...)
	defer s.docker("rm", "--force", "--volumes", id)
	told := func() string {
		return s.compose("logs", "--no-color", "--no-log-prefix", "--since", since, "adapter") + "\n" + s.words("logs", id)
	}
	eventually(t, "a log says "+c.says, 15*time.Second, func() bool { return strings.Contains(told(), c.says) })
	if out, err := s.try("exec", id, "/usr/local/bin/postern", "healthy", "enforcer", "--ready"); err == nil {
		t.Errorf("it has got everything:\n%s\n%s", out, told())
	}
	t.Log(told())
}

// files name what it shows.
func (c stranger) files() []string {
	if c.cert == "" {
		return nil
	}
	cert, key := c.cert+".pem", c.cert+".key"
	if strings.HasSuffix(c.ca, "keys/ca.crt") {
		cert = c.cert + ".crt"
	}
	return []string{"--env", "POSTERN_XDS_TLS_CERT=" + cert, "--env", "POSTERN_XDS_TLS_KEY=" + key, "--env", "POSTERN_XDS_TLS_CA=" + c.ca}
}
