package skew

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestVersionsWorkTogether: one part after the other is of the version before, and all but the adapter are, which is what an
// upgrade goes through. Each of these gateways serves a protected and limited API, and takes a change of it.
func TestVersionsWorkTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		of   versions
		tls  bool
	}{
		{"older enforcer", versions{"enforcer": previous}, byTLS},
		{"older ratelimiter", versions{"ratelimiter": previous}, byTLS},
		{"older envoy", versions{"envoy": previous}, byTLS},
		{"older adapter", versions{"adapter": previous}, byTLS},
		{"newer adapter", versions{"enforcer": previous, "ratelimiter": previous, "envoy": previous}, byTLS},
		{"older adapter, sockets", versions{"adapter": previous}, bySocket},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, of := start(t, c.of, c.tls), c.of
			s.protects("/x")
			s.serve("/x", "/y")
			s.until("the change is served", func() bool { return s.get("/y", "").StatusCode == http.StatusUnauthorized })
			s.protects("/y")
			s.until("all are serving", func() bool {
				r := s.gateways()
				found := map[string]string{"adapter": r.Adapter}
				for _, g := range r.Gateways {
					if g.State != "serving" {
						return false
					}
					found[g.Role] = g.Version
				}
				for _, part := range []string{"adapter", "enforcer"} { // the others' are several, or Envoy's own
					if (found[part] == previous) != (of[part] == previous) {
						t.Fatalf("%s is of version %q", part, found[part])
					}
				}
				return found["envoy"] != "" && found["ratelimiter"] != "" && len(r.Labels) == 1 && r.Labels[0].Live == 1
			})
		})
	}
}

// TestAWordNobodyKnows: an adapter of tomorrow asks for what enforcer and ratelimiter of today do not know. They refuse it,
// so that nothing is served with less than was asked for; what was served before stays, and it is said.
func TestAWordNobodyKnows(t *testing.T) {
	t.Parallel()
	for role, path := range map[string]string{"enforcer": "/tomorrow", "ratelimiter": "/tomorrow-often"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := start(t, versions{"adapter": tomorrow}, bySocket)
			s.protects("/x")
			s.serve("/x", "/y", path)
			s.until("it is rejected", func() bool {
				r := s.gateways()
				return len(r.Labels) == 1 && r.Labels[0].Stale == 1 && r.Labels[0].Live == 0
			})
			for _, path := range []string{path, "/y"} {
				if got := s.get(path, s.keys.Token(nil)).StatusCode; got != http.StatusNotFound {
					t.Errorf("%s of the rejected revision: %d", path, got)
				}
			}
			if got := s.get("/x", s.keys.Token(nil)).StatusCode; got != http.StatusTooManyRequests {
				t.Errorf("what was served before, and used up: %d", got)
			}
			said := slices.ContainsFunc(strings.Split(s.logs["adapter"].String(), "\n"), func(line string) bool {
				return strings.Contains(line, "api rejected") && strings.Contains(line, "pets/1.0.0") &&
					strings.Contains(line, `\"tomorrow\", which this `+role+` does not know`)
			})
			if !said {
				t.Error("the adapter's log does not say what the matter is")
			}
			s.serve("/x", "/y")
			s.until("what all know is served", func() bool { return s.get("/y", "").StatusCode == http.StatusUnauthorized })
			s.protects("/y")
		})
	}
}
