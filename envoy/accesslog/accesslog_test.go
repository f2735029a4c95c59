package accesslog_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/envoy/accesslog"
)

// logged is an entry as Envoy writes it, with fields around those that are read.
func logged(api, operation string, code uint32, duration time.Duration) *datav3.HTTPAccessLogEntry {
	tags := map[string]string{"other": "x"}
	if api != "" {
		tags[accesslog.TagAPI] = api
	}
	return &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			DownstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/p"}}},
			SampleRate:              0.5, UpstreamCluster: "c", RouteName: operation, CustomTags: tags,
			Duration: durationpb.New(duration), StreamId: "id",
		},
		Request:  &datav3.HTTPRequestProperties{Path: "/p", RequestHeaders: map[string]string{"a": "b"}},
		Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(code), ResponseBodyBytes: 7},
	}
}

func message(entries ...*datav3.HTTPAccessLogEntry) *accesslogv3.StreamAccessLogsMessage {
	return &accesslogv3.StreamAccessLogsMessage{
		Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: "postern"},
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
		},
	}
}

// serve returns a stream to a server, and the registry it counts in.
func serve(t testing.TB) (accesslogv3.AccessLogService_StreamAccessLogsClient, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	s := accesslog.New(accesslog.Options{Registerer: registry})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stream, registry
}

// eventually waits until the counters of a scrape are as wanted.
func eventually(t testing.TB, registry *prometheus.Registry, want map[string]float64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		diff := cmp.Diff(want, counters(t, registry))
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counters (-want +got):\n%s", diff)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func counters(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if m.GetCounter() != nil {
				found[f.GetName()+" "+strings.Join(labels, " ")] = m.GetCounter().GetValue()
			}
		}
	}
	return found
}

func TestCounts(t *testing.T) {
	t.Parallel()
	stream, registry := serve(t)
	unfinished := logged("petstore/1.0.0", "GET /pet/{petId}", 200, time.Second)
	unfinished.CommonProperties.AccessLogType = datav3.AccessLogType_DownstreamPeriodic
	left := logged("petstore/1.0.0", "GET /pet/{petId}", 0, 20*time.Millisecond)
	left.Response.ResponseCode = nil
	for _, m := range []*accesslogv3.StreamAccessLogsMessage{
		message(logged("petstore/1.0.0", "GET /pet/{petId}", 200, 3*time.Millisecond), logged("", "", 404, time.Microsecond)),
		message(logged("petstore/1.0.0", "GET /pet/{petId}", 200, 1200*time.Millisecond), unfinished, left),
		message(logged("petstore/1.0.0", "POST /pet", 503, time.Millisecond)),
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, registry, map[string]float64{
		"postern_access_log_dropped_total ":                                             0,
		"postern_requests_total api= code=404 operation=":                               1,
		"postern_requests_total api=petstore/1.0.0 code=0 operation=GET /pet/{petId}":   1,
		"postern_requests_total api=petstore/1.0.0 code=200 operation=GET /pet/{petId}": 2,
		"postern_requests_total api=petstore/1.0.0 code=503 operation=POST /pet":        1,
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "postern_request_duration_seconds" {
			continue
		}
		h := f.GetMetric()[1].GetHistogram()
		if h.GetSampleCount() != 4 || h.GetSampleSum() < 1.2 || h.GetSampleSum() > 1.3 {
			t.Errorf("durations of petstore: %v", h)
		}
	}
}

func TestGarbageEndsTheStream(t *testing.T) {
	t.Parallel()
	stream, _ := serve(t)
	m := message()
	m.ProtoReflect().SetUnknown([]byte{0x12, 0x7f, 0x01})
	if err := stream.Send(m); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(accesslogv3.StreamAccessLogsResponse)); err == nil {
		t.Error("garbage was taken")
	}
}

func BenchmarkStream(b *testing.B) {
	stream, _ := serve(b)
	var entries []*datav3.HTTPAccessLogEntry
	for i := range 20 {
		entries = append(entries, logged("petstore/1.0.0", fmt.Sprintf("GET /pet/%d", i), 200, time.Millisecond))
	}
	m := &grpc.PreparedMsg{}
	if err := m.Encode(stream, message(entries...)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := stream.SendMsg(m); err != nil {
			b.Fatal(err)
		}
	}
}
