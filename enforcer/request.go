package enforcer

import (
	"google.golang.org/protobuf/encoding/protowire"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Request is a CheckRequest, decoded only where policies look: which policy, the headers, the path. Everything else
// (addresses, time, body, peer certificate) is skipped unread. Source: Envoy API, service/auth/v3/attribute_context.proto.
type Request struct {
	policy, operation []byte
	path              []byte
	headers           []header
	inline            [24]header // of most requests, without an allocation of their own
}

// header is one entry of the headers map. Both are parts of the encoded message.
type header struct{ name, value []byte }

// Header implements authn.Request. Of entries with one name the last counts, as in every protobuf map.
func (r *Request) Header(name string) []byte {
	for i := len(r.headers) - 1; i >= 0; i-- {
		if string(r.headers[i].name) == name {
			return r.headers[i].value
		}
	}
	return nil
}

// Path implements authn.Request.
func (r *Request) Path() []byte { return r.path }

// Numbers of the fields that are read.
const (
	checkAttributes     = 1
	attributesRequest   = 4
	attributesExtension = 10
	requestHTTP         = 2
	httpHeaders         = 3
	httpPath            = 4
	entryKey            = 1
	entryValue          = 2
)

// decode reads an encoded CheckRequest. The Request keeps data. Fields that come more than once are merged, as protobuf
// says; it agrees with the stock decoder on every message that one accepts (FuzzCheckRequest).
func (r *Request) decode(data []byte) error {
	r.headers = r.inline[:0]
	return eachMessage(data, func(n protowire.Number, v []byte) error {
		if n != checkAttributes {
			return nil
		}
		return eachMessage(v, r.decodeAttribute)
	})
}

func (r *Request) decodeAttribute(n protowire.Number, v []byte) error {
	switch n {
	case attributesExtension:
		entry, err := decodeEntry(v)
		switch string(entry.name) {
		case posternv1.ContextPolicy:
			r.policy = entry.value
		case posternv1.ContextOperation:
			r.operation = entry.value
		}
		return err
	case attributesRequest:
		return eachMessage(v, func(n protowire.Number, v []byte) error {
			if n != requestHTTP {
				return nil
			}
			return eachMessage(v, r.decodeHTTP)
		})
	}
	return nil
}

func (r *Request) decodeHTTP(n protowire.Number, v []byte) error {
	switch n {
	case httpPath:
		r.path = v
	case httpHeaders:
		entry, err := decodeEntry(v)
		if err != nil {
			return err
		}
		r.headers = append(r.headers, entry)
	}
	return nil
}

// decodeEntry reads an entry of a map from string to string; what is left out is empty.
func decodeEntry(data []byte) (header, error) {
	entry := header{value: []byte{}}
	err := eachMessage(data, func(n protowire.Number, v []byte) error {
		switch n {
		case entryKey:
			entry.name = v
		case entryValue:
			entry.value = v
		}
		return nil
	})
	return entry, err
}

// eachMessage calls visit for each length-delimited field (messages, strings, map entries) of an encoded message and
// skips the others.
func eachMessage(data []byte, visit func(protowire.Number, []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
				return protowire.ParseError(n)
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(number, value); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
