package translate

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// ofRoute is what the route says of itself, else what its virtual host says for all its routes. Source: Envoy docs,
// configuration/advanced/substitution_formatter.
func ofRoute(key string) string {
	return `%COALESCE({"operators": [` +
		`{"command": "METADATA", "param": "ROUTE:` + posternv1.RouteMetadata + `:` + key + `"}, ` +
		`{"command": "METADATA", "param": "VIRTUAL_HOST:` + posternv1.RouteMetadata + `:` + key + `"}]})%`
}

// accessLogs stream every request to the process beside Envoy, which counts it and writes its line: a second logger in
// Envoy would cost each request as much again.
func accessLogs(s model.Settings) []*accesslogv3.AccessLog {
	if s.AccessLog.Address == "" {
		return nil
	}
	return []*accesslogv3.AccessLog{{Name: "stream", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(accessLogStream())}}}
}

// accessLogStream sends what every request came to, in batches; the tag and the route's name say whose it was.
func accessLogStream() *alsv3.HttpGrpcAccessLogConfig {
	return &alsv3.HttpGrpcAccessLogConfig{CommonConfig: &alsv3.CommonGrpcAccessLogConfig{
		LogName:             gatewayName,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService:         grpcService(accessLogCluster, 0),
		BufferFlushInterval: seconds(200 * time.Millisecond),
		BufferSizeBytes:     wrapperspb.UInt32(64 << 10),
		CustomTags:          []*tagv3.CustomTag{tag(posternv1.MetadataAPI, ofRoute(posternv1.MetadataAPI))},
	}}
}

func tag(name, operator string) *tagv3.CustomTag {
	return &tagv3.CustomTag{Tag: name, Type: &tagv3.CustomTag_Value{Value: operator}}
}
