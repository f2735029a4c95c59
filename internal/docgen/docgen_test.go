package main

import (
	"go/parser"
	"maps"
	"slices"
	"testing"
)

func TestBelow(t *testing.T) {
	t.Parallel()
	help := "About.\n\nUsage:\n  postern [command]\n\nAvailable Commands:\n  build   Pack\n  init    Make\n\nFlags:\n  -h, --help\n"
	if got := below(help); !slices.Equal(got, []string{"build", "init"}) {
		t.Errorf("got %v", got)
	}
	if got := below("Usage:\n  postern build\n"); got != nil {
		t.Errorf("a command without others: %v", got)
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	text := "# head\na: 1   # one\nb:\n  c: \"#\" # two\n                # and more\nd: {e: 2}\n# example:\n# - f: 3\n"
	want := map[int]string{2: "one", 4: "two and more"}
	if got := comments(text); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`"a"`: "a", "`a`": "a", `"a" + "b" + ("c")`: "abc", `x`: "", `1`: "", `f("a")`: "",
	} {
		expression, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		if got := literal(expression); got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	if got := cell("a|b\n<c>"); got != `a\|b &lt;c>` {
		t.Errorf("got %s", got)
	}
}
