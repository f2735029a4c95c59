package accesslog

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// full is an entry with all that is read, and with fields around it that are not.
func full() *datav3.HTTPAccessLogEntry {
	return &datav3.HTTPAccessLogEntry{
		ProtocolVersion: datav3.HTTPAccessLogEntry_HTTP11,
		CommonProperties: &datav3.AccessLogCommon{
			SampleRate:                0.5,
			DownstreamRemoteAddress:   &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/p"}}},
			StartTime:                 &timestamppb.Timestamp{Seconds: 1_795_243_433, Nanos: 123_999_999},
			TimeToFirstUpstreamRxByte: durationpb.New(2999 * time.Microsecond),
			UpstreamCluster:           "pets.test:80-6df3a5e8c272",
			ResponseFlags: &datav3.ResponseFlags{
				UpstreamRequestTimeout: true,
				UnauthorizedDetails:    &datav3.ResponseFlags_Unauthorized{Reason: datav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE},
			},
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				metadataEnforcer: {Fields: map[string]*structpb.Value{metadataClient: structpb.NewStringValue("c0ffee"), "code": structpb.NewNumberValue(1)}},
				"other":          {Fields: map[string]*structpb.Value{metadataClient: structpb.NewStringValue("wrong")}},
			}},
			RouteName: "GET /pet/{petId}", CustomTags: map[string]string{TagAPI: "petstore/1.0.0", "other": "x"},
			Duration: durationpb.New(3 * time.Millisecond), StreamId: "58bb038f-9738-4bb2-bde5-0b9f5449c0e6",
		},
		Request: &datav3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_GET, Path: "/pet/1?secret=1", RequestBodyBytes: 5, RequestHeaders: map[string]string{"a": "b"},
		},
		Response: &datav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(504), ResponseBodyBytes: 17, ResponseCodeDetails: "upstream_reset{\"why\n\"}",
		},
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entry *datav3.HTTPAccessLogEntry
		want  string
	}{
		{full(), `{"time":"2026-11-21T06:43:53.123Z","request_id":"58bb038f-9738-4bb2-bde5-0b9f5449c0e6","api":"petstore/1.0.0","operation":"GET /pet/{petId}",` +
			`"client":"c0ffee","method":"GET","protocol":"HTTP/1.1","code":504,"flags":"UT,UAEX","details":"upstream_reset{\"why\n\"}",` +
			`"duration_ms":3,"backend_ms":2,"bytes_received":5,"bytes_sent":17,"backend":"pets.test:80-6df3a5e8c272"}` + "\n"},
		{&datav3.HTTPAccessLogEntry{}, `{"time":"1970-01-01T00:00:00.000Z","code":0,"flags":"-","bytes_received":0,"bytes_sent":0}` + "\n"},
	} {
		text, err := proto.Marshal(c.entry)
		if err != nil {
			t.Fatal(err)
		}
		var e entry
		if err := e.read(text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(appendLine(nil, &e))); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// TestFlagNames: every flag Envoy's API has is named, once, and is found under its name when it is the only one set.
func TestFlagNames(t *testing.T) {
	t.Parallel()
	fields := (&datav3.ResponseFlags{}).ProtoReflect().Descriptor().Fields()
	if fields.Len() != len(flagNames)-1 {
		t.Errorf("%d flags are named, Envoy has %d", len(flagNames)-1, fields.Len())
	}
	seen := map[string]bool{}
	for i := range fields.Len() {
		f := fields.Get(i)
		flags := &datav3.ResponseFlags{}
		if f.Kind() == protoreflect.BoolKind {
			flags.ProtoReflect().Set(f, protoreflect.ValueOfBool(true))
		} else {
			flags.UnauthorizedDetails = &datav3.ResponseFlags_Unauthorized{Reason: datav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}
		}
		text, err := proto.Marshal(flags)
		if err != nil {
			t.Fatal(err)
		}
		var e entry
		if err := e.readFlags(text); err != nil {
			t.Fatal(err)
		}
		var line struct{ Flags string }
		if err := json.Unmarshal(appendLine(nil, &e), &line); err != nil {
			t.Fatal(err)
		}
		if line.Flags == "-" || line.Flags != flagNames[f.Number()] || seen[line.Flags] {
			t.Errorf("%s is called %q", f.Name(), line.Flags)
		}
		seen[line.Flags] = true
	}
}

// TestNames: every method and protocol Envoy's API has is named.
func TestNames(t *testing.T) {
	t.Parallel()
	for number, name := range corev3.RequestMethod_name {
		if number != 0 && methodNames[number] != name {
			t.Errorf("the method %s is called %q", name, methodNames[number])
		}
	}
	for number, name := range datav3.HTTPAccessLogEntry_HTTPVersion_name {
		plain := strings.NewReplacer("/", "", ".", "").Replace(protocolNames[number])
		if number != 0 && plain != name {
			t.Errorf("the protocol %s is called %q", name, protocolNames[number])
		}
	}
	if metadataClient != posternv1.MetadataClient || TagAPI != posternv1.MetadataAPI {
		t.Error("the names of metadata are not those the others use")
	}
}

// FuzzRead: what the stock decoder takes is read, without a panic and with the same fields, and makes a line of JSON.
func FuzzRead(f *testing.F) {
	for _, e := range []*datav3.HTTPAccessLogEntry{full(), {}} {
		seed, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
		f.Add(slices.Concat(seed, seed)) // everything twice: messages are merged
	}
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
		if diff := cmp.Diff(stockEntry(&stock), e, cmp.AllowUnexported(entry{}, moment{}), cmp.Comparer(bytes.Equal)); diff != "" {
			t.Errorf("the stock decoder reads otherwise (-stock +ours):\n%s", diff)
		}
		var line map[string]any
		if err := json.Unmarshal(appendLine(nil, &e), &line); err != nil {
			t.Errorf("%v: %s", err, appendLine(nil, &e))
		}
		if got, _ := line["details"].(string); got != stock.GetResponse().GetResponseCodeDetails() {
			t.Errorf("details %q came out as %q", stock.GetResponse().GetResponseCodeDetails(), got)
		}
		message, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*datav3.HTTPAccessLogEntry{&stock}},
		}})
		if err != nil {
			return
		}
		if err := newTally(New(Options{Registerer: prometheus.NewRegistry()})).read(message); err != nil {
			t.Error(err)
		}
	})
}

// stockEntry is what is read of an entry, by the stock decoder.
func stockEntry(stock *datav3.HTTPAccessLogEntry) entry {
	common := stock.GetCommonProperties()
	e := entry{
		id: []byte(common.GetStreamId()), api: []byte(common.GetCustomTags()[TagAPI]), operation: []byte(common.GetRouteName()),
		client:  []byte(common.GetMetadata().GetFilterMetadata()[metadataEnforcer].GetFields()[metadataClient].GetStringValue()),
		details: []byte(stock.GetResponse().GetResponseCodeDetails()), backend: []byte(common.GetUpstreamCluster()),
		start:    moment{common.GetStartTime() != nil, common.GetStartTime().GetSeconds(), common.GetStartTime().GetNanos()},
		duration: momentOf(common.GetDuration()), answered: momentOf(common.GetTimeToFirstUpstreamRxByte()),
		method: uint32(stock.GetRequest().GetRequestMethod()), protocol: uint32(stock.GetProtocolVersion()),
		code: stock.GetResponse().GetResponseCode().GetValue(), received: stock.GetRequest().GetRequestBodyBytes(), sent: stock.GetResponse().GetResponseBodyBytes(),
		unfinished: common.GetAccessLogType() == datav3.AccessLogType_DownstreamStart || common.GetAccessLogType() == datav3.AccessLogType_DownstreamPeriodic,
	}
	common.GetResponseFlags().ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if f.Number() != flagUnauthorized || common.GetResponseFlags().GetUnauthorizedDetails().GetReason() == datav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE {
			e.flags |= 1 << f.Number()
		}
		return true
	})
	return e
}

func momentOf(d *durationpb.Duration) moment {
	return moment{d != nil, d.GetSeconds(), d.GetNanos()}
}

// FuzzEscape: any bytes come out as a JSON string of the same text, with what is no UTF-8 replaced.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\\x00\x1f\n\r\t\x7f", "ä€😀\u2028", "\xff\xfe ok \xc3", "\xed\xa0\x80"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := append(appendEscaped([]byte{'"'}, text), '"')
		var got string
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if want := string([]rune(string(text))); got != want || !utf8.Valid(line) || bytes.ContainsAny(line, "\n\r") {
			t.Errorf("%q came out as %q", text, line)
		}
	})
}

// BenchmarkRead decodes, counts and writes the entries of a message; an operation is one entry.
func BenchmarkRead(b *testing.B) {
	message := messageOf(b, slices.Repeat([]*datav3.HTTPAccessLogEntry{full()}, 50)...)
	o := New(Options{Output: discard{}, Registerer: prometheus.NewRegistry()})
	t := newTally(o)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 50 {
		if err := t.read(message); err != nil {
			b.Fatal(err)
		}
		o.output.flush(o.output.flush(nil)) // hands the one buffer back and forth
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func messageOf(t testing.TB, entries ...*datav3.HTTPAccessLogEntry) []byte {
	t.Helper()
	message, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return message
}
