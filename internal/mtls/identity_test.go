package mtls

import (
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
)

func TestIdentityOf(t *testing.T) {
	t.Parallel()
	for uris, want := range map[string]string{ // an identity, or what is wrong
		"":                                      "nobody",
		"spiffe://x/y":                          "nobody",
		"postern://envoy/edge-1":                "postern://envoy/edge-1",
		"spiffe://x/y postern://envoy/e.1":      "postern://envoy/e.1",
		"postern://envoy/a postern://adapter/a": "two identities",
		"postern://envoy/a/b":                   "is not a name",
		"postern://envoy/":                      "is not a name",
		"postern://envoy":                       "is not a name",
		"postern://envoy/..":                    "is not a name",
		"postern://root/a":                      "is not a role",
		"postern:///a":                          "is not a role",
		"postern-label:blue":                    "names nobody",
		"postern://envoy/a postern-label:":      "must not be empty",
	} {
		c := &x509.Certificate{}
		for _, text := range strings.Fields(uris) {
			uri, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, uri)
		}
		i, err := IdentityOf(c)
		got := i.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %s", uris, got, want)
		}
	}
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	edge := Identity{Role: RoleEnvoy, Name: "edge-1"}
	blue := Identity{Role: RoleEnvoy, Name: "edge-1", Labels: []string{"blue", "green"}}
	node := func(role, id, label string) xds.Node { return xds.Node{ID: id, Label: label, Role: role} }
	for _, c := range []struct {
		who  Identity
		node xds.Node
		want string // "" is yes
	}{
		{edge, node(RoleEnvoy, "edge-1", "any"), ""},
		{edge, node(RoleEnvoy, "edge-1/worker", "any"), ""},
		{edge, node(RoleEnvoy, "edge-10", "any"), `must be "edge-1", or begin with "edge-1/"`},
		{edge, node(RoleEnvoy, "edge", "any"), "is not what its certificate names"},
		{edge, node(RoleEnforcer, "edge-1", "any"), `its certificate is for role "envoy"`},
		{edge, node(RoleRateLimiter, "edge-1/ratelimiter-local", "any"), ""},
		{edge, node(RoleRateLimiter, "edge-2/ratelimiter-local", "any"), "is not what its certificate names"},
		{edge, node(xds.RoleProber, "edge-1/prober", "any"), ""},
		{edge, node(xds.RoleProber, "edge-2/prober", "any"), "is not what its certificate names"},
		{Identity{Role: RoleRateLimiter, Name: "edge-1"}, node(xds.RoleProber, "edge-1/prober", "any"), `its certificate is for role "ratelimiter"`},
		{Identity{Role: RoleRateLimiter, Name: "edge-1"}, node(RoleEnvoy, "edge-1", "any"), `its certificate is for role "ratelimiter"`},
		{blue, node(RoleEnvoy, "edge-1", "green"), ""},
		{blue, node(RoleEnvoy, "edge-1", "default"), `its certificate is for ["blue" "green"]`},
		{Identity{}, node("", "", ""), ""}, // nobody asks: no listener of ours lets nobody in where nodes are
	} {
		err := c.who.Admits(c.node)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %+v: got %v, want %q", c.who, c.node, err, c.want)
		}
	}
}

func TestRefusalsAreRare(t *testing.T) {
	t.Parallel()
	r := refusals{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	now := time.Now()
	turn := func(key string, want int) {
		t.Helper()
		since, ok := r.turn(key, now)
		if !ok {
			since = -1
		}
		if since != want {
			t.Errorf("%s: got %d, want %d", key, since, want)
		}
	}
	turn("a", 0)
	turn("a", -1)
	turn("a", -1)
	turn("b", 0)
	now = now.Add(quiet)
	turn("a", 2)
	for i := range 2 * mostTold {
		r.turn(string(rune('A'+i)), now)
	}
	if len(r.told) > mostTold {
		t.Errorf("%d are remembered", len(r.told))
	}
	turn("new", -1)
	now = now.Add(quiet)
	turn("new", 0)
}

func TestReasonOfProbes(t *testing.T) {
	t.Parallel()
	for _, err := range []error{io.EOF, net.ErrClosed, &net.OpError{Op: "read", Err: io.EOF}} {
		if words := reason(err, Files{}); words != "" {
			t.Errorf("%v is told: %s", err, words)
		}
	}
	if words := reason(errors.New("something else"), Files{}); words != "something else" {
		t.Error(words)
	}
}
