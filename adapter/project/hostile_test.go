package project_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// Documents made to cost more than they weigh are refused before anybody pays.
func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	var laughs, merges strings.Builder
	laughs.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	merges.WriteString("a0: &a0 {k0: 1}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9))
		fmt.Fprintf(&merges, "a%d: &a%d {<<: [*a%d, *a%d], k%d: 1}\n", i, i, i-1, i-1, i)
	}
	nested := func(n int, leaf string) string {
		return `{"openapi": "3.0.3", "x": ` + strings.Repeat(`{"properties": {"a": `, n) + leaf + strings.Repeat("}}", n) + "}"
	}
	cases := map[string]struct{ file, text, code string }{
		"a billion laughs":      {"a.yaml", laughs.String(), "document-too-large"},
		"merged a billion ways": {"a.yaml", merges.String(), "document-too-large"},
		"an anchor in itself":   {"a.yaml", "a: &a {b: *a}", "syntax"},
		"merged with itself":    {"a.yaml", "a: &a {<<: *a}", "syntax"},
		"too large":             {"a.yaml", "a: " + strings.Repeat("x", 17<<20), "document-too-large"},
		"too many parts":        {"a.yaml", strings.Repeat("- 1\n", 1_000_000), "document-too-large"},
		"too many comments":     {"a.yaml", strings.Repeat("#\n", 2_000_000), "document-too-large"},
		"too many values":       {"a.json", "[1" + strings.Repeat(",1", 1_000_001) + "]", "document-too-large"},
		"too deep":              {"a.json", nested(60, "{}"), "document-too-deep"},
		"too deep in YAML":      {"a.yaml", strings.Repeat("[", 200) + strings.Repeat("]", 200), "document-too-deep"},
		"deeper than a parser":  {"a.yaml", strings.Repeat("[", 100_000), "syntax"},
		"deeper in JSON":        {"a.json", strings.Repeat("[", 1_000_000), "document-too-deep"},
		"large where deep":      {"a.json", nested(45, `"`+strings.Repeat("x", 2<<20)+`"`), "document-too-large"},
		"not UTF-8":             {"a.yaml", "a: \xff\xfe", "syntax"},
		"control characters":    {"a.yaml", "a: \x00", "syntax"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := project.Compile(fstest.MapFS{"api_definitions/" + c.file: {Data: []byte(c.text)}}, project.Options{})
			if len(problems) != 1 || problems[0].Code != c.code {
				t.Errorf("got %.300v, want one problem with code %s", problems, c.code)
			}
		})
	}
}

// A long single line takes no longer than many short ones.
func BenchmarkCompileOneLine(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"openapi": "3.0.3", "info": {"title": "A", "version": "1"}, "servers": [{"url": "http://b"}], "paths": {"/x": {"get": {}}}, "components": {"schemas": {`)
	for i := range 5000 {
		fmt.Fprintf(&text, `"S%d": {"type": "string"}, `, i)
	}
	text.WriteString(`"Z": {}}}}`)
	files := fstest.MapFS{"api_definitions/a.json": {Data: []byte(text.String())}}
	for b.Loop() {
		if p, problems := project.Compile(files, project.Options{}); len(p.APIs) != 1 {
			b.Fatal(problems)
		}
	}
}

// A project that is wrong everywhere says so, and stops somewhere.
func TestCountlessProblems(t *testing.T) {
	t.Parallel()
	var overlaps, tiers strings.Builder
	head := "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: 'http://b'}]\npaths:\n"
	overlaps.WriteString(head)
	tiers.WriteString(head)
	for i := range 3000 {
		fmt.Fprintf(&overlaps, "  /{a}/x%d: {get: {}}\n  /y%d/{b}: {get: {}}\n", i, i)
		fmt.Fprintf(&tiers, "  /x%d: {get: {x-wso2-throttling-tier: Nothing%d, x-wso2-nothing%d: 1}}\n", i, i, i)
	}
	for name, text := range map[string]string{"overlaps": overlaps.String(), "tiers": tiers.String()} {
		p, problems := project.Compile(fstest.MapFS{"api_definitions/a.yaml": {Data: []byte(text)}}, project.Options{})
		if len(p.APIs) > 0 || len(problems) < 1000 || len(problems) > 2100 {
			t.Errorf("%s: %d problems", name, len(problems))
		}
		if !slices.ContainsFunc(problems, func(p model.Problem) bool { return p.Code == "more-problems" }) {
			t.Errorf("%s: nobody says that there are more", name)
		}
	}
}
