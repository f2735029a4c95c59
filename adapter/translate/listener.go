package translate

import (
	"net"
	"strconv"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// HTTPListener is the name of the plain listener.
const HTTPListener = "http"

const gatewayName = "postern"

// listener differs by name and address only: routes, filters and edge hygiene are the same for all.
func listener(name, address string, s model.Settings) *listenerv3.Listener {
	host, port := hostPort(address)
	return &listenerv3.Listener{
		Name:                          name,
		Address:                       socket(host, port),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(64 << 10),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "http",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(connectionManager(name, s))},
		}}}},
	}
}

// connectionManager holds the edge hygiene of design §4.5, which no API can switch off.
func connectionManager(name string, s model.Settings) *hcmv3.HttpConnectionManager {
	escapedSlashes := hcmv3.HttpConnectionManager_REJECT_REQUEST
	if s.KeepEscapedSlashes {
		escapedSlashes = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	}
	return &hcmv3.HttpConnectionManager{
		StatPrefix:                    name,
		ServerName:                    gatewayName,
		RouteSpecifier:                &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: scopedRoutes(s.Routing)},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{door(s.Routing)},
		HttpFilters:                   filters(s),
		AccessLog:                     accessLogs(s),
		LocalReplyConfig:              localReplies(s.ErrorFormat),

		UseRemoteAddress:             wrapperspb.Bool(true),                // whom the connection comes from, not what a header says
		ForwardClientCertDetails:     hcmv3.HttpConnectionManager_SANITIZE, // nobody says what certificate he has
		InternalAddressConfig:        nobodyInternal(),
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: escapedSlashes,
		StripPortMode:                &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true},
		StripTrailingHostDot:         true,
		AlwaysSetRequestIdInResponse: true,
		MaxRequestHeadersKb:          wrapperspb.UInt32(headerKB(s.HeaderBytes)),
		RequestHeadersTimeout:        seconds(10 * time.Second),
		RequestTimeout:               seconds(orElse(s.Timeouts.MaxRequest, 300*time.Second)),
		StreamIdleTimeout:            seconds(orElse(s.Timeouts.Idle, 300*time.Second)),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:                  seconds(orElse(s.Timeouts.Idle, 300*time.Second)),
			MaxHeadersCount:              wrapperspb.UInt32(100),
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(100),
			InitialStreamWindowSize:     wrapperspb.UInt32(64 << 10),
			InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
		},
	}
}

// nobodyInternal makes Envoy trust no client for its address: a client it calls internal, which by default is every one of
// a private network, chooses its own request id and is believed further headers. An empty list would mean the default;
// nobody has the broadcast address.
func nobodyInternal() *hcmv3.HttpConnectionManager_InternalAddressConfig {
	return &hcmv3.HttpConnectionManager_InternalAddressConfig{
		CidrRanges: []*corev3.CidrRange{{AddressPrefix: "255.255.255.255", PrefixLen: wrapperspb.UInt32(32)}},
	}
}

// headerKB is a limit in whole kibibytes, as much as Envoy can be told.
func headerKB(bytes uint64) uint32 {
	if bytes == 0 {
		return 60 // Envoy's own default
	}
	return uint32(min(max((bytes+1023)>>10, 1), 8192))
}

func scopedRoutes(r model.Routing) *hcmv3.ScopedRoutes {
	return &hcmv3.ScopedRoutes{
		Name:            "scopes",
		ScopeKeyBuilder: scopeKeyBuilder(r),
		RdsConfigSource: ads(),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
	}
}

// door runs first of all, after the path was normalized: what a client sends under the reserved prefix goes, then the
// headers routing works with are written. Envoy believes some of its own headers whoever sent them: they go too.
func door(r model.Routing) *corev3.TypedExtensionConfig {
	slashes := "//"
	for range segmentOf(r) - 3 { // as many as it takes for every path to have the segment, if only an empty one
		slashes += "/"
	}
	mutations := []*mutationv3.HeaderMutation{
		removeHeaders(posternv1.HeaderPrefix),
		removeHeaders("x-envoy-"),
		setHeader(pathHeader, "%PATH(NQ:PATH)%"+slashes), // why ":PATH": else x-envoy-original-path is believed first
	}
	if r.Flat {
		mutations = append(mutations, setHeader(scopeHeader, FlatScope))
	}
	return extension("door", &earlyv3.HeaderMutation{Mutations: mutations})
}

func removeHeaders(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
		KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}},
	}}}
}

func setHeader(name, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		Header:       &corev3.HeaderValue{Key: name, Value: value},
	}}}
}

// hostPort reads an address that configuration has checked.
func hostPort(address string) (host string, port uint32) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		panic("translate: address " + address + ": " + err.Error())
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		panic("translate: address " + address + ": " + err.Error())
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, uint32(n)
}
