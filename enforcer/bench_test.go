package enforcer

import (
	"context"
	"fmt"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/idp"
)

// benchServer knows one policy and one issuer, and returns an encoded request that passes.
func benchServer(b testing.TB, alg string) (*Server, []byte, string) {
	s, k, p := New(Options{}), idp.NewKey("k", alg), pets("pets/1.0.0")
	apply(b, s, p)
	apply(b, s, issuer(k))
	credential := token(k, nil)
	request := checkRequest(posternv1.ContentHash(p), "GET /pets", "/pets", map[string]string{"authorization": "Bearer " + credential})
	return s, encode(b, request), credential
}

// BenchmarkCheck is design §8's row: from the encoded CheckRequest, 16 headers, to the encoded CheckResponse, with a cached
// RS256 token and a scope to check, at most 5 µs and 15 allocations.
func BenchmarkCheck(b *testing.B) {
	s, data, _ := benchServer(b, "RS256")
	codec, ctx := newCodec(), context.Background()
	buffers := mem.BufferSlice{mem.SliceBuffer(data)}
	one := func() mem.BufferSlice {
		answer, err := handleCheck(s, ctx, func(v any) error { return codec.Unmarshal(buffers, v) }, nil)
		if err != nil {
			b.Fatal(err)
		}
		encoded, err := codec.Marshal(answer)
		if err != nil {
			b.Fatal(err)
		}
		return encoded
	}
	m := new(authv3.CheckResponse)
	if err := proto.Unmarshal(one().Materialize(), m); err != nil || m.GetOkResponse() == nil {
		b.Fatalf("refused: %v, %v", m, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}

// BenchmarkDecode compares our decoder with the stock one.
func BenchmarkDecode(b *testing.B) {
	_, data, _ := benchServer(b, "ES256")
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Request).decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, new(authv3.CheckRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGRPC is a check over a unix socket, client included, against a stock server that always says yes.
func BenchmarkGRPC(b *testing.B) {
	s, data, _ := benchServer(b, "RS256")
	request := new(authv3.CheckRequest)
	if err := proto.Unmarshal(data, request); err != nil {
		b.Fatal(err)
	}
	run := func(conn *grpc.ClientConn) func(*testing.B) {
		client := authv3.NewAuthorizationClient(conn)
		return func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := client.Check(context.Background(), request); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	ours := run(serve(b, s.ServerOptions(), s.Register))
	yes := run(serve(b, nil, func(server *grpc.Server) { authv3.RegisterAuthorizationServer(server, alwaysYes{}) }))
	for round := range 3 { // in turns, for the machine is not always as fast
		b.Run(fmt.Sprintf("enforcer-%d", round), ours)
		b.Run(fmt.Sprintf("always-yes-%d", round), yes)
	}
}

// alwaysYes is the least an ext_authz server in Go can do.
type alwaysYes struct {
	authv3.UnimplementedAuthorizationServer
}

func (alwaysYes) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}
