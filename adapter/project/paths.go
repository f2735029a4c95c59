package project

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// template is a path template, split: "/pet/{petId}", "/files/*".
type template struct {
	segments []segment
	rest     bool // ends in "/*"
}

// segment is one of a template's: a literal, or any non-empty one.
type segment struct {
	literal string
	any     bool
	name    string
}

// parseTemplate reads a path template. Its error is a sentence for the author.
func parseTemplate(s string) (template, error) {
	var t template
	rest, ok := strings.CutPrefix(s, "/")
	switch {
	case !ok:
		return t, fmt.Errorf("a path starts with \"/\"")
	case strings.ContainsAny(s, "?#"):
		return t, fmt.Errorf("a path holds no query and no fragment; describe parameters under parameters")
	}
	rest = strings.TrimSuffix(rest, "/") // tolerated in requests, so it says nothing here
	if rest == "" {
		return t, nil
	}
	words := strings.Split(rest, "/")
	names := map[string]bool{}
	for i, word := range words {
		if word == "*" && i == len(words)-1 {
			t.rest = true
			break
		}
		seg, err := parseSegment(word)
		if err != nil {
			return t, err
		}
		if seg.any && names[seg.name] {
			return t, fmt.Errorf("the parameter {%s} stands in it twice; give each its own name", seg.name)
		}
		names[seg.name] = true
		t.segments = append(t.segments, seg)
	}
	return t, nil
}

func parseSegment(word string) (segment, error) {
	name, open := strings.CutPrefix(word, "{")
	name, closed := strings.CutSuffix(name, "}")
	switch {
	case word == "":
		return segment{}, fmt.Errorf("it has an empty segment, which no request's path still has when it is routed; remove the second \"/\"")
	case open && closed && name != "" && !strings.ContainsAny(name, "{}"):
		return segment{any: true, name: name}, nil
	case strings.ContainsAny(word, "{}"):
		return segment{}, fmt.Errorf("a parameter must be a whole segment, and %q is not: write {name} between two slashes and let the backend take it apart", word)
	case strings.Contains(word, "*"):
		return segment{}, fmt.Errorf("\"*\" stands for the rest of the path and can only be the last segment; for the character itself write %%2A")
	}
	literal, err := canonical(word)
	if err != nil {
		return segment{}, err
	}
	if literal == "." || literal == ".." {
		return segment{}, fmt.Errorf("it has a %q segment, which no request's path still has when it is routed", word)
	}
	return segment{literal: literal}, nil
}

// canonical spells a literal as it stands in a request: what needs it is escaped (RFC 3986 §3.3), in capitals, and
// nothing else is.
func canonical(word string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c == '%' {
			if i+2 >= len(word) || !isHex(word[i+1]) || !isHex(word[i+2]) {
				return "", fmt.Errorf("%q has a %% that starts no escape; write %%25", word)
			}
			decoded, _ := url.PathUnescape(word[i : i+3])
			c = decoded[0]
			i += 2
			switch {
			case c == '/' || c == '\\' || c == 0:
				return "", fmt.Errorf("%q has an escaped slash, backslash or zero byte, which the gateway refuses in requests", word)
			case !unreserved(c): // a reserved one means something else unescaped
				fmt.Fprintf(&b, "%%%02X", c)
				continue
			}
		}
		switch {
		case unreserved(c) || strings.IndexByte("!$&'()*+,;=:@", c) >= 0:
			b.WriteByte(c)
		case c == '\\' || c < ' ' || c == 0x7f:
			return "", fmt.Errorf("%q has a backslash or a control character, which the gateway refuses in requests", word)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String(), nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// String is the template as OpenAPI writes it, its literals as they stand in requests.
func (t template) String() string {
	var b strings.Builder
	for _, s := range t.segments {
		b.WriteByte('/')
		if s.any {
			b.WriteString("{" + s.name + "}")
		} else {
			b.WriteString(s.literal)
		}
	}
	if t.rest {
		b.WriteString("/*")
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// shape is the template without its parameters' names: templates of one shape match the same requests.
func (t template) shape() string {
	nameless := template{rest: t.rest, segments: slices.Clone(t.segments)}
	for i := range nameless.segments {
		nameless.segments[i].name = ""
	}
	return nameless.String()
}

// meet is the template of all paths that match a as well as b, if there are any.
func meet(a, b template) (template, bool) {
	if len(a.segments) > len(b.segments) {
		a, b = b, a
	}
	if len(a.segments) < len(b.segments) && !a.rest {
		return template{}, false
	}
	m := template{rest: a.rest && b.rest, segments: slices.Clone(b.segments)}
	for i, s := range a.segments {
		switch t := b.segments[i]; {
		case s.any:
		case t.any:
			m.segments[i] = s
		case s.literal != t.literal:
			return template{}, false
		}
	}
	return m, true
}

// maxOperations of one API keeps the comparison of each with each in bounds.
const maxOperations = 10_000

// routed is an operation with its template, to be compared with others.
type routed struct {
	template template
	at       model.Origin
	method   string
}

// ambiguities refuses operations that a request could not be told apart by: two of one method and shape, or two whose
// common paths belong to neither more than to the other.
func (d *definition) ambiguities(all []routed) {
	shapes := map[string]routed{}
	byMethod := map[string][]routed{}
	for _, r := range all {
		shape := r.method + " " + r.template.shape()
		if other, twice := shapes[shape]; twice {
			d.refuse(r.at, "ambiguous-path", "%s %s and %s %s at %s match the same requests; keep one of them",
				r.method, r.template, other.method, other.template, other.at)
			continue
		}
		shapes[shape] = r
		byMethod[r.method] = append(byMethod[r.method], r)
	}
	for _, of := range byMethod {
		for i, a := range of {
			for _, b := range of[i+1:] {
				d.overlap(a, b, shapes)
			}
		}
	}
}

func (d *definition) overlap(a, b routed, shapes map[string]routed) {
	common, any := meet(a.template, b.template)
	if !any {
		return
	}
	if _, decided := shapes[a.method+" "+common.shape()]; decided { // one of the two, or one that says which
		return
	}
	d.refuse(b.at, "overlapping-paths", "%s %s could be this operation or %s at %s; rename one, or add %s %s to say what it is",
		b.method, common, a.template, a.at, a.method, common)
}
