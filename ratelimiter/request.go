package ratelimiter

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// request is what a RateLimitRequest says that concerns us. Source: Envoy API, service/ratelimit/v3, and
// extensions/common/ratelimit/v3; the field numbers below are theirs.
type request struct {
	descriptors []descriptor
	hitsAddend  uint64 // for descriptors without their own; 0 is 1
}

type descriptor struct {
	entries []limit.Entry
	cost    uint64
	hasCost bool
}

// costOf is what a descriptor's hit counts: a descriptor may say 0, a request as a whole cannot.
func (r *request) costOf(d descriptor) uint64 {
	if d.hasCost {
		return d.cost
	}
	return max(r.hitsAddend, 1)
}

// Requests that Envoy can send only if somebody else than our adapter configured it. Counting them as something else
// would be a guess.
var (
	errOverride = errors.New("a descriptor overrides its limit, which this ratelimiter does not serve")
	errNegative = errors.New("a descriptor gives hits back, which this ratelimiter does not serve")
)

var requests = sync.Pool{New: func() any { return new(request) }}

// release makes the request ready for its next use; its strings are their own and live on.
func (r *request) release() {
	for i := range r.descriptors {
		clear(r.descriptors[i].entries)
	}
	requests.Put(r)
}

// decode reads the wire format. Unknown fields are skipped, as protobuf wants it. Text need not be UTF-8: callers can
// put anything into what is counted by, and to fail then would let them choose what a limit does on failure.
func (r *request) decode(b []byte) error {
	r.descriptors, r.hitsAddend = r.descriptors[:0], 0
	return fields(b, func(n protowire.Number, v value) error {
		switch {
		case n == 2 && v.kind == protowire.BytesType:
			return r.next().decode(v.bytes)
		case n == 3 && v.kind == protowire.VarintType:
			r.hitsAddend = uint64(uint32(v.number))
		}
		return nil
	})
}

// next appends an empty descriptor, in the memory of an earlier request if there is some.
func (r *request) next() *descriptor {
	if len(r.descriptors) < cap(r.descriptors) {
		r.descriptors = r.descriptors[:len(r.descriptors)+1]
	} else {
		r.descriptors = append(r.descriptors, descriptor{})
	}
	d := &r.descriptors[len(r.descriptors)-1]
	*d = descriptor{entries: d.entries[:0]}
	return d
}

func (d *descriptor) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		switch {
		case n == 1 && v.kind == protowire.BytesType:
			e, err := decodeEntry(v.bytes)
			d.entries = append(d.entries, e)
			return err
		case n == 2 && v.kind == protowire.BytesType:
			return errOverride
		case n == 3 && v.kind == protowire.BytesType:
			d.hasCost = true
			return d.decodeCost(v.bytes)
		case n == 4 && v.kind == protowire.VarintType && v.number != 0:
			return errNegative
		}
		return nil
	})
}

// decodeCost reads a google.protobuf.UInt64Value.
func (d *descriptor) decodeCost(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		if n == 1 && v.kind == protowire.VarintType {
			d.cost = v.number
		}
		return nil
	})
}

func decodeEntry(b []byte) (limit.Entry, error) {
	var e limit.Entry
	err := fields(b, func(n protowire.Number, v value) error {
		switch {
		case n == 1 && v.kind == protowire.BytesType:
			e.Key = keyText(v.bytes)
		case n == 2 && v.kind == protowire.BytesType:
			e.Value = string(v.bytes)
		}
		return nil
	})
	return e, err
}

// keyText spares an allocation for the key that every descriptor has.
func keyText(b []byte) string {
	if string(b) == posternv1.DescriptorLimit {
		return posternv1.DescriptorLimit
	}
	return string(b)
}

// value is a field's value: number of a varint, bytes of a string or message.
type value struct {
	kind   protowire.Type
	number uint64
	bytes  []byte
}

// fields calls f for each field of a message in the wire format.
func fields(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		v := value{kind: kind}
		switch kind {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(number, v); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
