package accesslog

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// entry is what is read of an HTTPAccessLogEntry. Its texts are parts of the message.
type entry struct {
	id, api, operation, client, details, backend []byte

	start            moment
	duration         moment // from the first byte of the request to the last of the answer
	answered         moment // from the first byte of the request to the first of the backend's answer
	method, protocol uint32
	code             uint32
	flags            uint32 // a bit for each field of ResponseFlags that is set
	received, sent   uint64 // bytes of the bodies
	unfinished       bool   // a report from the beginning or the middle of a request
}

// moment is a Timestamp or a Duration.
type moment struct {
	known   bool
	seconds int64
	nanos   int32
}

func (m moment) duration() time.Duration {
	return time.Duration(m.seconds)*time.Second + time.Duration(m.nanos)
}

// Fields, by number and by how they are written: a field of that number written otherwise is none that is known.
// Source: Envoy API, service/accesslog/v3/als.proto, data/accesslog/v3/accesslog.proto, config/core/v3/base.proto.
const (
	length = uint64(protowire.BytesType)  // texts and messages
	varint = uint64(protowire.VarintType) // numbers

	messageHTTPLogs = 2<<3 | length // StreamAccessLogsMessage.http_logs
	logsEntry       = 1<<3 | length // HTTPAccessLogEntries.log_entry

	entryCommon   = 1<<3 | length // HTTPAccessLogEntry.common_properties
	entryProtocol = 2<<3 | varint // .protocol_version
	entryRequest  = 3<<3 | length // .request
	entryResponse = 4<<3 | length // .response

	requestMethod    = 1<<3 | varint  // HTTPRequestProperties.request_method
	requestBodyBytes = 12<<3 | varint // .request_body_bytes

	responseCode        = 1<<3 | length // HTTPResponseProperties.response_code, a UInt32Value
	responseBodyBytes   = 3<<3 | varint // .response_body_bytes
	responseCodeDetails = 6<<3 | length // .response_code_details

	commonStartTime       = 5<<3 | length  // AccessLogCommon.start_time
	commonFirstAnswerByte = 9<<3 | length  // .time_to_first_upstream_rx_byte
	commonUpstreamCluster = 15<<3 | length // .upstream_cluster
	commonResponseFlags   = 16<<3 | length // .response_flags
	commonMetadata        = 17<<3 | length // .metadata
	commonRouteName       = 19<<3 | length // .route_name
	commonCustomTags      = 22<<3 | length // .custom_tags, map<string, string>
	commonDuration        = 23<<3 | length // .duration
	commonStreamID        = 26<<3 | length // .stream_id
	commonLogType         = 33<<3 | varint // .access_log_type

	wrappedValue  = 1<<3 | varint // UInt32Value.value
	momentSeconds = 1<<3 | varint // Timestamp.seconds, Duration.seconds
	momentNanos   = 2<<3 | varint // .nanos

	mapKey       = 1<<3 | length
	mapValue     = 2<<3 | length // where it is a text or a message
	metadataAll  = 1<<3 | length // Metadata.filter_metadata, map<string, Struct>
	structFields = 1<<3 | length // Struct.fields, map<string, Value>
	valueText    = 3<<3 | length // Value.string_value
	valueFirst   = 1             // the first and the last field of Value's kind: of them all, the last one written holds
	valueLast    = 6
)

// AccessLogType of entries about a request that goes on.
const (
	logTypeStart    = 4
	logTypePeriodic = 5
)

// readEntries calls each with every entry of a StreamAccessLogsMessage, which is valid until each returns.
func readEntries(message []byte, e *entry, each func(*entry)) error {
	m := scanner{rest: message}
	for m.next() {
		if m.field != messageHTTPLogs {
			continue
		}
		logs := scanner{rest: m.part}
		for logs.next() {
			if logs.field != logsEntry {
				continue
			}
			*e = entry{}
			if err := e.read(logs.part); err != nil {
				return err
			}
			each(e)
		}
		if logs.err != nil {
			return logs.err
		}
	}
	return m.err
}

func (e *entry) read(text []byte) (err error) {
	s := scanner{rest: text}
	for err == nil && s.next() {
		switch s.field {
		case entryCommon:
			err = e.readCommon(s.part)
		case entryProtocol:
			e.protocol = uint32(s.value)
		case entryRequest:
			err = e.readRequest(s.part)
		case entryResponse:
			err = e.readResponse(s.part)
		}
	}
	return s.or(err)
}

func (e *entry) readCommon(text []byte) (err error) {
	s := scanner{rest: text}
	for err == nil && s.next() {
		switch s.field {
		case commonStartTime:
			err = e.start.read(s.part)
		case commonFirstAnswerByte:
			err = e.answered.read(s.part)
		case commonUpstreamCluster:
			e.backend = s.part
		case commonResponseFlags:
			err = e.readFlags(s.part)
		case commonMetadata:
			err = e.readMetadata(s.part)
		case commonRouteName:
			e.operation = s.part
		case commonCustomTags:
			err = e.readTag(s.part)
		case commonDuration:
			err = e.duration.read(s.part)
		case commonStreamID:
			e.id = s.part
		case commonLogType:
			e.unfinished = uint32(s.value) == logTypeStart || uint32(s.value) == logTypePeriodic
		}
	}
	return s.or(err)
}

func (e *entry) readRequest(text []byte) error {
	s := scanner{rest: text}
	for s.next() {
		switch s.field {
		case requestMethod:
			e.method = uint32(s.value)
		case requestBodyBytes:
			e.received = s.value
		}
	}
	return s.err
}

func (e *entry) readResponse(text []byte) (err error) {
	s := scanner{rest: text}
	for err == nil && s.next() {
		switch s.field {
		case responseCode:
			code := scanner{rest: s.part}
			for code.next() {
				if code.field == wrappedValue {
					e.code = uint32(code.value)
				}
			}
			err = code.err
		case responseBodyBytes:
			e.sent = s.value
		case responseCodeDetails:
			e.details = s.part
		}
	}
	return s.or(err)
}

func (m *moment) read(text []byte) error {
	m.known = true
	s := scanner{rest: text}
	for s.next() {
		switch s.field {
		case momentSeconds:
			m.seconds = int64(s.value)
		case momentNanos:
			m.nanos = int32(s.value)
		}
	}
	return s.err
}

// readFlags reads a message of booleans; only the reason of a refusal is a message of its own.
func (e *entry) readFlags(text []byte) error {
	s := scanner{rest: text}
	for s.next() {
		number := s.field >> 3
		if number >= uint64(len(flagNames)) || flagNames[number] == "" {
			continue
		}
		switch {
		case s.field == flagUnauthorized<<3|length:
			reason := scanner{rest: s.part}
			for reason.next() {
				if reason.field == unauthorizedReason {
					e.setFlag(flagUnauthorized, uint32(reason.value) == reasonExternalService)
				}
			}
			if reason.err != nil {
				return reason.err
			}
		case number != flagUnauthorized && s.field&7 == varint:
			e.setFlag(number, s.value != 0)
		}
	}
	return s.err
}

func (e *entry) setFlag(number uint64, set bool) {
	e.flags &^= 1 << number
	if set {
		e.flags |= 1 << number
	}
}

// readTag reads one of the custom tags.
func (e *entry) readTag(text []byte) error {
	key, value, err := pair(text)
	if string(key) == TagAPI {
		e.api = value
	}
	return err
}

// readMetadata reads what the enforcer has said of the request.
func (e *entry) readMetadata(text []byte) (err error) {
	all := scanner{rest: text}
	for err == nil && all.next() {
		if all.field != metadataAll {
			continue
		}
		var key []byte
		if key, _, err = pair(all.part); string(key) == metadataEnforcer {
			e.client = nil // why: of two entries with one key the last one holds, whole
			err = e.readStruct(all.part)
		}
	}
	return all.or(err)
}

// readStruct reads the Struct of an entry of a map.
func (e *entry) readStruct(text []byte) (err error) {
	s := scanner{rest: text}
	for err == nil && s.next() {
		if s.field != mapValue {
			continue
		}
		fields := scanner{rest: s.part}
		for err == nil && fields.next() {
			if fields.field != structFields {
				continue
			}
			var key []byte
			if key, _, err = pair(fields.part); string(key) == metadataClient {
				e.client = nil
				err = e.readClient(fields.part)
			}
		}
		err = fields.or(err)
	}
	return s.or(err)
}

// readClient reads the Value of an entry of a map.
func (e *entry) readClient(text []byte) error {
	s := scanner{rest: text}
	for s.next() {
		if s.field != mapValue {
			continue
		}
		value := scanner{rest: s.part}
		for value.next() {
			switch number := value.field >> 3; {
			case value.field == valueText:
				e.client = value.part
			case number >= valueFirst && number <= valueLast && value.field&7 == valueKinds[number]:
				e.client = nil
			}
		}
		if value.err != nil {
			return value.err
		}
	}
	return s.err
}

// valueKinds are how the fields of Value are written, by number: null, number, text, boolean, struct, list.
var valueKinds = [valueLast + 1]uint64{1: varint, 2: uint64(protowire.Fixed64Type), 3: length, 4: varint, 5: length, 6: length}

// pair reads an entry of a map; a value that is a message may stand there in more than one piece.
func pair(text []byte) (key, value []byte, err error) {
	s := scanner{rest: text}
	for s.next() {
		switch s.field {
		case mapKey:
			key = s.part
		case mapValue:
			value = s.part
		}
	}
	return key, value, s.err
}

// scanner goes through the fields of a message.
type scanner struct {
	rest []byte

	field uint64 // its number, and how it is written
	part  []byte // what a field that says its length holds
	value uint64 // of a varint
	err   error
}

// next goes on to the next field; there is none after the last, and none after something that is no field.
func (s *scanner) next() bool {
	if len(s.rest) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(s.rest)
	if n < 0 {
		s.err = protowire.ParseError(n)
		return false
	}
	s.rest = s.rest[n:]
	switch kind {
	case protowire.BytesType:
		s.part, n = protowire.ConsumeBytes(s.rest)
	case protowire.VarintType:
		s.value, n = protowire.ConsumeVarint(s.rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, s.rest)
	}
	if n < 0 {
		s.err = protowire.ParseError(n)
		return false
	}
	s.rest, s.field = s.rest[n:], uint64(number)<<3|uint64(kind)
	return true
}

// or is the first thing that was wrong: err, or with the message itself.
func (s *scanner) or(err error) error {
	if err != nil {
		return err
	}
	return s.err
}
