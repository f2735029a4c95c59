package accesslog

import (
	"testing"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// FuzzRead: what the stock decoder takes is read, without a panic and with the same fields.
func FuzzRead(f *testing.F) {
	seed, err := proto.Marshal(&datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{CustomTags: map[string]string{"api": "a/1"}, RouteName: "GET /", Duration: durationpb.New(1)},
		Response:         &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200)},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, text []byte) {
		var stock datav3.HTTPAccessLogEntry
		var e entry
		taken := e.read(text) == nil
		if proto.Unmarshal(text, &stock) != nil {
			return
		}
		if !taken {
			t.Fatal("the stock decoder takes it")
		}
		common := stock.GetCommonProperties()
		if string(e.api) != common.GetCustomTags()[TagAPI] || string(e.operation) != common.GetRouteName() {
			t.Errorf("read %q %q, stock %v", e.api, e.operation, common)
		}
		message, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*datav3.HTTPAccessLogEntry{&stock}},
		}})
		if err != nil {
			return
		}
		counted := &tally{server: New(prometheus.NewRegistry()), known: map[string]*series{}}
		if err := counted.read(message); err != nil {
			t.Error(err)
		}
	})
}
