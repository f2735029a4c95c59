package mtls_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/mtls"
)

func TestPeer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := serve(t, a.issue(mtls.RoleRateLimiter, "limiter-1", 0), mtls.RoleEnvoy, mtls.RoleEnforcer)
	for _, role := range []string{mtls.RoleEnvoy, mtls.RoleEnforcer} {
		client := load(t, a.issue(role, role+"-1", 0, "blue", "a.b"), nil)
		if err := ask(t, connect(t, s.address, client.ClientCredentials(mtls.RoleRateLimiter))); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		got := s.who[len(s.who)-1]
		s.mu.Unlock()
		if got.String() != "postern://"+role+"/"+role+"-1" || strings.Join(got.Labels, ",") != "blue,a.b" {
			t.Errorf("got %s %q", got, got.Labels)
		}
	}
	if _, ok := mtls.Peer(context.Background()); ok {
		t.Error("there is a peer where no connection is")
	}
}

// TestLabels: what serves one label takes nobody whose certificate is limited to others.
func TestLabels(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := serveLabel(t, a.issue(mtls.RoleEnforcer, "enforcer-1", 0), "default", mtls.RoleEnvoy)
	for name, c := range map[string]struct {
		labels []string
		code   codes.Code
	}{
		"any": {nil, codes.OK}, "its": {[]string{"partner", "default"}, codes.OK}, "another": {[]string{"partner"}, codes.Unavailable},
	} {
		client := load(t, a.issue(mtls.RoleEnvoy, name, 0, c.labels...), nil)
		if err := ask(t, connect(t, s.address, client.ClientCredentials(mtls.RoleEnforcer))); status.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.log.Wait(t, `is for the labels [\"partner\"], and this serves \"default\"`)
}

// TestPlainSaysTLS: who has no certificate for a server that wants one is told so.
func TestPlainSaysTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := serve(t, a.issue(mtls.RoleAdapter, "adapter-1", 0), mtls.RoleEnvoy)
	err := ask(t, connect(t, s.address, mtls.Plain("xds.tls")))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), s.address+" hangs up without a word: it may want TLS, which is xds.tls here") {
		t.Error(err)
	}
}
