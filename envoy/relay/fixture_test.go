package relay_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/lastgood"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// content is what all adapters of a test serve.
type content struct {
	mu     sync.Mutex
	caches map[string]*xds.Cache
}

func newContent() *content { return &content{caches: map[string]*xds.Cache{}} }

func (c *content) cache(typeURL string) *xds.Cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.caches[typeURL]
	if !ok {
		k = xds.NewCache()
		c.caches[typeURL] = k
	}
	return k
}

// put puts "name@version" of a type.
func (c *content) put(typeURL string, items ...string) {
	for _, item := range items {
		name, version, _ := strings.Cut(item, "@")
		c.message(typeURL, name, version, wrapperspb.String(item))
	}
}

func (c *content) message(typeURL, name, version string, m proto.Message) {
	r, err := xds.Encode(name, version, m)
	if err != nil {
		panic(err)
	}
	c.cache(typeURL).Update([]*discoveryv3.Resource{r}, nil)
}

func (c *content) remove(typeURL string, names ...string) { c.cache(typeURL).Update(nil, names) }

// adapter is a server that counts what it sends. It can be killed and come back.
type adapter struct {
	t       *testing.T
	address string
	content *content
	events  chan xds.Event
	options []grpc.ServerOption
	allow   func(context.Context, xds.Node) error

	mu     sync.Mutex
	sent   map[string]int // by "type name@version"
	server *grpc.Server
	done   chan struct{}
}

func newAdapter(t *testing.T, c *content) *adapter {
	t.Helper()
	a := &adapter{
		t: t, address: "unix:" + filepath.Join(fixture.TempDir(t), "a.sock"), content: c,
		events: make(chan xds.Event, 1<<16), sent: map[string]int{},
	}
	t.Cleanup(a.kill)
	return a
}

func (a *adapter) start() *adapter {
	a.t.Helper()
	l, err := socket.Listen(a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	s := xds.NewServer(xds.ServerOptions{
		Find: func(_ context.Context, _ xds.Node, typeURL string) (*xds.Cache, error) {
			return a.content.cache(typeURL), nil
		},
		Authorize: a.allow,
		Notify:    func(e xds.Event) { a.events <- e },
	})
	count := func(srv any, g grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, counting{g, a})
	}
	options := append(xds.GRPCOptions(), grpc.StreamInterceptor(count))
	server, done := grpc.NewServer(append(options, a.options...)...), make(chan struct{})
	s.Register(server)
	a.mu.Lock()
	a.server, a.done = server, done
	a.mu.Unlock()
	go func() { defer close(done); _ = server.Serve(l) }()
	return a
}

// serveForEver is an adapter that only ever ends with its process.
func serveForEver(c *content, address string) error {
	l, err := socket.Listen(address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(xds.GRPCOptions()...)
	xds.NewServer(xds.ServerOptions{
		Find: func(_ context.Context, _ xds.Node, typeURL string) (*xds.Cache, error) { return c.cache(typeURL), nil },
	}).Register(server)
	return server.Serve(l)
}

// kill ends it as a crash does: no word to anybody.
func (a *adapter) kill() {
	a.mu.Lock()
	server, done := a.server, a.done
	a.server = nil
	a.mu.Unlock()
	if server != nil {
		server.Stop()
		<-done
	}
}

// event waits for one of a kind.
func (a *adapter) event(kind xds.EventKind) xds.Event {
	a.t.Helper()
	timeout := time.After(fixture.Patience)
	for {
		select {
		case e := <-a.events:
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			a.t.Fatalf("no event of kind %d", kind)
		}
	}
}

// count is how often anything was sent, and of what.
func (a *adapter) count() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.sent)
}

// counting notes what goes out.
type counting struct {
	grpc.ServerStream
	a *adapter
}

func (c counting) SendMsg(m any) error {
	if r, ok := m.(*discoveryv3.DeltaDiscoveryResponse); ok {
		c.a.mu.Lock()
		for _, x := range r.GetResources() {
			c.a.sent[fmt.Sprintf("%s %s@%s", r.GetTypeUrl()[strings.LastIndexByte(r.GetTypeUrl(), '.')+1:], x.GetName(), x.GetVersion())]++
		}
		for _, name := range r.GetRemovedResources() {
			c.a.sent[fmt.Sprintf("%s -%s", r.GetTypeUrl()[strings.LastIndexByte(r.GetTypeUrl(), '.')+1:], name)]++
		}
		c.a.mu.Unlock()
	}
	return c.ServerStream.SendMsg(m)
}

// rig is a relay with its store, served on a socket.
type rig struct {
	*relay.Relay
	t      *testing.T
	log    *fixture.Log
	socket string
	store  *lastgood.Store
	file   string
}

// newRig starts a relay; file is where its store is, "" a new one.
func newRig(t *testing.T, file string, addresses ...string) *rig {
	t.Helper()
	if file == "" {
		file = filepath.Join(fixture.TempDir(t), "last-good")
	}
	r := &rig{t: t, log: &fixture.Log{}, file: file}
	var err error
	if r.store, err = lastgood.Open(lastgood.Options{Path: file, Of: "envoy default", Log: r.log.Logger()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.store.Close()
		if t.Failed() {
			t.Logf("the relay said:\n%s", r.log)
		}
	})
	if len(addresses) == 0 {
		return r
	}
	return r.with(relay.Options{Addresses: addresses})
}

// with replaces the relay by one of these options.
func (r *rig) with(o relay.Options) *rig {
	r.t.Helper()
	o.Store, o.Log = r.store, r.log.Logger()
	if o.Hold == 0 {
		o.Hold = 50 * time.Millisecond
	}
	var err error
	if r.Relay, err = relay.New(o); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.Close)
	return r
}

// serve has it answer on a socket of its own.
func (r *rig) serve() *rig {
	r.t.Helper()
	r.socket = "unix:" + filepath.Join(fixture.TempDir(r.t), "r.sock")
	l, err := net.Listen("unix", strings.TrimPrefix(r.socket, "unix:"))
	if err != nil {
		r.t.Fatal(err)
	}
	server, done := grpc.NewServer(r.ServerOptions()...), make(chan struct{})
	r.Register(server)
	go func() { defer close(done); _ = server.Serve(l) }()
	r.t.Cleanup(func() { server.Stop(); <-done })
	return r
}

// connect is an Envoy that has this already.
func (r *rig) connect(have map[string]map[string]string) *xdstest.Gateway {
	r.t.Helper()
	return xdstest.Connect(r.t, r.socket, xdstest.Options{Node: xds.Node{ID: "gw", Label: "default", Role: xds.RoleEnvoy}, Have: have})
}

// kept is what the store has of a type, by name.
func (r *rig) kept(typeURL string) map[string]string {
	r.t.Helper()
	resources, _, err := r.store.Load(typeURL)
	if err != nil {
		r.t.Fatal(err)
	}
	versions := map[string]string{}
	for _, x := range resources {
		versions[x.GetName()] = x.GetVersion()
	}
	return versions
}

// keeps waits until the store has exactly this.
func (r *rig) keeps(typeURL string, items ...string) {
	r.t.Helper()
	want := map[string]string{}
	for _, item := range items {
		name, version, _ := strings.Cut(item, "@")
		want[name] = version
	}
	fixture.WaitFor(r.t, fmt.Sprintf("the store to have %v", items), func() bool { return maps.Equal(r.kept(typeURL), want) })
}
