package project

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// checkPath says, in a sentence for the author, why a path template cannot be served; nil if it can.
func checkPath(path string) error {
	rest, ok := strings.CutPrefix(path, "/")
	switch {
	case !ok:
		return errors.New("a path starts with \"/\"")
	case strings.ContainsAny(path, "?#"):
		return errors.New("a path holds no query and no fragment; describe parameters under parameters")
	}
	rest = strings.TrimSuffix(rest, "/") // tolerated in requests, so it says nothing here
	if rest == "" {
		return nil
	}
	segments := strings.Split(rest, "/")
	if last := len(segments) - 1; segments[last] == "*" {
		segments = segments[:last]
	}
	names := map[string]bool{}
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return err
		}
		if strings.HasPrefix(s, "{") && names[s] {
			return fmt.Errorf("the parameter %s stands in it twice; give each its own name", s)
		}
		names[s] = true
	}
	return nil
}

func checkSegment(segment string) error {
	name, open := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	switch literal := model.EscapePath(segment); {
	case segment == "":
		return errors.New("it has an empty segment, which no request's path still has when it is routed; remove the second \"/\"")
	case open && closed && name != "" && !strings.ContainsAny(name, "{}"):
		return nil
	case strings.ContainsAny(segment, "{}"):
		return fmt.Errorf("a parameter must be a whole segment, and %q is not: write {name} between two slashes and let the backend take it apart", segment)
	case strings.Contains(segment, "*"):
		return errors.New("\"*\" stands for the rest of the path and can only be the last segment; for the character itself write %2A")
	case literal == "." || literal == "..":
		return fmt.Errorf("it has a %q segment, which no request's path still has when it is routed", segment)
	}
	return checkEscapes(segment)
}

// checkEscapes refuses what no request that the gateway lets in can hold.
func checkEscapes(segment string) error {
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return fmt.Errorf("%q has a %% that starts no escape; write %%25", segment)
	}
	for _, c := range decoded {
		if c < ' ' || c == 0x7f || c == '/' || c == '\\' {
			return fmt.Errorf("%q has an escaped slash, a backslash or a control character, which the gateway refuses in requests", segment)
		}
	}
	return nil
}

// meet is the template of all paths that match a as well as b, if there are any. Both have whole parameters only.
func meet(a, b model.Template) (model.Template, bool) {
	if len(a.Segments) > len(b.Segments) {
		a, b = b, a
	}
	if len(a.Segments) < len(b.Segments) && !a.Rest {
		return model.Template{}, false
	}
	for i, s := range a.Segments { // first of all: most pairs of an API end here
		if t := b.Segments[i]; s.Literal() && t.Literal() && s.Texts[0] != t.Texts[0] {
			return model.Template{}, false
		}
	}
	m := model.Template{Rest: a.Rest && b.Rest, Segments: slices.Clone(b.Segments)}
	for i, s := range a.Segments {
		if s.Literal() {
			m.Segments[i] = s
		}
	}
	return m, true
}

// maxOperations of one API keeps the comparison of each with each in bounds.
const maxOperations = 10_000

// routed is an operation with its template, to be compared with others.
type routed struct {
	template model.Template
	method   string
	path     string // as it is written
	at       model.Origin
}

// ambiguities refuses operations that a request could not be told apart by: two of one method that match the same
// requests, or two whose common paths belong to neither more than to the other.
func (d *definition) ambiguities(all []routed) {
	shapes := map[string]routed{}
	byMethod := map[string][]routed{}
	for _, r := range all {
		shape := r.method + " " + r.template.String()
		if other, twice := shapes[shape]; twice {
			d.refuse(r.at, "ambiguous-path", "%s %s and %s at %s match the same requests; keep one of them", r.method, r.path, other.path, other.at)
			continue
		}
		shapes[shape] = r
		byMethod[r.method] = append(byMethod[r.method], r)
	}
	for _, method := range slices.Sorted(maps.Keys(byMethod)) {
		of := byMethod[method]
		for i, a := range of {
			if d.told[model.Refused] > maxProblems {
				return
			}
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
	if _, decided := shapes[a.method+" "+common.String()]; decided { // one of the two, or one that says which
		return
	}
	d.refuse(b.at, "overlapping-paths", "%s %s could be this operation or %s at %s; rename one, or add %s %s to say what it is",
		b.method, common, a.path, a.at, a.method, common)
}
