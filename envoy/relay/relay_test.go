package relay_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

func has(typeURL, item string) func(map[string]map[string]string) bool {
	name, version, _ := strings.Cut(item, "@")
	return func(have map[string]map[string]string) bool { return have[typeURL][name] == version }
}

// TestKeepsWhatIsAcknowledged: what Envoy took is in the store, what it refused is not, what it left is not any more.
func TestKeepsWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1", "b@1")
	c.put(xds.ListenerType, "http@1")
	c.put(xds.ScopeType, "s@1", "u@1")
	c.put(xds.RouteType, "s@1", "u@1")
	a := newAdapter(t, c).start()
	r := newRig(t, "", a.address).serve()
	g := r.connect(nil)
	g.Wait("it has the tables", has(xds.RouteType, "u@1"))
	r.keeps(xds.ClusterType, "a@1", "b@1")
	r.keeps(xds.ListenerType, "http@1")
	r.keeps(xds.RouteType, "s@1", "u@1")

	c.put(xds.ClusterType, "a@2")
	c.remove(xds.ClusterType, "b")
	c.remove(xds.ScopeType, "u") // Envoy unsubscribes from its table
	r.keeps(xds.ClusterType, "a@2")
	r.keeps(xds.ScopeType, "s@1")
	r.keeps(xds.RouteType, "s@1")
	if s := r.Status(); s.Source != relay.FromAdapter || s.Address != a.address {
		t.Errorf("status: %+v", s)
	}
}

// TestFollowsTheNextAdapter: the first one dies, and nothing is sent again.
func TestFollowsTheNextAdapter(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	c.put(xds.ListenerType, "http@1")
	c.put(xds.ScopeType, "s@1")
	c.put(xds.RouteType, "s@1")
	one, two := newAdapter(t, c).start(), newAdapter(t, c).start()
	r := newRig(t, "", one.address, two.address).serve()
	g := r.connect(nil)
	g.Wait("it has the table", has(xds.RouteType, "s@1"))
	r.keeps(xds.RouteType, "s@1")
	if len(two.count()) > 0 {
		t.Errorf("the second one sent %v", two.count())
	}
	one.kill()
	g.Close()
	g = r.connect(g.State())
	two.event(xds.Connected)
	c.put(xds.ClusterType, "a@2")
	g.Wait("it has the change", has(xds.ClusterType, "a@2"))
	if got := two.count(); len(got) != 1 || got["Cluster a@2"] != 1 {
		t.Errorf("sent: %v", got)
	}
	r.keeps(xds.ClusterType, "a@2")
	if s := r.Status(); s.Address != two.address {
		t.Errorf("status: %+v", s)
	}
}

// TestServesFromDisk: with no adapter a new Envoy gets what the last one had, and is called away when there is one.
func TestServesFromDisk(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	c.put(xds.ListenerType, "http@1")
	c.put(xds.ScopeType, "s@1")
	c.put(xds.RouteType, "s@1")
	a := newAdapter(t, c).start()
	file := filepath.Join(fixture.TempDir(t), "last-good")
	first := newRig(t, file, a.address).serve()
	first.connect(nil).Wait("it has the table", has(xds.RouteType, "s@1"))
	first.keeps(xds.RouteType, "s@1")
	alive := time.Now()
	a.kill()
	fixture.WaitFor(t, "the adapter's last word to be noted", func() bool { return first.store.SavedAt().After(alive) })
	first.store.Close()

	r := newRig(t, file, a.address).serve()
	g := r.connect(nil)
	g.Wait("it has the table from disk", has(xds.RouteType, "s@1"))
	r.log.Wait(t, "serving the last good configuration from disk")
	if s := r.Status(); s.Source != relay.FromDisk || s.AsOf.IsZero() {
		t.Errorf("status: %+v", s)
	}
	c.put(xds.ClusterType, "a@2")
	c.remove(xds.ScopeType, "s")
	sent := a.count()
	a.start()
	fixture.WaitFor(t, "the stream to end", func() bool { return r.Status().Source == relay.FromNowhere })
	g = r.connect(g.State())
	g.Wait("it has what changed", func(have map[string]map[string]string) bool {
		return has(xds.ClusterType, "a@2")(have) && len(have[xds.ScopeType]) == 0
	})
	for what, n := range a.count() {
		if n != sent[what] && what != "Cluster a@2" && what != "ScopedRouteConfiguration -s" {
			t.Errorf("sent again: %s", what)
		}
	}
	r.keeps(xds.ScopeType)
	r.keeps(xds.ClusterType, "a@2")
}

// ask opens a stream and returns how it ends.
func ask(t *testing.T, address string) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), fixture.Patience)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: xds.Node{ID: "gw"}.Proto(), TypeUrl: xds.ClusterType}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	return err
}

func TestNothingToServe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(fixture.TempDir(t), "last-good")
	if err := os.WriteFile(file, []byte("not a store of ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, file, "unix:"+filepath.Join(fixture.TempDir(t), "nobody.sock")).serve()
	r.log.Wait(t, "the last good configuration is not used")
	for range 3 {
		if err := ask(t, r.socket); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	}
	if n := strings.Count(r.log.String(), "there is no last good configuration to serve"); n != 1 || !strings.Contains(r.log.String(), "connect: no such file") {
		t.Errorf("said %d times:\n%s", n, r.log)
	}
}

// stored is a file with a listener and a cluster in it, and the word that there are no scopes.
func stored(t *testing.T) string {
	t.Helper()
	file := filepath.Join(fixture.TempDir(t), "last-good")
	r := newRig(t, file, "unix:/nobody")
	for typeURL, name := range map[string]string{xds.ClusterType: "a", xds.ListenerType: "http"} {
		r.store.Put(typeURL, []*discoveryv3.Resource{{Name: name, Version: "1"}}, nil)
	}
	r.store.Put(xds.ScopeType, nil, nil)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// silent listens, and never answers: what a stopped process does.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(fixture.TempDir(t), "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "unix:" + l.Addr().String()
}

// deaf takes streams, and never answers them.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(fixture.TempDir(t), "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, g grpc.ServerStream) error { <-g.Context().Done(); return nil }))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return "unix:" + l.Addr().String()
}

// TestAdaptersThatDoNotAnswer: a new Envoy is served within two seconds, by the next adapter or from disk.
func TestAdaptersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@2")
	c.put(xds.ListenerType, "http@2")
	for name, address := range map[string]func(*testing.T) string{"stopped": silent, "deaf": deaf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			r := newRig(t, stored(t), address(t), address(t)).serve()
			g := r.connect(nil)
			g.Wait("it is served from disk", has(xds.ClusterType, "a@1"))
			t.Logf("from disk after %v", time.Since(begun))

			a := newAdapter(t, c).start()
			begun = time.Now()
			r = newRig(t, stored(t), address(t), a.address).serve()
			r.connect(nil).Wait("it is served by the other adapter", has(xds.ClusterType, "a@2"))
			t.Logf("from the other after %v", time.Since(begun))
		})
	}
}

// TestHeldUntilThereIsAnAdapter: with nothing to serve Envoy's stream waits, and is taken up.
func TestHeldUntilThereIsAnAdapter(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	a := newAdapter(t, c)
	r := newRig(t, "").with(relay.Options{Addresses: []string{a.address}, Hold: time.Hour}).serve()
	g := r.connect(nil)
	r.log.Wait(t, "there is no last good configuration to serve; envoy waits")
	a.start()
	g.Wait("it is served", has(xds.ClusterType, "a@1"))
}

// TestRefusedByTheAdapter: the reason is told, and the adapter is not asked again and again.
func TestRefusedByTheAdapter(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, newContent())
	asked := 0
	a.allow = func(context.Context, xds.Node) error {
		asked++
		return status.Error(codes.PermissionDenied, "this certificate is for another label")
	}
	a.start()
	r, began := newRig(t, "", a.address).serve(), time.Now()
	for range 20 {
		if err := ask(t, r.socket); status.Code(err) != codes.Unavailable {
			t.Fatalf("got %v", err)
		}
	}
	a.kill()
	most := 3
	for rest := 4 * time.Second; time.Since(began) >= rest; rest *= 2 { // on a busy machine: after 1, 2, 4, 8 … seconds it may be asked again
		most++
	}
	if n := strings.Count(r.log.String(), "PermissionDenied: this certificate is for another label"); asked > most || n == 0 || n > 3 {
		t.Errorf("asked %d times, told %d times:\n%s", asked, n, r.log)
	}
}

// TestNewestStreamWins: the stream of an Envoy that is gone ends when another comes.
func TestNewestStreamWins(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	c.put(xds.ListenerType, "http@1")
	a := newAdapter(t, c).start()
	r := newRig(t, "", a.address).serve()
	old := r.connect(nil)
	old.Wait("it has the cluster", has(xds.ClusterType, "a@1"))
	g := r.connect(nil)
	g.Wait("it has the cluster", has(xds.ClusterType, "a@1"))
	a.event(xds.Disconnected)
	c.put(xds.ClusterType, "a@2")
	g.Wait("it has the change", has(xds.ClusterType, "a@2"))
	r.keeps(xds.ClusterType, "a@2")
	if old.Version(xds.ClusterType, "a") != "1" {
		t.Error("the old stream goes on")
	}
}
