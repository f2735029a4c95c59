package ratelimiter

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

const serviceName = "envoy.service.ratelimit.v3.RateLimitService"

// window is HTTP/2's flow control window. A fixed one spares gRPC the pings by which it would look for a better one:
// requests are a few hundred bytes.
const window = 1 << 20

// Register makes the gRPC server, which was made with ServerOptions, answer for the rate limit service, and for health
// checks unless it does so already.
func (s *Server) Register(g *grpc.Server) {
	g.RegisterService(&serviceDesc, s)
	if _, there := g.GetServiceInfo()[grpc_health_v1.Health_ServiceDesc.ServiceName]; !there {
		grpc_health_v1.RegisterHealthServer(g, s.health)
	}
}

// ServerOptions are what a gRPC server that the Server is registered with must be made with.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}), // Envoy pings
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
	}
}

// serviceDesc is Envoy's service with our own messages (codec). Source: Envoy API, service/ratelimit/v3/rls.proto.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "ShouldRateLimit", Handler: shouldRateLimit}},
	Metadata:    "envoy/service/ratelimit/v3/rls.proto",
}

func shouldRateLimit(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	r := requests.Get().(*request)
	defer r.release()
	if err := decode(r); err != nil {
		return nil, err
	}
	if intercept == nil {
		return srv.(*Server).answer(ctx, r)
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + serviceName + "/ShouldRateLimit"}
	return intercept(ctx, r, info, func(ctx context.Context, r any) (any, error) {
		return srv.(*Server).answer(ctx, r.(*request))
	})
}
