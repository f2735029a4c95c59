package ratelimiter

import (
	"bytes"
	"math"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// plain is a request as Envoy's own types have it.
func plain(in *ratelimitv3.RateLimitRequest) []descriptor {
	var out []descriptor
	for _, d := range in.GetDescriptors() {
		next := descriptor{hasCost: d.GetHitsAddend() != nil, cost: d.GetHitsAddend().GetValue()}
		for _, e := range d.GetEntries() {
			next.entries = append(next.entries, limit.Entry{Key: e.GetKey(), Value: e.GetValue()})
		}
		out = append(out, next)
	}
	return out
}

func diff(a, b []descriptor) string {
	norm := func(in []descriptor) []descriptor {
		var out []descriptor
		for _, d := range in {
			d.entries = append([]limit.Entry(nil), d.entries...)
			out = append(out, d)
		}
		return out
	}
	return cmp.Diff(norm(a), norm(b), cmp.AllowUnexported(descriptor{}))
}

func full() *ratelimitv3.RateLimitRequest {
	return &ratelimitv3.RateLimitRequest{
		Domain: "postern",
		Descriptors: []*commonv3.RateLimitDescriptor{
			{Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: "limit", Value: "0123456789abcdef/0"}}},
			{
				Entries:    []*commonv3.RateLimitDescriptor_Entry{{Key: "limit", Value: "0123456789abcdef/1"}, {Key: "user", Value: "änn"}, {}},
				HitsAddend: wrapperspb.UInt64(math.MaxUint64),
			},
			{HitsAddend: wrapperspb.UInt64(0)},
		},
		HitsAddend: 7,
	}
}

func TestRequestAgainstEnvoysTypes(t *testing.T) {
	t.Parallel()
	in := full()
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []mem.BufferSlice{
		{mem.SliceBuffer(b)},
		{mem.SliceBuffer(b[:11]), mem.SliceBuffer(b[11:])}, // as it may come from the network
	} {
		r := requests.Get().(*request)
		if err := newCodec().Unmarshal(data, r); err != nil {
			t.Fatal(err)
		}
		if d := diff(plain(in), r.descriptors); d != "" || r.hitsAddend != 7 {
			t.Errorf("hits_addend %d; %s", r.hitsAddend, d)
		}
		for i, want := range []uint64{7, math.MaxUint64, 0} {
			if got := r.costOf(r.descriptors[i]); got != want {
				t.Errorf("descriptor %d costs %d, want %d", i, got, want)
			}
		}
		r.release()
	}
}

// A request that is used again has nothing of the last one.
func TestRequestIsUsedAgain(t *testing.T) {
	t.Parallel()
	r := new(request)
	for _, in := range []*ratelimitv3.RateLimitRequest{full(), question("a/0"), {Domain: "postern"}, question("a/0", "b/0"), full()} {
		b, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.decode(b); err != nil {
			t.Fatal(err)
		}
		if d := diff(plain(in), r.descriptors); d != "" || r.hitsAddend != uint64(in.GetHitsAddend()) {
			t.Errorf("hits_addend %d; %s", r.hitsAddend, d)
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	t.Parallel()
	override, negative := full(), full()
	override.Descriptors[0].Limit = &commonv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 1}
	negative.Descriptors[1].IsNegativeHits = true
	f := start(t, Options{})
	for want, in := range map[string]*ratelimitv3.RateLimitRequest{"overrides its limit": override, "gives hits back": negative} {
		if _, err := f.client.ShouldRateLimit(t.Context(), in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestResponseAgainstEnvoysTypes(t *testing.T) {
	t.Parallel()
	rules, err := limit.Compile(&posternv1.Limits{Api: "petstore/1.0.0", Rules: []*posternv1.LimitRule{
		{Id: "a/0", Name: "göld " + strings.Repeat("x", 300), Counter: "c", Limit: math.MaxUint64, WindowSeconds: 34560000, Code: "900800"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	told := &rule{Rule: rules[0], metadata: refusal("900800")}
	v := limit.Verdict{Over: true, Remaining: math.MaxUint64 - 1, Reset: 34560000}
	got := decodeResponse(t, response{refused: true, verdicts: []limit.Verdict{{Reset: 1}, v}, told: told, verdict: v})
	header := func(k, v string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: k, Value: v} }
	name := `"g%C3%B6ld ` + strings.Repeat("x", 300) + `"`
	want := &ratelimitv3.RateLimitResponse{
		OverallCode: ratelimitv3.RateLimitResponse_OVER_LIMIT,
		Statuses: []*ratelimitv3.RateLimitResponse_DescriptorStatus{
			{Code: ratelimitv3.RateLimitResponse_OK, DurationUntilReset: &durationpb.Duration{Seconds: 1}},
			{Code: ratelimitv3.RateLimitResponse_OVER_LIMIT, LimitRemaining: math.MaxUint32, DurationUntilReset: &durationpb.Duration{Seconds: 34560000}},
		},
		ResponseHeadersToAdd: []*corev3.HeaderValue{
			header("ratelimit-policy", name+";q=18446744073709551615;w=34560000"),
			header("ratelimit", name+";r=18446744073709551614;t=34560000"),
			header("x-ratelimit-limit", "18446744073709551615"),
			header("x-ratelimit-remaining", "18446744073709551614"),
			header("x-ratelimit-reset", "34560000"),
			header("retry-after", "34560000"),
		},
		RawBody: []byte(`The limit "göld ` + strings.Repeat("x", 300) + `" of 18446744073709551615 requests per 400 days is used up. Try again in 34560000 seconds.`),
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"code": structpb.NewStringValue("900800"), "title": structpb.NewStringValue("Too Many Requests"),
		}},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	bare := decodeResponse(t, response{verdicts: []limit.Verdict{{Over: true, Reset: 9}}}) // a shadow: nobody is told
	if d := cmp.Diff(&ratelimitv3.RateLimitResponse{OverallCode: passes, Statuses: []*ratelimitv3.RateLimitResponse_DescriptorStatus{
		{Code: refuses, DurationUntilReset: &durationpb.Duration{Seconds: 9}},
	}}, bare, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// decodeResponse reads what the codec writes with Envoy's own types, and proves that it is what they would have written.
func decodeResponse(t *testing.T, r response) *ratelimitv3.RateLimitResponse {
	t.Helper()
	data, err := newCodec().Marshal(encoded(r.append(nil)))
	if err != nil {
		t.Fatal(err)
	}
	out := &ratelimitv3.RateLimitResponse{}
	if err := proto.Unmarshal(data.Materialize(), out); err != nil {
		t.Fatal(err)
	}
	if len(out.ProtoReflect().GetUnknown()) != 0 {
		t.Error("it has fields that Envoy's types do not know")
	}
	return out
}

// Whatever comes: no panic; and where both decoders understand it, they understand the same.
func FuzzRequest(f *testing.F) {
	for _, in := range []*ratelimitv3.RateLimitRequest{full(), question(), question("a/0"), question("a/0", "b/1")} {
		b, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{0x1a, 0x00, 0x0b, 0x0c})             // a group of an unknown field
	f.Add([]byte{0x12, 0x04, 0x1a, 0x02, 0x08, 0x80}) // a varint that does not end
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		r := new(request)
		err := r.decode(b)
		if !bytes.Equal(b, before) {
			t.Fatal("decoding changed the bytes")
		}
		var in ratelimitv3.RateLimitRequest
		if theirs := proto.Unmarshal(b, &in); theirs != nil {
			return // we read text that is not UTF-8, and skip what fields of other wire types hold
		}
		for _, d := range in.GetDescriptors() {
			if d.GetLimit() != nil || d.GetIsNegativeHits() {
				return
			}
		}
		if err == errOverride || err == errNegative { // said and taken back within one message, which nobody writes
			return
		}
		if err != nil {
			t.Fatalf("Envoy's types read it and we do not: %v", err)
		}
		if d := diff(plain(&in), r.descriptors); d != "" || r.hitsAddend != uint64(in.GetHitsAddend()) {
			t.Fatalf("hits_addend %d, want %d; %s", r.hitsAddend, in.GetHitsAddend(), d)
		}
	})
}
