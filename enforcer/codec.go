package enforcer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is the wire format of protobuf, with hand-made code for the two messages of the hot path. Everything else on the
// same server (health) goes to the stock codec.
type codec struct{ stock encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Name implements encoding.CodecV2: on the wire it is protobuf like any other.
func (codec) Name() string { return proto.Name }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*Response); ok {
		return mem.BufferSlice{mem.SliceBuffer(*r)}, nil
	}
	return c.stock.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*Request)
	if !ok {
		return c.stock.Unmarshal(data, v)
	}
	if err := r.decode(data.Materialize()); err != nil { // a copy: gRPC uses its buffers again
		return fmt.Errorf("not a CheckRequest: %w", err)
	}
	return nil
}

// checker is what the service calls.
type checker interface {
	Check(context.Context, *Request) *Response
}

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// service is Envoy's Authorization service, described by hand so that its messages are ours.
var service = grpc.ServiceDesc{
	ServiceName: "envoy.service.auth.v3.Authorization",
	HandlerType: (*checker)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    "envoy/service/auth/v3/external_auth.proto",
}

var errCodec = errors.New("the server lacks the enforcer's ServerOptions")

func handleCheck(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	r := new(Request)
	if err := decode(r); err != nil {
		return nil, err
	}
	handle := func(ctx context.Context, r any) (any, error) {
		request, ok := r.(*Request)
		if !ok {
			return nil, errCodec
		}
		return server.(checker).Check(ctx, request), nil
	}
	if interceptor == nil {
		return handle(ctx, r)
	}
	return interceptor(ctx, r, &grpc.UnaryServerInfo{Server: server, FullMethod: checkMethod}, handle)
}
