package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sources calls see with every Go file below the folders, tests left out, in the order of their names.
func sources(see func(file string, syntax *ast.File), folders ...string) error {
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && entry.Name() == "testdata" {
				return fs.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			syntax, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
			if err == nil {
				see(file, syntax)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// literal is the value of a string written in the source, its pieces put together; "" for anything else.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return literal(e.X) + literal(e.Y)
		}
	case *ast.ParenExpr:
		return literal(e.X)
	}
	return ""
}

// fields are the named values of a composite literal.
func fields(c *ast.CompositeLit) map[string]ast.Expr {
	named := map[string]ast.Expr{}
	for _, element := range c.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok {
				named[key.Name] = pair.Value
			}
		}
	}
	return named
}

// called is the last name of what a call calls: "f" of f(), x.f() and x.y.f().
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
