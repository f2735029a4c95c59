package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const problemsHead = `# Problems of a project

Every problem that reading or placing a project can meet, by the code at its end. ` + "`postern validate`" + ` prints all of them at once,
each as ` + "`file:line:column pointer: sentence [code]`" + `. An error keeps its project from being served; a warning does not.
"…" stands for what differs.

| code | | what it says |
|---|---|---|
`

// said is one sentence a problem can say.
type said struct{ severity, sentence string }

// verbs are what fmt replaces.
var verbs = regexp.MustCompile(`(%[#+]?[0-9.]*[a-zA-Z])+`)

// problemsFound are what adapter code refuses and warns of, by code: calls like refuse(place, "code", "sentence", …), and
// literals of model.Problem.
func problemsFound() (map[string][]said, error) {
	found := map[string][]said{}
	add := func(code string, s said) {
		s.sentence = verbs.ReplaceAllString(strings.ReplaceAll(s.sentence, "%%", "%"), "…")
		if code != "" && s.sentence != "" && !slices.Contains(found[code], s) {
			found[code] = append(found[code], s)
		}
	}
	err := sources(func(_ string, syntax *ast.File) {
		ast.Inspect(syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if severity := map[string]string{"refuse": "error", "warn": "warning"}[called(n)]; severity != "" && len(n.Args) >= 3 {
					add(literal(n.Args[1]), said{severity, literal(n.Args[2])})
				}
			case *ast.CompositeLit:
				named := fields(n)
				severity := "error"
				if name, ok := named["Severity"].(*ast.SelectorExpr); ok && name.Sel.Name == "Warning" {
					severity = "warning"
				}
				if named["Code"] != nil && named["Message"] != nil {
					add(literal(named["Code"]), said{severity, sentence(named["Message"])})
				}
			}
			return true
		})
	}, "adapter", "toolkit")
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no problem was found: has the way they are written changed?")
	}
	return found, err
}

// problems lists them.
func problems(b *bytes.Buffer) error {
	found, err := problemsFound()
	if err != nil {
		return err
	}
	b.WriteString(problemsHead)
	for _, code := range slices.Sorted(maps.Keys(found)) {
		for i, s := range found[code] {
			name := ""
			if i == 0 {
				name = "`" + code + "`"
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", name, s.severity, cell(s.sentence))
		}
	}
	return nil
}

// rules are the same for `postern validate --format sarif`, which explains each code it mentions.
func rules(b *bytes.Buffer) error {
	found, err := problemsFound()
	if err != nil {
		return err
	}
	type rule struct {
		Level string   `json:"level"`
		Says  []string `json:"says"`
	}
	all := map[string]rule{}
	for code, sentences := range found {
		r := rule{Level: "warning"}
		for _, s := range sentences {
			if s.severity == "error" {
				r.Level = "error"
			}
			r.Says = append(r.Says, s.sentence)
		}
		all[code] = r
	}
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(all)
}

// sentence is a message written as a string, or as fmt.Sprintf of one.
func sentence(e ast.Expr) string {
	if call, ok := e.(*ast.CallExpr); ok && called(call) == "Sprintf" && len(call.Args) > 0 {
		return literal(call.Args[0])
	}
	return literal(e)
}

// cell makes text fit for a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}
