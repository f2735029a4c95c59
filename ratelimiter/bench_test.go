package ratelimiter

import (
	"math"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// BenchmarkShouldRateLimit is a request's way through the process, but for gRPC: decoded, decided, encoded.
func BenchmarkShouldRateLimit(b *testing.B) {
	roomy := gold(func(r *posternv1.LimitRule) { r.Limit = math.MaxUint32 })
	other := gold(func(r *posternv1.LimitRule) { r.Limit, r.Counter = math.MaxUint32, "petstore/1.0.0 silver" })
	none := gold(func(r *posternv1.LimitRule) { r.Limit = 0 })
	for _, c := range []struct {
		name  string
		rules []*posternv1.LimitRule
	}{{"passed", list(roomy)}, {"two", list(roomy, other)}, {"refused", list(none)}} {
		b.Run(c.name, func(b *testing.B) {
			s := New(Options{})
			r, ids := limits(b, c.rules...)
			put(b, s, r)
			wire, err := proto.Marshal(question(ids...))
			if err != nil {
				b.Fatal(err)
			}
			codec := newCodec()
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					out, err := shouldRateLimit(s, b.Context(), func(v any) error {
						return codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, v)
					}, nil)
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := codec.Marshal(out); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
