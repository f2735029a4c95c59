package translate

import (
	"maps"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Where the enforcer's and the limiter's dynamic metadata are found.
const (
	enforcerMetadata = "envoy.filters.http.ext_authz"
	limiterMetadata  = "envoy.filters.http.ratelimit"
)

// failure is one kind of answer the gateway itself gives: how Envoy tells it, and what the caller reads (design §3.4).
type failure struct {
	when *accesslogv3.AccessLogFilter
	code string
	// title and detail may hold Envoy's command operators.
	title, detail string
	headers       map[string]string
	// unidentified: no stream, and so no id, came to be.
	unidentified bool
}

// said is the body an enforcer or limiter gave with its refusal: plain words.
const said = "%LOCAL_REPLY_BODY%"

// soon is for callers whose request could not be judged.
var soon = map[string]string{"retry-after": "1"}

// failures are tried in order; the first that holds speaks.
func failures() []failure {
	allow := map[string]string{"allow": "%METADATA(ROUTE:" + posternv1.RouteMetadata + ":" + posternv1.MetadataAllow + ")%"}
	return []failure{
		{when: details("ext_authz_error"), code: "102500", title: "Service Unavailable", detail: "The service that decides about requests cannot be reached. Try again.", headers: soon},
		{when: flag("UAEX"), code: dynamic(enforcerMetadata, posternv1.MetadataCode), title: dynamic(enforcerMetadata, posternv1.MetadataTitle), detail: said},
		{when: flag("RLSE"), code: "900900", title: "Service Unavailable", detail: "The service that counts requests cannot be reached. Try again.", headers: soon},
		{when: flag("RL"), code: dynamic(limiterMetadata, posternv1.MetadataCode), title: dynamic(limiterMetadata, posternv1.MetadataTitle), detail: said},
		{when: both(flag("FI"), status(405)), code: "900405", title: "Method Not Allowed", detail: "The path exists, but not for this method.", headers: allow},
		{when: both(flag("FI"), status(503)), code: "700700", title: "Service Unavailable", detail: "The API, or this part of it, is blocked."},
		{when: both(flag("FI"), status(410)), code: "900410", title: "Gone", detail: "The API, or this part of it, is retired."},
		{when: flag("FI"), code: "900906", title: "Not Found", detail: "No API has this path."},
		{when: flag("NR"), code: "900906", title: "Not Found", detail: "No API has this path."},

		{when: flag("UT"), code: "102504", title: "Gateway Timeout", detail: "The backend did not answer in time."},
		{when: flag("UO"), code: "102505", title: "Service Unavailable", detail: "The backend has more requests than it may have at once."},
		{when: flag("UH"), code: "102508", title: "Service Unavailable", detail: "No instance of the backend is available."},
		{when: flag("UF"), code: "102503", title: "Service Unavailable", detail: "The backend cannot be reached."},
		{when: flag("UR", "UC", "LR"), code: "102509", title: "Service Unavailable", detail: "The backend broke off the connection."},
		{when: flag("NC"), code: "102507", title: "Service Unavailable", detail: "The backend is not configured."},
		{when: flag("UPE"), code: "102515", title: "Bad Gateway", detail: "The backend's answer is not valid HTTP."},
		{when: flag("UMSDR"), code: "102516", title: "Gateway Timeout", detail: "The request took longer than it may."},
		{when: flag("OM"), code: "102505", title: "Service Unavailable", detail: "The gateway has more requests than it can take.", headers: soon},

		{when: status(413), code: "900413", title: "Content Too Large", detail: "The request's body is larger than this gateway takes."},
		{when: status(431), code: "900413", title: "Request Header Fields Too Large", detail: "The request's header is larger than this gateway takes.", unidentified: true},
		{when: status(426), code: "102512", title: "Upgrade Required", detail: "This gateway speaks HTTP/1.1 and HTTP/2.", unidentified: true},
		{when: both(status(400), broken()), code: "102512", title: "Bad Request", detail: "The request is not valid HTTP.", unidentified: true},
		{when: both(status(400), nameless()), code: "102512", title: "Bad Request", detail: "The request or its path is not one this gateway takes.", unidentified: true},
		{when: status(400), code: "102512", title: "Bad Request", detail: "The request or its path is not one this gateway takes."},
		{when: status(403), code: "102512", title: "Forbidden", detail: "The connection cannot be upgraded to this protocol."},
		{when: status(408), code: "102513", title: "Request Timeout", detail: "The request did not arrive in time."},
		{when: status(504), code: "102504", title: "Gateway Timeout", detail: "There was no answer in time."},
	}
}

// unexpected is what no failure foresees.
var unexpected = failure{code: "900900", title: "Service Unavailable", detail: "The gateway could not serve the request."}

// localReplies gives every answer of the gateway's own the body of a format.
func localReplies(format model.ErrorFormat) *hcmv3.LocalReplyConfig {
	config := &hcmv3.LocalReplyConfig{BodyFormat: unexpected.body(format)}
	for _, f := range failures() {
		for _, f := range f.fixed(format) {
			plain := &hcmv3.ResponseMapper{Filter: both(grpc(), f.when), BodyFormatOverride: words(f.detail), HeadersToAdd: f.headersToAdd()}
			config.Mappers = append(config.Mappers, plain, &hcmv3.ResponseMapper{
				Filter: f.when, BodyFormatOverride: f.body(format), HeadersToAdd: f.headersToAdd(),
			})
		}
	}
	config.Mappers = append(config.Mappers, &hcmv3.ResponseMapper{Filter: grpc(), BodyFormatOverride: words(unexpected.detail)})
	return config
}

// words are for gRPC callers, who read them in grpc-message.
func words(text string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
	}}
}

// body is the failure in one of the formats (design §3.4, compat.md §5).
func (f failure) body(format model.ErrorFormat) *corev3.SubstitutionFormatString {
	text := structpb.NewStringValue
	fields := map[string]*structpb.Value{}
	contentType := "application/json"
	switch format {
	case model.ErrorsFault:
		fields["fault"] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"code": number(f.code), "message": text(f.title), "description": text(f.detail),
		}})
	case model.ErrorsEnforcer:
		fields["error_message"], fields["code"], fields["error_description"] = text(f.title), text(f.code), text(f.detail)
	case model.ErrorsRouter:
		fields["message"], fields["code"], fields["description"] = text(f.title), text(f.code), text(f.detail)
	default:
		contentType = "application/problem+json"
		fields["type"], fields["title"], fields["detail"] = text("about:blank"), text(f.title), text(f.detail)
		fields["status"], fields["code"] = text("%RESPONSE_CODE%"), text(f.code)
		if !f.unidentified {
			fields["instance"] = text("urn:uuid:%STREAM_ID%")
		}
	}
	return &corev3.SubstitutionFormatString{
		Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
		OmitEmptyValues: true,
		ContentType:     contentType,
	}
}

func (f failure) headersToAdd() []*corev3.HeaderValueOption {
	var options []*corev3.HeaderValueOption
	for _, name := range slices.Sorted(maps.Keys(f.headers)) {
		options = append(options, &corev3.HeaderValueOption{
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			Header:       &corev3.HeaderValue{Key: name, Value: f.headers[name]},
		})
	}
	return options
}

// fixed splits a failure with a dynamic code into one for each code there is, where a format wants codes as numbers:
// Envoy writes what it finds in metadata as text.
func (f failure) fixed(format model.ErrorFormat) []failure {
	known := map[string][]string{
		dynamic(enforcerMetadata, posternv1.MetadataCode): {
			"900900", "900901", "900902", "900903", "900904", "900905", "900907", "900908", "900909", "900910", "700700", "900410",
		},
		dynamic(limiterMetadata, posternv1.MetadataCode): {"900800", "900802", "900803", "900804", "900805", "900806"},
	}
	codes := known[f.code]
	if format != model.ErrorsFault || codes == nil {
		return []failure{f}
	}
	namespace := enforcerMetadata
	if f.code == dynamic(limiterMetadata, posternv1.MetadataCode) {
		namespace = limiterMetadata
	}
	var all []failure
	for _, code := range codes {
		one := f
		one.code, one.when = code, both(f.when, coded(namespace, code))
		all = append(all, one)
	}
	f.code = unexpected.code
	return append(all, f)
}

func number(code string) *structpb.Value {
	n := 0.0
	for _, c := range code {
		n = n*10 + float64(c-'0')
	}
	return structpb.NewNumberValue(n)
}

func dynamic(namespace, key string) string {
	return "%DYNAMIC_METADATA(" + namespace + ":" + key + ")%"
}

// The ways to tell failures apart. Source: Envoy API, config/accesslog/v3.

func flag(flags ...string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: flags},
	}}
}

func status(code uint32) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op: accesslogv3.ComparisonFilter_EQ, Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: "postern.unused"},
		}},
	}}
}

func details(text string) *accesslogv3.AccessLogFilter {
	return expression("response.code_details == '" + text + "'")
}

// broken is a request the HTTP/1 parser gave up on.
func broken() *accesslogv3.AccessLogFilter {
	return expression("response.code_details.startsWith('http1.')")
}

// nameless is a request refused before it was given an id: one whose path cannot be normalised, for instance.
func nameless() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: "x-request-id", InvertMatch: true,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
	}}
}

func expression(cel string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{Name: "cel", ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{
			TypedConfig: pack(&celv3.ExpressionFilter{Expression: cel}),
		}},
	}}
}

func coded(namespace, code string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_MetadataFilter{
		MetadataFilter: &accesslogv3.MetadataFilter{Matcher: &matcherv3.MetadataMatcher{
			Filter: namespace,
			Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: posternv1.MetadataCode}}},
			Value:  &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exact(code)}},
		}, MatchIfKeyNotFound: wrapperspb.Bool(false)},
	}}
}

func grpc() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: "content-type",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "application/grpc"},
			}},
		}},
	}}
}

func both(a, b *accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: []*accesslogv3.AccessLogFilter{a, b}},
	}}
}
