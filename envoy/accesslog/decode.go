package accesslog

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// entry is what is read of an HTTPAccessLogEntry. Its texts are parts of the message.
type entry struct {
	api, operation []byte
	code           uint16
	duration       time.Duration
	unfinished     bool // a report from the beginning or the middle of a request
}

// Field numbers. Source: Envoy API, service/accesslog/v3/als.proto, data/accesslog/v3/accesslog.proto.
const (
	messageHTTPLogs = 2 // StreamAccessLogsMessage.http_logs
	logsEntry       = 1 // HTTPAccessLogEntries.log_entry

	entryCommon   = 1 // HTTPAccessLogEntry.common_properties
	entryResponse = 4 // .response

	responseCode = 1 // HTTPResponseProperties.response_code, a UInt32Value

	commonRouteName  = 19 // AccessLogCommon.route_name
	commonCustomTags = 22 // AccessLogCommon.custom_tags, map<string, string>
	commonDuration   = 23 // .duration
	commonLogType    = 33 // .access_log_type
)

// AccessLogType of entries about a request that goes on.
const (
	logTypeStart    = 4
	logTypePeriodic = 5
)

// read counts every entry of a StreamAccessLogsMessage.
func (t *tally) read(message []byte) error {
	return fields(message, func(number protowire.Number, logs []byte, _ uint64) error {
		if number != messageHTTPLogs {
			return nil
		}
		return fields(logs, func(number protowire.Number, text []byte, _ uint64) error {
			if number != logsEntry {
				return nil
			}
			var e entry
			if err := e.read(text); err != nil {
				return err
			}
			if !e.unfinished {
				t.count(e)
			}
			return nil
		})
	})
}

func (e *entry) read(text []byte) error {
	return fields(text, func(number protowire.Number, part []byte, _ uint64) error {
		switch number {
		case entryCommon:
			return fields(part, e.readCommon)
		case entryResponse:
			return fields(part, e.readResponse)
		}
		return nil
	})
}

func (e *entry) readCommon(number protowire.Number, part []byte, value uint64) error {
	switch number {
	case commonRouteName:
		e.operation = part
	case commonCustomTags:
		return e.readTag(part)
	case commonDuration:
		return fields(part, func(number protowire.Number, _ []byte, value uint64) error {
			switch number {
			case 1:
				e.duration += time.Duration(value) * time.Second
			case 2:
				e.duration += time.Duration(value)
			}
			return nil
		})
	case commonLogType:
		e.unfinished = value == logTypeStart || value == logTypePeriodic
	}
	return nil
}

func (e *entry) readTag(part []byte) error {
	var key, value []byte
	err := fields(part, func(number protowire.Number, text []byte, _ uint64) error {
		switch number {
		case 1:
			key = text
		case 2:
			value = text
		}
		return nil
	})
	if string(key) == TagAPI {
		e.api = value
	}
	return err
}

func (e *entry) readResponse(number protowire.Number, part []byte, _ uint64) error {
	if number != responseCode {
		return nil
	}
	return fields(part, func(number protowire.Number, _ []byte, value uint64) error {
		if number == 1 && value <= 999 {
			e.code = uint16(value)
		}
		return nil
	})
}

// fields calls each with the fields of a message: part for what has a length, value for varints.
func fields(message []byte, each func(number protowire.Number, part []byte, value uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var part []byte
		var value uint64
		switch kind {
		case protowire.BytesType:
			part, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := each(number, part, value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
