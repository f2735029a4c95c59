package project

import (
	"regexp"
	"strings"
)

// variables are what ${POSTERN_VAR_NAME} stands for. No other name can be read, so that one artifact serves every
// environment and no author reads the gateway's secrets.
type variables struct {
	lookup func(name string) (string, bool) // the gateway's process environment
	values map[string]string                // what environments/NAME.yaml says
	asked  map[string]answer                // what was asked for, for one goroutine; nil notes nothing
}

// answer is what a variable was when it was asked for.
type answer struct {
	value string
	known bool
}

var variableName = regexp.MustCompile(`^POSTERN_VAR_[A-Z0-9_]+$`)

// value is the variable's value: the process environment's before the file's, as everywhere else in Postern.
func (v variables) value(name string) (value string, known bool) {
	if v.asked != nil {
		defer func() { v.asked[name] = answer{value, known} }()
	}
	if v.lookup != nil {
		if s, ok := v.lookup(name); ok {
			return s, true
		}
	}
	s, ok := v.values[name]
	return s, ok
}

// expand replaces every ${POSTERN_VAR_NAME} and ${POSTERN_VAR_NAME:-default} in the word at n and says whether all of
// them could be. Values are not expanded again, and are never repeated in a problem: they may be secret.
func (v variables) expand(r *report, n *node) (string, bool) {
	var b strings.Builder
	ok, rest := true, n.scalar()
	for {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return b.String(), ok
		}
		expression, tail, closed := strings.Cut(after, "}")
		if !closed {
			r.refuse(n.at(), "bad-variable", "\"${\" is not closed; write ${POSTERN_VAR_NAME} or ${POSTERN_VAR_NAME:-default}")
			return "", false
		}
		rest = tail
		name, fallback, hasFallback := strings.Cut(expression, ":-")
		if !variableName.MatchString(name) {
			r.refuse(n.at(), "bad-variable", "${%s} cannot be read: only variables named POSTERN_VAR_… can, in capitals, digits and \"_\"", name)
			ok = false
			continue
		}
		switch value, known := v.value(name); {
		case known:
			b.WriteString(value)
		case hasFallback:
			b.WriteString(fallback)
		default:
			r.refuse(n.at(), "unresolved-variable",
				"%s has no value; set it in the gateway's environment or under values: in environments/NAME.yaml, or write ${%s:-default}", name, name)
			ok = false
		}
	}
}

// hasVariable says whether the author wrote a variable into s, so that what came of it must not be shown.
func hasVariable(s string) bool { return strings.Contains(s, "${") }
