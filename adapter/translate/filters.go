package translate

import (
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
)

// Names by which routes speak to filters.
const (
	corsFilterName           = "cors"
	stateFilterName          = "state"
	enforcerFilterName       = "enforcer"
	bodyFilterName           = "body"
	bodyUnlessGRPCFilterName = "body-unless-grpc"
)

// filters is the whole chain, in the order requests pass it.
func filters(s model.Settings) []*hcmv3.HttpFilter {
	const off = true
	chain := []*hcmv3.HttpFilter{
		// Preflights are answered before anybody is asked for a token, and errors of all below carry CORS headers.
		filter(corsFilterName, &corsv3.Cors{}),
		// What no API has is answered before anybody is asked for a token, too.
		filter("not-found", answerFilter(notFoundCluster, 404)),
		filter("method-not-allowed", answerFilter(methodNotAllowedCluster, 405)),
		// And so is what an API's state keeps from being served: off, so that it costs nothing where a route says nothing of it.
		filter(stateFilterName, &faultv3.HTTPFault{}, off),
		// Who may: on unless a route says that anybody may.
		filter(enforcerFilterName, enforcerFilter(s)),
		// How often: off unless a route has limits, one for each answer to a failing limiter.
		filter(limitFilterName(model.FailDeny), limitFilter(s, model.FailDeny), off),
		filter(limitFilterName(model.FailAllow), limitFilter(s, model.FailAllow), off),
		filter(limitFilterName(model.FailLocal), limitFilter(s, model.FailLocal), off),
	}
	if s.BodyBytes > 0 {
		// How much: only of those who may, and only where there is a route.
		chain = append(chain, filter(bodyFilterName, bodyFilter(s), off), filter(bodyUnlessGRPCFilterName, bodyUnlessGRPC(s), off))
	}
	return append(chain, filter("router", &routerv3.Router{
		SuppressEnvoyHeaders: true,
		DynamicStats:         wrapperspb.Bool(false), // why: numbers by API come from the access log, at less cost
	}))
}

func filter(name string, config proto.Message, off ...bool) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: name, Disabled: len(off) > 0,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)},
	}
}
