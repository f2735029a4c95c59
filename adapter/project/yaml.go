package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// What one document may be at most. Nodes are counted after aliases were written out, so that a few lines of YAML
// cannot unfold into gigabytes; marks bounds what the YAML parser builds before anything can be counted.
const (
	maxDocumentBytes = 16 << 20
	maxDepth         = 100
	maxNodes         = 1_000_000
	maxMarks         = 1_500_000
)

// readYAML reads one YAML document into nodes: aliases and merge keys ("<<") are written out, keys are unique.
func readYAML(file string, data []byte) (root *node, err error) {
	defer func() { // the parser is somebody else's and the input a stranger's
		if p := recover(); p != nil {
			root, err = nil, refusal(model.Origin{File: file}, "syntax", "this is not YAML that can be read: %v", p)
		}
	}()
	if marks(data) > maxMarks {
		return nil, refusal(model.Origin{File: file}, "document-too-large",
			"the document has too many parts; split it into several definitions")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return &node{file: file, line: 1, column: 1}, nil
	case err != nil:
		return nil, yamlError(file, data, err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		return nil, refusal(model.Origin{File: file, Line: more.Line, Column: more.Column}, "several-documents",
			"a second YAML document starts here; put each into a file of its own")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(file, data, err)
	}
	r := yamlReader{file: file, open: map[*yaml.Node]bool{}}
	root = &node{file: file}
	return root, r.read(document.Content[0], root, 0)
}

// marks counts the bytes one of which every node but the first needs.
func marks(data []byte) int {
	n := 0
	for _, b := range data {
		switch b {
		case ',', ':', '-', '[', '{', '?', '\n':
			n++
		}
	}
	return n
}

type yamlReader struct {
	file  string
	nodes int
	open  map[*yaml.Node]bool // anchors being written out, to find one that holds itself
}

// read fills n, which knows already where in its document it belongs, with what stands at y.
func (r *yamlReader) read(y *yaml.Node, n *node, depth int) error {
	r.nodes++
	n.line, n.column, n.value = y.Line, y.Column, y.Value
	switch {
	case r.nodes > maxNodes:
		return refusal(n.at(), "document-too-large", "the document unfolds into more than %d values; use fewer aliases, or split it", maxNodes)
	case depth > maxDepth:
		return refusal(n.at(), "document-too-deep", "values are nested more than %d deep here; move the inner ones out and refer to them", maxDepth)
	}
	switch y.Kind {
	case yaml.AliasNode:
		if r.open[y.Alias] {
			return refusal(n.at(), "syntax", "the anchor %q holds itself here; break the circle", y.Value)
		}
		r.open[y.Alias] = true
		defer delete(r.open, y.Alias)
		return r.read(y.Alias, n, depth)
	case yaml.SequenceNode:
		n.kind = list
		for i, item := range y.Content {
			m := &node{file: r.file, up: n, number: i}
			if err := r.read(item, m, depth+1); err != nil {
				return err
			}
			n.members = append(n.members, m)
		}
	case yaml.MappingNode:
		n.kind = object
		return r.fields(y, n, depth)
	default:
		if n.kind = scalarKind(y); n.kind == boolean {
			n.value = strings.ToLower(n.value)
		}
	}
	return nil
}

func scalarKind(y *yaml.Node) kind {
	switch y.ShortTag() {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int", "!!float":
		return number
	}
	return text
}

// fields reads an object's members: its own first, then what "<<" merges in and it does not say itself.
func (r *yamlReader) fields(y *yaml.Node, n *node, depth int) error {
	seen := make(map[string]*node, len(y.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		m := &node{file: r.file, up: n, key: key.Value, keyLine: key.Line, keyColumn: key.Column}
		if key.Kind != yaml.ScalarNode {
			return refusal(m.keyAt(), "syntax", "a key must be a plain word")
		}
		if other := seen[m.key]; other != nil {
			return duplicateKey(m, other)
		}
		if err := r.read(value, m, depth+1); err != nil {
			return err
		}
		seen[m.key] = m
		n.members = append(n.members, m)
	}
	for _, m := range merged {
		if err := r.merge(m, n, seen, depth); err != nil {
			return err
		}
	}
	n.index(seen)
	return nil
}

// merge reads the value of "<<", an object or a list of them, of which the first to say a key wins
// (YAML's merge key type).
func (r *yamlReader) merge(y *yaml.Node, n *node, seen map[string]*node, depth int) error {
	value := &node{file: r.file, up: n, key: "<<"}
	if err := r.read(y, value, depth+1); err != nil {
		return err
	}
	sources := []*node{value}
	if value.kind == list {
		sources = value.members
	}
	for _, source := range sources {
		if source.kind != object {
			return refusal(source.at(), "syntax", `"<<" merges objects only`)
		}
		for _, m := range source.members {
			if seen[m.key] == nil {
				seen[m.key], m.up = m, n
				n.members = append(n.members, m)
			}
		}
	}
	return nil
}

func duplicateKey(m, other *node) error {
	return refusal(m.keyAt(), "duplicate-key", "%q is said twice, first in line %d; keep one of them", m.key, other.keyLine)
}

// refusal is a problem as an error.
func refusal(at model.Origin, code, format string, args ...any) error {
	return model.Problem{Origin: at, Code: code, Message: fmt.Sprintf(format, args...)}
}
