package adapter

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/xdstest"
)

// TestWhatIsLeftOfAFlightTakesNothingFromAPush: of two APIs one leaves a backend and another one, that a gateway rejects,
// joins it. Without that one nobody would need the cluster any longer, but for a push that counts on it meanwhile.
func TestWhatIsLeftOfAFlightTakesNothingFromAPush(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	at := func(address, name, path string) string {
		return strings.ReplaceAll(definition(name, "/"+name, path), "127.0.0.1", address)
	}
	write := func(a, b string) {
		p.write("f.zip", string(archive(t, map[string]string{"api_definitions/a.yaml": a, "api_definitions/b.yaml": b})))
	}
	write(at("127.0.0.2", "leaves", "/x"), at("127.0.0.4", "joins", "/x"))
	p.start(func(o *Options) { p.withStore(o); o.Publish.Linger = 50 * time.Millisecond }, "f.zip")
	p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
	underWay, rejected := make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(underWay) })
	gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: func(typeURL string, r *discoveryv3.Resource) string {
		if typeURL == xds.ClusterType && strings.Contains(r.Name, "127.0.0.3") {
			<-underWay // the push, too
		}
		return refusePoison(typeURL, r)
	}})
	first := p.gateway("first", xds.RoleEnvoy, xdstest.Options{})
	enforcer := p.gateway("enforcer", xds.RoleEnforcer, xdstest.Options{Refuse: func(_ string, r *discoveryv3.Resource) string {
		if bytes.Contains(r.Resource.Value, []byte("pushed")) {
			begun()
			<-rejected
		}
		return ""
	}})
	has := func(g *xdstest.Gateway, address string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(g.State()[xds.ClusterType])), func(name string) bool { return strings.Contains(name, address) })
	}
	// Serving speaks of who is connected: that each of them is, and has what there is, must be asked of them.
	p.until("the gateways are there", func() bool {
		return p.Serving() && has(gw, "127.0.0.4") && has(first, "127.0.0.4") && len(enforcer.State()[posternv1.PolicyType]) == 2
	})
	old := slices.Collect(maps.Keys(enforcer.State()[posternv1.PolicyType]))

	write(at("127.0.0.3", "leaves", "/y"), at("127.0.0.2", "joins", "/poison"))
	p.until("the edit is under way", func() bool { return has(first, "127.0.0.3") })
	done := make(chan error, 1)
	go func() {
		content := archive(t, map[string]string{"api_definitions/c.yaml": at("127.0.0.2", "pushed", "/x")})
		_, err := p.Push(context.Background(), Push{Project: "pushed", Archive: content, Wait: patience})
		done <- err
	}()
	p.until("the edit is rejected", func() bool { return strings.Contains(p.log.String(), "api rejected") })
	close(rejected)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p.until("the other half of the edit is served, and what it was is cleared away", func() bool {
		have := enforcer.State()[posternv1.PolicyType]
		left := slices.DeleteFunc(slices.Clone(old), func(name string) bool { return have[name] == "" })
		return p.of("f.zip", "leaves/1.0.0").State == Live && len(left) == 1 && p.Serving()
	})
	for _, g := range []*xdstest.Gateway{gw, first} {
		if !has(g, "127.0.0.2") {
			t.Error("a gateway lacks the cluster of what was pushed")
		}
	}
}
