package ratelimiter

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// Codes of a RateLimitResponse.
const (
	codeOK        = 1
	codeOverLimit = 2
)

// response is a RateLimitResponse in the making.
type response struct {
	refused  bool
	verdicts []limit.Verdict // one a descriptor
	told     *rule           // the limit whose headers and words the caller gets; nil is none
	verdict  limit.Verdict   // what it has to say
}

// append appends the response in the wire format. Source: Envoy API, service/ratelimit/v3.
func (r response) append(b []byte) []byte {
	b = appendVarint(b, 1, code(r.refused))
	for _, v := range r.verdicts {
		b = appendStatus(b, v)
	}
	if r.told == nil {
		return b
	}
	b = r.appendHeaders(b)
	if r.refused {
		var scratch [256]byte
		b = appendBytes(b, 5, r.told.AppendDetail(scratch[:0], r.verdict)) // raw_body
		b = appendBytes(b, 6, r.told.metadata)                             // dynamic_metadata
	}
	return b
}

func (r response) appendHeaders(b []byte) []byte {
	var scratch [256]byte
	b = appendHeader(b, "ratelimit-policy", append(scratch[:0], r.told.Policy...))
	b = appendHeader(b, "ratelimit", r.told.AppendRateLimit(scratch[:0], r.verdict))
	b = appendHeader(b, "x-ratelimit-limit", strconv.AppendUint(scratch[:0], r.told.Limit, 10))
	b = appendHeader(b, "x-ratelimit-remaining", strconv.AppendUint(scratch[:0], r.verdict.Remaining, 10))
	b = appendHeader(b, "x-ratelimit-reset", strconv.AppendInt(scratch[:0], r.verdict.Reset, 10))
	if r.refused {
		b = appendHeader(b, "retry-after", strconv.AppendInt(scratch[:0], r.verdict.Reset, 10))
	}
	return b
}

// appendStatus appends a DescriptorStatus: code, limit_remaining, duration_until_reset. The code is the limit's own: a
// shadow limit says over here, and the response as a whole does not.
func appendStatus(b []byte, v limit.Verdict) []byte {
	remaining := min(v.Remaining, math.MaxUint32)
	duration := 1 + protowire.SizeVarint(uint64(v.Reset))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(2+1+protowire.SizeVarint(remaining)+1+1+duration))
	b = appendVarint(b, 1, code(v.Over))
	b = appendVarint(b, 3, remaining)
	b = protowire.AppendTag(b, 4, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(duration))
	return appendVarint(b, 1, uint64(v.Reset))
}

// appendHeader appends a HeaderValue as one of response_headers_to_add.
func appendHeader(b []byte, name string, value []byte) []byte {
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(name))+1+protowire.SizeBytes(len(value))))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, name)
	return appendBytes(b, 2, value)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func code(over bool) uint64 {
	if over {
		return codeOverLimit
	}
	return codeOK
}
