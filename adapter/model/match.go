package model

import (
	"fmt"
	"slices"
	"strings"
)

// Found is where a request goes.
type Found struct {
	// Status is 200 if an operation serves the request; else what the gateway answers: 400 for a path it refuses,
	// 404, or 405 with the methods there are.
	Status    int
	API       *API       // nil if no API's base path fits
	Operation *Operation // nil unless Status is 200
	Allow     []string   // sorted; of a 405 alone
}

// The statuses of a Found. Source: RFC 9110 §15. They stand here because net/http is an effect this package does not have.
const (
	statusOK               = 200
	statusBadRequest       = 400
	statusNotFound         = 404
	statusMethodNotAllowed = 405
)

// Match applies the gateway's routing rules to one request, in so many words as they are meant (design §3.3); what
// Envoy does with the tables made for it must come out the same. The path may have a query, which is ignored.
//
// Of the APIs that answer on the host, the one with the longest base path the path lies under is the only one asked;
// where two have the same, the one that names the host more exactly. In it, the most specific path template that fits
// decides (Template.Compare); then the method, HEAD standing in for GET.
func Match(apis []API, host, method, path string, keepEscapedSlashes bool) Found {
	path, ok := NormalizePath(path, keepEscapedSlashes)
	if !ok {
		return Found{Status: statusBadRequest}
	}
	segments := split(path)
	api := owner(apis, hostname(host), segments)
	if api == nil {
		return Found{Status: statusNotFound}
	}
	segments = segments[len(ParseTemplate(api.BasePath).Segments):]

	var best *Template
	var operations []*Operation // of the best template
	for i := range api.Operations {
		o := &api.Operations[i]
		t := ParseTemplate(o.Path)
		if !t.Match(segments) {
			continue
		}
		switch {
		case best == nil || t.Compare(*best) < 0:
			best, operations = &t, []*Operation{o}
		case t.Compare(*best) == 0:
			operations = append(operations, o)
		}
	}
	if best == nil {
		return Found{Status: statusNotFound, API: api}
	}
	for _, m := range []string{method, follows(method)} {
		for _, o := range operations {
			if o.Method == m {
				return Found{Status: statusOK, API: api, Operation: o}
			}
		}
	}
	return Found{Status: statusMethodNotAllowed, API: api, Allow: Allowed(operations)}
}

// follows is the method whose operation serves this one if it has none itself.
func follows(method string) string {
	if method == "HEAD" {
		return "GET"
	}
	return method
}

// Allowed lists the methods of the operations, and HEAD where there is a GET: the Allow header of a 405.
func Allowed(operations []*Operation) []string {
	var methods []string
	for _, o := range operations {
		methods = append(methods, o.Method)
		if o.Method == "GET" {
			methods = append(methods, "HEAD")
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// owner is the API asked about a path on a host.
func owner(apis []API, host string, segments []string) *API {
	var best *API
	var bestDepth, bestHost int
	for i := range apis {
		api := &apis[i]
		base := ParseTemplate(api.BasePath)
		base.Rest = true
		closeness := HostCloseness(api.Hosts, host)
		if closeness < 0 || !base.Match(segments) {
			continue
		}
		depth := len(base.Segments)
		if best == nil || depth > bestDepth || depth == bestDepth && closeness > bestHost {
			best, bestDepth, bestHost = api, depth, closeness
		}
	}
	return best
}

// HostCloseness says how exactly a list of hosts names a host: -1 not at all, 0 by being empty, more for a longer
// "*.example.com", most for the host itself. The host may be such a pattern too: then it must be named as a whole.
func HostCloseness(hosts []string, host string) int {
	if len(hosts) == 0 {
		return 0
	}
	best := -1
	for _, h := range hosts {
		suffix, wildcard := strings.CutPrefix(h, "*")
		switch {
		case h == host:
			return 1 << 16 // more than any host name's length
		case wildcard && len(host) > len(suffix) && strings.HasSuffix(host, suffix):
			best = max(best, len(suffix))
		}
	}
	return best
}

// hostname is a Host header without its port, in lower case.
func hostname(host string) string {
	if port := strings.LastIndexByte(host, ':'); port > strings.LastIndexByte(host, ']') {
		host = host[:port]
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// NormalizePath does to a request's path what Envoy does before it routes (normalize_path, merge_slashes,
// path_with_escaped_slashes_action): unreserved characters decoded, some others encoded, backslashes turned, dot segments
// resolved, slashes merged, the query cut off. It reports false for a path Envoy answers with 400.
func NormalizePath(path string, keepEscapedSlashes bool) (string, bool) {
	path, _, _ = strings.Cut(path, "?")
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "#") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
		switch {
		case c == '\\':
			b.WriteByte('/')
			continue
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		case c != '%':
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		d, ok := unhex(path[i+1], path[i+2])
		switch {
		case !ok, d == 0, (d == '/' || d == '\\') && !keepEscapedSlashes:
			return "", false
		case unreserved(d):
			b.WriteByte(d)
		default:
			b.WriteString(path[i : i+3])
		}
		i += 2
	}
	return resolve(b.String()), true
}

// resolve takes "." and ".." out, then merges slashes, in this order: an empty segment is one for ".." to take out. A
// path never leaves its root; one of slashes alone keeps two of them, as Envoy has it.
func resolve(path string) string {
	var out []string
	segments := strings.Split(path, "/")[1:]
	for i, s := range segments {
		switch s {
		case "..":
			out = out[:max(len(out)-1, 0)]
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	path = "/" + strings.Join(out, "/")
	if !strings.Contains(path, "//") {
		return path
	}
	merged := "/" + strings.Join(split(path), "/")
	if strings.HasSuffix(path, "/") {
		merged += "/"
	}
	return merged
}

// split cuts a path into its segments; empty ones, as after a slash at the end, are none.
func split(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}
