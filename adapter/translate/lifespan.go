package translate

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// httpDate is how a moment stands in a header (RFC 9110 §5.6.7).
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// lifespanHeaders tell consumers that an operation is deprecated (RFC 9745), when it ends (RFC 8594), and where to read
// more. They take the place of what a backend says: it is the gateway that will answer 410.
func lifespanHeaders(l model.Lifespan) []*corev3.HeaderValueOption {
	var headers []*corev3.HeaderValueOption
	add := func(action corev3.HeaderValueOption_HeaderAppendAction, key, value string) {
		headers = append(headers, &corev3.HeaderValueOption{AppendAction: action, Header: &corev3.HeaderValue{Key: key, Value: value}})
	}
	const replace, beside = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	if l.Deprecated {
		since := int64(0)
		if !l.Since.IsZero() {
			since = l.Since.Unix()
		}
		add(replace, "deprecation", "@"+strconv.FormatInt(since, 10))
	}
	if !l.Sunset.IsZero() {
		add(replace, "sunset", l.Sunset.UTC().Format(httpDate))
	}
	if l.Link != "" {
		url := strings.ReplaceAll(l.Link, "%", "%%") // why: a "%" begins one of Envoy's command operators
		add(beside, "link", "<"+url+`>; rel="deprecation"`)
	}
	return headers
}
