package translate

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Command operators of Envoy's formats. Source: Envoy docs, configuration/advanced/substitution_formatter.
const (
	// operatorAPI is what the route says, else what its virtual host says for all its routes.
	operatorAPI = `%COALESCE({"operators": [` +
		`{"command": "METADATA", "param": "ROUTE:` + posternv1.RouteMetadata + `:` + posternv1.MetadataAPI + `"}, ` +
		`{"command": "METADATA", "param": "VIRTUAL_HOST:` + posternv1.RouteMetadata + `:` + posternv1.MetadataAPI + `"}]})%`
	operatorOperation = "%ROUTE_NAME%"
	operatorClient    = "%DYNAMIC_METADATA(" + enforcerMetadata + ":" + posternv1.MetadataClient + ")%"
)

// accessLogs are the loggers of every request: a file of JSON lines, and a stream to the process beside Envoy.
func accessLogs(s model.Settings) []*accesslogv3.AccessLog {
	var logs []*accesslogv3.AccessLog
	if s.AccessLogFile != "" {
		logs = append(logs, &accesslogv3.AccessLog{Name: "file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(accessLogFile(s.AccessLogFile))}})
	}
	if s.AccessLog.Address != "" {
		logs = append(logs, &accesslogv3.AccessLog{Name: "stream", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(accessLogStream())}})
	}
	return logs
}

// accessLogFile leaves out paths and queries: they hold what callers typed, secrets too.
func accessLogFile(path string) *filev3.FileAccessLog {
	fields := map[string]*structpb.Value{}
	for name, operator := range map[string]string{
		"time": "%START_TIME%", "request_id": "%STREAM_ID%",
		"api": operatorAPI, "operation": operatorOperation, "client": operatorClient,
		"method": "%REQ(:METHOD)%", "protocol": "%PROTOCOL%",
		"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%",
		"duration_ms": "%DURATION%", "backend_ms": "%RESPONSE_DURATION%",
		"bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
		"backend": "%UPSTREAM_CLUSTER%",
	} {
		fields[name] = structpb.NewStringValue(operator)
	}
	return &filev3.FileAccessLog{
		Path: path,
		AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			OmitEmptyValues: true,
		}},
	}
}

// accessLogStream sends every request's numbers, in batches; the tag and the route's name say whose they are.
func accessLogStream() *alsv3.HttpGrpcAccessLogConfig {
	return &alsv3.HttpGrpcAccessLogConfig{CommonConfig: &alsv3.CommonGrpcAccessLogConfig{
		LogName:             gatewayName,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService:         grpcService(accessLogCluster, 0),
		BufferFlushInterval: seconds(time.Second),
		BufferSizeBytes:     wrapperspb.UInt32(64 << 10),
		CustomTags:          []*tagv3.CustomTag{tag(posternv1.MetadataAPI, operatorAPI)},
	}}
}

func tag(name, operator string) *tagv3.CustomTag {
	return &tagv3.CustomTag{Tag: name, Type: &tagv3.CustomTag_Value{Value: operator}}
}
