package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// ProbeListener is the name of the listener that tells what becomes of a request.
const ProbeListener = "probe"

// probeListener leads requests through the same door to the same route tables as the others, and answers each with what
// its route says of itself: neither enforcer, limiter nor backend is asked. It is a socket that only the user Envoy runs as
// can open. Its route tables are those the others have: equal scoped_routes share one subscription.
func probeListener(s model.Settings) *listenerv3.Listener {
	path := strings.TrimPrefix(s.Probe, "unix:")
	return &listenerv3.Listener{
		Name:                  ProbeListener,
		Address:               &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}},
		StatPrefix:            ProbeListener,
		IgnoreGlobalConnLimit: true, // why: full of clients, it can be asked all the same
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "http",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(probeManager(s))},
		}}}},
	}
}

func probeManager(s model.Settings) *hcmv3.HttpConnectionManager {
	m := connectionManager(ProbeListener, s)
	m.AccessLog = nil
	m.LocalReplyConfig = &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: flag("FI"), HeadersToAdd: failure{headers: map[string]string{
			posternv1.ProbeOperation: "%ROUTE_NAME%",
			posternv1.ProbeAPI:       ofRoute(posternv1.MetadataAPI),
			posternv1.ProbePolicy:    ofRoute(posternv1.MetadataPolicy),
			posternv1.ProbeCluster:   "%UPSTREAM_CLUSTER_RAW%",
		}}.headersToAdd(),
		BodyFormatOverride: words(""),
	}}}
	m.HttpFilters = []*hcmv3.HttpFilter{
		filter("answer", &faultv3.HTTPFault{
			Abort: &faultv3.FaultAbort{
				ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 200},
				Percentage: &typev3.FractionalPercent{Numerator: 100},
			},
			DisableDownstreamClusterStats: true,
		}),
		filter("router", &routerv3.Router{}),
	}
	return m
}
