package project_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"testing/fstest"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// What an edit of a project with one API costs, before anything is published.
func BenchmarkCompile(b *testing.B) {
	files := os.DirFS("testdata/golden/one-api/files")
	for b.Loop() {
		if _, problems := project.Compile(files, project.Options{Name: "p"}); model.Refusing(problems) {
			b.Fatal(problems)
		}
	}
}

func BenchmarkCompileManyOperations(b *testing.B) {
	files := fstest.MapFS{"api_definitions/many.yaml": {Data: manyOperations(500)}}
	for b.Loop() {
		if _, problems := project.Compile(files, project.Options{Name: "p"}); model.Refusing(problems) {
			b.Fatal(problems)
		}
	}
}

func manyOperations(n int) []byte {
	var doc bytes.Buffer
	doc.WriteString("openapi: 3.0.3\ninfo: {title: Many, version: '1'}\nservers: [{url: 'http://backend/many'}]\npaths:\n")
	for i := range n {
		fmt.Fprintf(&doc, "  /things%d/{id}/parts/{part}: {parameters: [{name: id, in: path}, {name: part, in: path}], get: {responses: {default: {description: ok}}}}\n", i)
	}
	return doc.Bytes()
}

// A definition of 500 operations is no special case.
func TestManyOperations(t *testing.T) {
	t.Parallel()
	p, problems := project.Compile(fstest.MapFS{"api_definitions/many.yaml": {Data: manyOperations(500)}}, project.Options{})
	if len(problems) > 0 || len(p.APIs) != 1 || len(p.APIs[0].Operations) != 500 {
		t.Errorf("%d APIs, %v", len(p.APIs), problems)
	}
}
