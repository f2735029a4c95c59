package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Found is where a request goes.
type Found struct {
	// Status is 200 if an operation serves the request; else what the gateway answers: 400 for a path it refuses,
	// 404, 405 with the methods there are, or what its state says (Lifecycle.Status). An API whose base path is too short
	// to say the route scope tells its state only in the scopes its operations are in; Envoy answers 404 in others.
	Status    int
	API       *API       // nil if no API's base path fits
	BasePath  string     // of the API's, the one that fits
	Operation *Operation // nil if no operation fits
	Allow     []string   // sorted; of a 405 alone
}

// The statuses of a Found. Source: RFC 9110 §15. They stand here because net/http is an effect this package does not have.
const (
	statusOK               = 200
	statusBadRequest       = 400
	statusNotFound         = 404
	statusMethodNotAllowed = 405

	statusGone               = 410
	statusServiceUnavailable = 503
)

// Match applies the gateway's routing rules to one request, in so many words as they are meant (design §3.3); what
// Envoy does with the tables made for it must come out the same. The path may have a query, which is ignored.
//
// Of the APIs that answer on the host, the one with the longest base path the path lies under is the only one asked;
// where two have the same, the one that names the host more exactly. In it, the most specific path template that fits
// decides (Template.Compare); then the method, HEAD standing in for GET. The base path without a version is one like any
// other: what lies under it is asked of the default version, unless a longer one fits. A state that is not served answers
// in the place of everything else, and the dates of the APIs are nobody's business here (API.At).
func Match(apis []API, host, method, path string, keepEscapedSlashes bool) Found {
	path, ok := NormalizePath(path, keepEscapedSlashes)
	if !ok {
		return Found{Status: statusBadRequest}
	}
	segments := split(path)
	api, base := owner(apis, hostname(host), segments)
	if api == nil {
		return Found{Status: statusNotFound}
	}
	found := Found{API: api, BasePath: base}
	var operations []*Operation
	found.Operation, operations = api.operation(method, segments[len(ParseTemplate(base).Segments):])
	switch {
	case found.Operation != nil:
		found.Status = cmp.Or(api.StateOf(*found.Operation).Status(), statusOK)
	case api.State.Status() != 0:
		found.Status = api.State.Status()
	case operations != nil:
		found.Status, found.Allow = statusMethodNotAllowed, Allowed(operations)
	default:
		found.Status = statusNotFound
	}
	return found
}

// operation finds the operation that takes a request to the segments below the base path, and all those of its path.
func (a *API) operation(method string, segments []string) (*Operation, []*Operation) {
	var best *Template
	var operations []*Operation // of the best template
	for i := range a.Operations {
		o := &a.Operations[i]
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
	for _, m := range []string{method, follows(method)} {
		for _, o := range operations {
			if o.Method == m {
				return o, operations
			}
		}
	}
	return nil, operations
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

// owner is the API asked about a path on a host, and its base path that fits.
func owner(apis []API, host string, segments []string) (best *API, bestBase string) {
	var bestDepth, bestHost int
	for i := range apis {
		api := &apis[i]
		closeness := HostCloseness(api.Hosts, host)
		if closeness < 0 {
			continue
		}
		for _, path := range api.BasePaths() {
			base := ParseTemplate(path)
			base.Rest = true
			if !base.Match(segments) {
				continue
			}
			depth := len(base.Segments)
			if best == nil || depth > bestDepth || depth == bestDepth && closeness > bestHost {
				best, bestBase, bestDepth, bestHost = api, path, depth, closeness
			}
		}
	}
	return best, bestBase
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
