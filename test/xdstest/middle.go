package xdstest

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

// Fate is what becomes of a response on its way.
type Fate int

// The zero value is an honest one.
const (
	Pass Fate = iota
	Swallow
	Break // ends the stream, without the response
)

// Middle stands between an adapter and those who connect to it, and hands delta xDS on, both ways: requests as they are,
// responses as its Tamper says.
type Middle struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	// Address is where it listens: "unix:/path".
	Address string

	adapter discoveryv3.AggregatedDiscoveryServiceClient

	mu     sync.Mutex
	tamper Tamper
	met    map[string]int // streams by role
}

// Tamper alters a response to somebody of a role, or decides what becomes of it. It is called from several goroutines; nil
// is to be honest.
type Tamper func(role string, r *Response) Fate

// StartMiddle starts one before the adapter at an address without TLS, which need not answer yet.
func StartMiddle(t testing.TB, adapter string) *Middle {
	t.Helper()
	conn, err := grpc.NewClient(adapter, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(xds.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(fixture.TempDir(t), "middle.sock")
	m := &Middle{Address: "unix:" + path, adapter: discoveryv3.NewAggregatedDiscoveryServiceClient(conn), met: map[string]int{}}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(xds.GRPCOptions()...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, m)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); _ = conn.Close() })
	return m
}

// Become changes what it does from now on.
func (m *Middle) Become(t Tamper) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tamper = t
}

// Met is how many streams there were of a role.
func (m *Middle) Met(role string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.met[role]
}

func (m *Middle) fate(role string, r *Response) Fate {
	m.mu.Lock()
	t := m.tamper
	m.mu.Unlock()
	if t == nil {
		return Pass
	}
	return t(role, r)
}

// DeltaAggregatedResources is one stream, for as long as both sides of it last.
func (m *Middle) DeltaAggregatedResources(down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	first, err := down.Recv()
	if err != nil {
		return err
	}
	role := xds.NodeOf(first.GetNode()).Role
	up, err := m.adapter.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.met[role]++
	m.mu.Unlock()
	go func() {
		defer cancel()
		for r := first; up.Send(r) == nil; {
			var err error
			if r, err = down.Recv(); err != nil {
				return
			}
		}
	}()
	for {
		r, err := up.Recv()
		if err != nil {
			return err
		}
		switch m.fate(role, r) {
		case Break:
			return status.Error(codes.Unavailable, "somebody has cut the line")
		case Swallow:
			continue
		}
		if err := down.Send(r); err != nil {
			return err
		}
	}
}

// Tampering alters the route tables of a name on their way to Envoys: each list of routes in them is replaced by what
// routes returns, and each part that has metadata of Postern's is shown to metadata.
func Tampering(name string, routes func([]*routev3.Route) []*routev3.Route, metadata func(*corev3.Metadata)) Tamper {
	return func(role string, m *Response) Fate {
		for _, r := range m.Resources {
			if role == xds.RoleEnvoy && m.TypeUrl == xds.RouteType && r.Name == name {
				alter(r.Resource.ProtoReflect(), routes, metadata)
			}
		}
		return Pass
	}
}

// alter walks through a message, and through what is packed in it.
func alter(m protoreflect.Message, routes func([]*routev3.Route) []*routev3.Route, metadata func(*corev3.Metadata)) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil { // what this build does not know has no routes
			alter(inner.ProtoReflect(), routes, metadata)
			v.Value, _ = proto.MarshalOptions{Deterministic: true}.Marshal(inner)
		}
		return
	case *routev3.RouteList:
		if routes != nil {
			v.Routes = routes(v.Routes)
		}
	case *corev3.Metadata:
		if metadata != nil {
			metadata(v)
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				alter(v.Message(), routes, metadata)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				alter(v.List().Get(i).Message(), routes, metadata)
			}
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			alter(v.Message(), routes, metadata)
		}
		return true
	})
}
