package main

import (
	"context"
	"fmt"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/redis/go-redis/v9"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// The baselines: what anybody would write first, with gRPC's own codec and Envoy's own types.

// yesAuthz is an ext_authz server that says yes to everything.
func yesAuthz([]string) (server, error) {
	return grpcServer(func(g *grpc.Server) { authv3.RegisterAuthorizationServer(g, alwaysYes{}) }), nil
}

// yesLimits is a rate limit server that says yes to everything.
func yesLimits([]string) (server, error) {
	return grpcServer(func(g *grpc.Server) { ratelimitv3.RegisterRateLimitServiceServer(g, alwaysYes{}) }), nil
}

type alwaysYes struct{}

// Check implements ext_authz.
func (alwaysYes) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

// ShouldRateLimit implements the rate limit service.
func (alwaysYes) ShouldRateLimit(context.Context, *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	return &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}, nil
}

// redisLimits is a rate limit server that counts with one pipeline of INCRBY and EXPIRE for each request.
func redisLimits(args []string) (server, error) {
	if len(args) != 1 {
		return server{}, fmt.Errorf("redis-limits needs the address of a Redis")
	}
	client := redis.NewClient(&redis.Options{Addr: args[0]})
	if err := client.Ping(context.Background()).Err(); err != nil {
		return server{}, err
	}
	return grpcServer(func(g *grpc.Server) { ratelimitv3.RegisterRateLimitServiceServer(g, pipeline{client}) }), nil
}

type pipeline struct{ client *redis.Client }

// ShouldRateLimit implements the rate limit service.
func (p pipeline) ShouldRateLimit(ctx context.Context, in *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	const seconds = 60
	window := time.Now().Unix() / seconds
	out := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	pipe := p.client.Pipeline()
	counts := make([]*redis.IntCmd, len(in.GetDescriptors()))
	for i, d := range in.GetDescriptors() {
		key := in.GetDomain()
		for _, e := range d.GetEntries() {
			key += "_" + e.GetKey() + "_" + e.GetValue()
		}
		key = fmt.Sprintf("%s_%d", key, window)
		counts[i] = pipe.IncrBy(ctx, key, int64(max(in.GetHitsAddend(), 1)))
		pipe.Expire(ctx, key, seconds*time.Second)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for _, c := range counts {
		s := &ratelimitv3.RateLimitResponse_DescriptorStatus{Code: ratelimitv3.RateLimitResponse_OK}
		if c.Val() > benchLimit {
			s.Code, out.OverallCode = ratelimitv3.RateLimitResponse_OVER_LIMIT, ratelimitv3.RateLimitResponse_OVER_LIMIT
		}
		out.Statuses = append(out.Statuses, s)
	}
	return out, nil
}
