package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// appendLine writes an entry as one JSON object and a newline. What is empty is left out. Paths and queries are not
// read at all: they hold what callers typed, secrets too.
func appendLine(to []byte, e *entry) []byte {
	to = append(to, `{"time":"`...)
	to = time.Unix(e.start.seconds, int64(e.start.nanos)).UTC().AppendFormat(to, "2006-01-02T15:04:05.000Z")
	to = append(to, '"')
	to = appendText(to, "request_id", e.id)
	to = appendText(to, "api", e.api)
	to = appendText(to, "operation", e.operation)
	to = appendText(to, "client", e.client)
	to = appendName(to, "method", methodNames[:], e.method)
	to = appendName(to, "protocol", protocolNames[:], e.protocol)
	to = appendNumber(to, "code", uint64(e.code))
	to = appendFlags(to, e.flags)
	to = appendText(to, "details", e.details)
	to = appendMilliseconds(to, "duration_ms", e.duration)
	to = appendMilliseconds(to, "backend_ms", e.answered)
	to = appendNumber(to, "bytes_received", e.received)
	to = appendNumber(to, "bytes_sent", e.sent)
	to = appendText(to, "backend", e.backend)
	return append(to, "}\n"...)
}

func appendKey(to []byte, key string) []byte {
	return append(append(append(to, `,"`...), key...), `":`...)
}

func appendNumber(to []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(to, key), n, 10)
}

func appendMilliseconds(to []byte, key string, m moment) []byte {
	if !m.known {
		return to
	}
	return strconv.AppendInt(appendKey(to, key), m.duration().Milliseconds(), 10)
}

func appendText(to []byte, key string, text []byte) []byte {
	if len(text) == 0 {
		return to
	}
	to = append(appendKey(to, key), '"')
	return append(appendEscaped(to, text), '"')
}

// appendName writes one of the names a number stands for, if it stands for any.
func appendName(to []byte, key string, names []string, n uint32) []byte {
	if n >= uint32(len(names)) || names[n] == "" {
		return to
	}
	to = append(appendKey(to, key), '"')
	return append(append(to, names[n]...), '"')
}

// appendFlags writes Envoy's short names, "-" where there are none, as Envoy does.
func appendFlags(to []byte, flags uint32) []byte {
	to = append(appendKey(to, "flags"), '"')
	if flags == 0 {
		return append(to, `-"`...)
	}
	first := true
	for number, name := range flagNames {
		if flags&(1<<number) == 0 {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = append(to, name...)
	}
	return append(to, '"')
}

// appendEscaped writes text as the inside of a JSON string (RFC 8259 §7). Bytes that are no UTF-8 become U+FFFD.
func appendEscaped(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	plain := 0 // text[plain:i] needs no escaping
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				to = append(append(to, text[plain:i]...), "\ufffd"...)
				plain = i + 1
			}
			i += size
			continue
		}
		to = append(to, text[plain:i]...)
		switch c {
		case '"', '\\':
			to = append(to, '\\', c)
		case '\n':
			to = append(to, `\n`...)
		case '\r':
			to = append(to, `\r`...)
		case '\t':
			to = append(to, `\t`...)
		default:
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		plain = i
	}
	return append(to, text[plain:]...)
}
