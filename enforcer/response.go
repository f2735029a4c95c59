package enforcer

import (
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postern-gateway/postern/enforcer/policy"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Response is an encoded CheckResponse. Source: Envoy API, service/auth/v3/external_auth.proto.
type Response []byte

// Numbers of the fields that are written.
const (
	responseStatus   = 1 // google.rpc.Status
	responseDenied   = 2 // DeniedHttpResponse
	responseOK       = 3 // OkHttpResponse
	responseMetadata = 4 // google.protobuf.Struct

	rpcStatusCode = 1

	deniedStatus  = 1 // envoy.type.v3.HttpStatus
	deniedHeaders = 2
	deniedBody    = 3
	httpStatus    = 1

	okHeaders       = 2
	okRemoveHeaders = 5

	optionHeader = 1 // HeaderValueOption
	optionAction = 3
	headerKey    = 1
	headerValue  = 2
	overwrite    = 2 // OVERWRITE_IF_EXISTS_OR_ADD

	structFields = 1
	valueString  = 3
)

// respond encodes a decision.
func respond(d *policy.Decision) Response {
	b := make(Response, 0, 512)
	if d.Pass() {
		return b.pass(d)
	}
	return b.deny(d)
}

func (b Response) pass(d *policy.Decision) Response {
	b, status := b.open(responseStatus) // an empty status is OK; without one Envoy denies
	b = b.close(status)
	b, ok := b.open(responseOK)
	for _, h := range d.Set {
		b = b.header(okHeaders, h.Name, h.Value)
	}
	for _, name := range d.Remove {
		b = b.text(okRemoveHeaders, name)
	}
	b = b.close(ok)
	if d.Client == "" {
		return b
	}
	b, metadata := b.open(responseMetadata)
	return b.entry(posternv1.MetadataClient, d.Client).close(metadata)
}

func (b Response) deny(d *policy.Decision) Response {
	b, status := b.open(responseStatus)
	b = b.number(rpcStatusCode, uint64(rpcCode(d.Status()))).close(status)

	b, denied := b.open(responseDenied)
	b, inner := b.open(deniedStatus)
	b = b.number(httpStatus, uint64(d.Status())).close(inner)
	if d.Challenge != "" {
		b = b.header(deniedHeaders, "www-authenticate", d.Challenge)
	}
	if after := d.RetryAfter(); after > 0 {
		b = b.header(deniedHeaders, "retry-after", strconv.Itoa(after))
	}
	detail := d.Detail
	if detail == "" { // a denial without a body would stay without one in Envoy's local reply
		detail = http.StatusText(d.Status()) + "."
	}
	b = b.text(deniedBody, detail).close(denied)

	b, metadata := b.open(responseMetadata)
	return b.entry(posternv1.MetadataCode, d.Code()).entry(posternv1.MetadataTitle, http.StatusText(d.Status())).close(metadata)
}

// rpcCode is the grpc status Envoy expects beside an HTTP one; any but OK denies.
func rpcCode(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	default:
		return codes.PermissionDenied
	}
}

// header writes a HeaderValueOption that takes the place of any header of that name.
func (b Response) header(field protowire.Number, name, value string) Response {
	b, option := b.open(field)
	b, pair := b.open(optionHeader)
	b = b.text(headerKey, name).text(headerValue, value).close(pair)
	return b.number(optionAction, overwrite).close(option)
}

// entry writes a string into a google.protobuf.Struct.
func (b Response) entry(key, value string) Response {
	b, field := b.open(structFields)
	b = b.text(1, key)
	b, inner := b.open(2)
	return b.text(valueString, value).close(inner).close(field)
}

func (b Response) text(field protowire.Number, s string) Response {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func (b Response) number(field protowire.Number, v uint64) Response {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// open begins an embedded message; close, given what open returned, puts its length before it.
func (b Response) open(field protowire.Number) (Response, int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return append(b, 0), len(b) + 1 // one byte is enough for most lengths
}

func (b Response) close(start int) Response {
	length := len(b) - start
	size := protowire.SizeVarint(uint64(length))
	for range size - 1 { // make room for the rest of the length
		b = append(b, 0)
	}
	copy(b[start+size-1:], b[start:start+length])
	protowire.AppendVarint(b[:start-1], uint64(length))
	return b
}
