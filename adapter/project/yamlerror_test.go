package project

import (
	"fmt"
	"strings"
	"testing"
)

// TestYAMLMistakesArePointedAt: not the block around a mistake, but its own line, and what to do.
func TestYAMLMistakesArePointedAt(t *testing.T) {
	t.Parallel()
	const good = "openapi: 3.0.3\ninfo:\n  title: a\n  version: '1'\npaths:\n  /a:\n    get: {}\n  /b:\n    get:\n      tags: [a,\n        b]\n"
	cases := map[string]struct {
		bad  string // follows good's eleven lines; more follows it
		at   string
		says string
	}{
		"indented too little":  {"   foo: [", "12:4", "indentation"},
		"a list in an object":  {"- x", "12:1", "indentation"},
		"a quote in quotes":    {"foo: 'it's'", "12:1", "quotes"},
		"an open quote":        {"foo: \"abc", "12:1", "the quote that opens here"},
		"an open bracket":      {"foo: [a", "12:1", `"[" opens here`},
		"an open brace":        {"foo: {a: 1", "12:1", `"{" opens here`},
		"an unquoted colon":    {"foo: bar: baz", "12:1", "into quotes"},
		"a tab":                {"paths2:\n\tfoo: x", "13:2", "spaces"},
		"a backquote":          {"foo: `x`", "12:1", "into quotes"},
		"an unknown anchor":    {"foo: *nope", "12:1", "nope"},
		"a key without colon":  {"foo", "12:1", "colon"},
		"in the last document": {"---\na: 1\nb: c: d", "14:1", "into quotes"},
	}
	for name, c := range cases {
		for _, more := range []string{"", "\n", "\nx-more: 1\nx-and: [2]\n"} {
			t.Run(fmt.Sprintf("%s %q", name, more), func(t *testing.T) {
				t.Parallel()
				_, err := readYAML("a.yaml", []byte(good+c.bad+more))
				if err == nil {
					t.Fatal("was read")
				}
				if got := err.Error(); !strings.Contains(got, "a.yaml:"+c.at+":") || !strings.Contains(got, c.says) {
					t.Errorf("got %q, want it at %s, saying %q", got, c.at, c.says)
				}
			})
		}
	}
}
