package limit

import (
	"fmt"
	"strconv"
	"strings"
)

// AppendRateLimit appends the RateLimit header's value. Source: draft-ietf-httpapi-ratelimit-headers-10, section 4.
func (r *Rule) AppendRateLimit(b []byte, v Verdict) []byte {
	b = append(b, r.quoted...)
	b = append(b, ";r="...)
	b = strconv.AppendUint(b, v.Remaining, 10)
	b = append(b, ";t="...)
	return strconv.AppendInt(b, v.Reset, 10)
}

// AppendDetail appends what a refused caller is told, in plain words.
func (r *Rule) AppendDetail(b []byte, v Verdict) []byte {
	b = append(b, r.detail...)
	b = strconv.AppendInt(b, v.Reset, 10)
	if v.Reset == 1 {
		return append(b, " second."...)
	}
	return append(b, " seconds."...)
}

// quote makes a structured field's string (RFC 9651, section 3.3.3). Such strings are printable ASCII: other bytes,
// and the percent sign itself, are written %XX.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c > 0x7e || c == '%':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// rate says "5000 requests per minute".
func rate(limit uint64, seconds int64) string {
	requests := "requests"
	if limit == 1 {
		requests = "request"
	}
	return fmt.Sprintf("%d %s per %s", limit, requests, span(seconds))
}

func span(seconds int64) string {
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}} {
		switch n := seconds / unit.seconds; {
		case seconds%unit.seconds != 0:
		case n == 1:
			return unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return strconv.FormatInt(seconds, 10) + " seconds" // not reached: every number is a number of seconds
}
