package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

const (
	limitMethod = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
	checkMethod = "/envoy.service.auth.v3.Authorization/Check"
)

// The services alone, over gRPC on a unix socket, against servers that do less.
var serviceRows = []row{
	{
		name: "enforcer", what: "the enforcer alone, cached JWT with scope check, against an always-yes server", goal: atLeast(0.75),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			token, err := l.serve(ctx, "enforcer", l.path("enforcer"))
			if err != nil {
				return nil, err
			}
			if _, err := l.serve(ctx, "yes-authz", l.path("yes")); err != nil {
				return nil, err
			}
			question, err := checkQuestion(token)
			if err != nil {
				return nil, err
			}
			return pair(l, checkMethod, question, "enforcer", "yes", checkAnswer)
		},
	},
	{
		name: "ratelimiter-memory", what: "the ratelimiter in memory against an always-yes server", goal: atLeast(0.8),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			if _, err := l.serve(ctx, "yes-limits", l.path("other")); err != nil {
				return nil, err
			}
			return ratelimiterAgainst(ctx, l)
		},
	},
	{
		name: "ratelimiter-pipeline", what: "the ratelimiter in memory against a server doing one INCRBY + EXPIRE pipeline per request", goal: atLeast(2),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			address, err := startRedis(ctx, l)
			if err != nil {
				return nil, err
			}
			if _, err := l.serve(ctx, "redis-limits", l.path("other"), address); err != nil {
				return nil, err
			}
			return ratelimiterAgainst(ctx, l)
		},
	},
}

func ratelimiterAgainst(ctx context.Context, l *lab) (sample, error) {
	if _, err := l.serve(ctx, "ratelimiter", l.path("ratelimiter")); err != nil {
		return nil, err
	}
	question, err := limitQuestion()
	if err != nil {
		return nil, err
	}
	return pair(l, limitMethod, question, "ratelimiter", "other", limitAnswer)
}

// pair puts the same question to two servers.
func pair(l *lab, method string, question []byte, candidate, baseline string, check func([]byte) error) (sample, error) {
	a, err := grpcLoad(l, l.path(candidate), method, question, check)
	if err != nil {
		return nil, err
	}
	b, err := grpcLoad(l, l.path(baseline), method, question, check)
	if err != nil {
		return nil, err
	}
	return ratio(l, a, b), nil
}

// limitQuestion is what Envoy asks the ratelimiter.
func limitQuestion() ([]byte, error) {
	_, limits := benchLimits()
	return proto.Marshal(&ratelimitv3.RateLimitRequest{
		Domain: "postern",
		Descriptors: []*commonv3.RateLimitDescriptor{{Entries: []*commonv3.RateLimitDescriptor_Entry{
			{Key: posternv1.DescriptorLimit, Value: limits.GetRules()[0].GetId()},
		}}},
	})
}

func limitAnswer(b []byte) error {
	var out ratelimitv3.RateLimitResponse
	if err := proto.Unmarshal(b, &out); err != nil {
		return err
	}
	if out.GetOverallCode() != ratelimitv3.RateLimitResponse_OK {
		return fmt.Errorf("the answer is not yes: %v", &out)
	}
	return nil
}

// checkQuestion is what Envoy asks the enforcer about a browser's request: sixteen headers, one of them the token.
func checkQuestion(token string) ([]byte, error) {
	policy, _ := benchPolicy()
	address := func(port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	return proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: address(52814), Destination: address(9090),
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(time.Now()),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "10405573446386373041", Method: "GET", Path: "/petstore/1.0.0/pet/1?verbose=true", Host: "api.example.com", Scheme: "http", Protocol: "HTTP/1.1",
				Headers: map[string]string{
					":authority": "api.example.com", ":method": "GET", ":path": "/petstore/1.0.0/pet/1?verbose=true", ":scheme": "http",
					"accept": "application/json, text/plain, */*", "accept-encoding": "gzip, deflate, br, zstd", "accept-language": "en-GB,en;q=0.9,de;q=0.8",
					"authorization": "Bearer " + token, "cache-control": "no-cache", "origin": "https://shop.example.com", "referer": "https://shop.example.com/",
					"user-agent":        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
					"x-forwarded-proto": "http", "x-request-id": "2f0e9d61-6a2f-4b8e-9d0c-0f6c6f3e8a11", "x-forwarded-for": "127.0.0.1", "sec-fetch-mode": "cors",
				},
			},
		},
		ContextExtensions: map[string]string{
			posternv1.ContextAPI: benchAPI, posternv1.ContextOperation: benchOperation, posternv1.ContextPolicy: policy,
		},
		MetadataContext: &corev3.Metadata{},
	}})
}

func checkAnswer(b []byte) error {
	var out authv3.CheckResponse
	if err := proto.Unmarshal(b, &out); err != nil {
		return err
	}
	if out.GetStatus().GetCode() != int32(codes.OK) || out.GetOkResponse() == nil {
		return fmt.Errorf("the answer is not yes: %v", &out)
	}
	return nil
}

// startRedis starts a Redis that keeps nothing on disk.
func startRedis(ctx context.Context, l *lab) (address string, err error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", l.dir)
	if _, err := l.start("redis-server", cmd); err != nil {
		return "", fmt.Errorf("%w (the package is called redis-server)", err)
	}
	address = "127.0.0.1:" + strconv.Itoa(port)
	return address, until(ctx, often, 10*time.Second, func() error { return dial(address) })
}
