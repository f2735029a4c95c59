package model

import (
	"cmp"
	"slices"
	"strings"
)

// Template is a path template cut at its slashes, as OpenAPI's "/pet/{petId}" or WSO2's "/files/*".
type Template struct {
	Segments []Segment
	// Rest: it ended in "/*" and matches whatever follows, nothing included.
	Rest bool
}

// Segment is one part of a template between two slashes: literal texts with parameters between them.
// A literal segment has one text; "{name}.json" has two, "" and ".json"; "{id}" has two empty ones.
type Segment struct{ Texts []string }

// Literal says that the segment has no parameter and so matches its own text alone.
func (s Segment) Literal() bool { return len(s.Texts) == 1 }

// Whole says that the segment is one parameter and nothing else.
func (s Segment) Whole() bool { return len(s.Texts) == 2 && s.Texts[0] == "" && s.Texts[1] == "" }

// Match says whether a segment of a request's path fits. A parameter stands for at least one character.
func (s Segment) Match(segment string) bool {
	if s.Literal() {
		return segment == s.Texts[0]
	}
	rest, ok := strings.CutPrefix(segment, s.Texts[0])
	if !ok {
		return false
	}
	for _, text := range s.Texts[1 : len(s.Texts)-1] {
		if rest == "" {
			return false
		}
		i := strings.Index(rest[1:], text) // why leftmost: it leaves the most to what follows
		if i < 0 {
			return false
		}
		rest = rest[1+i+len(text):]
	}
	last := s.Texts[len(s.Texts)-1]
	return len(rest) > len(last) && strings.HasSuffix(rest, last)
}

// ParseTemplate cuts a template at its slashes. Literal texts become what a normalized request path holds for them:
// percent-encoded where RFC 3986 §3.3 does not allow a character in a path. A slash at the end says nothing.
func ParseTemplate(path string) Template {
	var t Template
	for s := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if s != "" {
			t.Segments = append(t.Segments, parseSegment(s))
		}
	}
	if n := len(t.Segments); n > 0 && t.Segments[n-1].Literal() && t.Segments[n-1].Texts[0] == "*" {
		t.Segments, t.Rest = t.Segments[:n-1], true
	}
	return t
}

func parseSegment(s string) Segment {
	var texts []string
	for {
		text, rest, open := strings.Cut(s, "{")
		_, after, closed := strings.Cut(rest, "}")
		if !open || !closed { // a lone brace is text like any other
			return Segment{Texts: append(texts, EscapePath(s))}
		}
		texts = append(texts, EscapePath(text))
		s = after
	}
}

// Match says whether the segments of a request's path, below the base path, fit the template.
func (t Template) Match(segments []string) bool {
	if len(segments) < len(t.Segments) || len(segments) > len(t.Segments) && !t.Rest {
		return false
	}
	for i, s := range t.Segments {
		if !s.Match(segments[i]) {
			return false
		}
	}
	return true
}

// String writes the template with all parameters called "{}": two templates of equal strings match the same paths.
func (t Template) String() string {
	var b strings.Builder
	for _, s := range t.Segments {
		b.WriteString("/" + strings.Join(s.Texts, "{}"))
	}
	if t.Rest {
		b.WriteString("/*")
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// Compare orders templates by OpenAPI's "concrete before templated", segment by segment from the left: literal text,
// then text with parameters (more text first), then a whole parameter, then the end, then "/*". Where two templates
// match one path, the lesser is the one that serves it.
func (t Template) Compare(o Template) int {
	for i := range max(len(t.Segments), len(o.Segments)) + 1 {
		if c := cmp.Compare(t.rank(i), o.rank(i)); c != 0 {
			return c
		}
		if i < len(t.Segments) {
			if c := compareSegments(t.Segments[i], o.Segments[i]); c != 0 {
				return c
			}
		}
	}
	return 0
}

func (t Template) rank(i int) int {
	switch {
	case i < len(t.Segments) && t.Segments[i].Literal():
		return 0
	case i < len(t.Segments) && !t.Segments[i].Whole():
		return 1
	case i < len(t.Segments):
		return 2
	case !t.Rest:
		return 3
	}
	return 4
}

func compareSegments(a, b Segment) int {
	if c := cmp.Compare(b.weight(), a.weight()); c != 0 {
		return c
	}
	return slices.Compare(a.Texts, b.Texts)
}

// weight is how much literal text a segment has.
func (s Segment) weight() int { return len(strings.Join(s.Texts, "")) }

// EscapePath writes text as a normalized request path holds it: percent-encoded where RFC 3986 §3.3 does not allow a
// character, upper-case hex digits, and what needs no encoding decoded. Slashes stay.
func EscapePath(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			if d, ok := unhex(text[i+1], text[i+2]); ok {
				c, i = d, i+2
				if unreserved(c) {
					b.WriteByte(c)
				} else {
					b.Write([]byte{'%', hex[c>>4], hex[c&15]})
				}
				continue
			}
		}
		if unreserved(c) || strings.IndexByte("!$&'()*+,;=:@/", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// unreserved characters mean the same encoded or not (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func unhex(hi, lo byte) (byte, bool) {
	h, okH := nibble(hi)
	l, okL := nibble(lo)
	return h<<4 | l, okH && okL
}

func nibble(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
