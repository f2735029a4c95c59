package translate

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
)

// bodyFilter refuses bodies over the limit with 413. It comes after the enforcer and the limiter, so that nobody fills
// the gateway's memory without being admitted. It is off where no table says limitBodies: a request without a route passes
// the enforcer unasked, and is to be answered at once instead of when all of its body is there.
func bodyFilter(s model.Settings) proto.Message {
	return &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(uint32(s.BodyBytes))}
}

// limitBodies is what a route table says, for all its routes.
func limitBodies(s model.Settings) *anypb.Any {
	return pack(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{
		Buffer: &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(uint32(s.BodyBytes))},
	}})
}

// bodyUnlessGRPC is the same for routes to HTTP/2 backends: bodyFilter holds a body back until it has all of it, which
// a gRPC stream could not live with. Why not for all: asking what a request is costs two percent of the throughput.
func bodyUnlessGRPC(s model.Settings) proto.Message {
	return &matchingv3.ExtensionWithMatcher{
		XdsMatcher:      &matcherv3.Matcher{}, // why empty: nothing passes, until a route says otherwise
		ExtensionConfig: extension("buffer", bodyFilter(s)),
	}
}

// letGRPCStream passes requests that say they are gRPC.
func letGRPCStream() *anypb.Any {
	return pack(&matchingv3.ExtensionWithMatcherPerRoute{XdsMatcher: &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{Name: "content-type", TypedConfig: pack(&envoymatcherv3.HttpRequestHeaderMatchInput{HeaderName: "content-type"})},
			TreeType: &matcherv3.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{
				Map: map[string]*matcherv3.Matcher_OnMatch{"application/grpc": {OnMatch: &matcherv3.Matcher_OnMatch_Action{
					Action: &xdscorev3.TypedExtensionConfig{Name: "skip", TypedConfig: pack(&actionv3.SkipFilter{})},
				}}},
			}},
		}},
	}})
}
