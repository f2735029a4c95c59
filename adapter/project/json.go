package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// readJSON reads one JSON document into nodes. YAML's parser reads most JSON too, but knows no surrogate pairs.
func readJSON(file string, data []byte) (*node, error) {
	r := jsonReader{file: file, data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	root := &node{file: file}
	err := r.read(root, 0)
	if err == nil {
		if _, more := r.decoder.Token(); !errors.Is(more, io.EOF) {
			err = fmt.Errorf("something follows the document's end")
		}
	}
	var p model.Problem
	if err != nil && !errors.As(err, &p) {
		return nil, jsonError(file, data, err)
	}
	if err != nil {
		return nil, err
	}
	return root, nil
}

type jsonReader struct {
	file    string
	data    []byte
	decoder *json.Decoder
	nodes   int

	// The place told last, from which the next one is found: a document may be one long line.
	offset, line, column int
}

// next is the offset at which the next token starts.
func (r *jsonReader) next() int {
	i := int(r.decoder.InputOffset())
	for i < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[i]) >= 0 {
		i++
	}
	return i
}

// origin tells line and column of an offset that lies not before the one asked for last.
func (r *jsonReader) origin(offset int) model.Origin {
	offset = min(offset, len(r.data))
	for r.offset < offset {
		b := r.data[r.offset]
		r.offset++
		switch {
		case b == '\n':
			r.line, r.column = r.line+1, 0
		case utf8.RuneStart(b):
			r.column++
		}
	}
	return model.Origin{File: r.file, Line: r.line + 1, Column: r.column + 1}
}

// read fills n, which knows already where in its document it belongs, with the next value.
func (r *jsonReader) read(n *node, depth int) error {
	at := r.origin(r.next())
	n.line, n.column = at.Line, at.Column
	token, err := r.decoder.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	r.nodes++
	switch {
	case r.nodes > maxNodes:
		return refusal(n.at(), "document-too-large", "the document has more than %d values; split it", maxNodes)
	case depth > maxDepth:
		return refusal(n.at(), "document-too-deep", "values are nested more than %d deep here; move the inner ones out and refer to them", maxDepth)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			n.kind = list
			return r.items(n, depth)
		}
		n.kind = object
		return r.fields(n, depth)
	case string:
		n.kind, n.value = text, t
	case json.Number:
		n.kind, n.value = number, t.String()
	case bool:
		n.kind, n.value = boolean, strconv.FormatBool(t)
	}
	return nil
}

func (r *jsonReader) items(n *node, depth int) error {
	for r.decoder.More() {
		m := &node{file: r.file, up: n, number: len(n.members)}
		if err := r.read(m, depth+1); err != nil {
			return err
		}
		n.members = append(n.members, m)
	}
	_, err := r.decoder.Token()
	return err
}

func (r *jsonReader) fields(n *node, depth int) error {
	seen := map[string]*node{}
	for r.decoder.More() {
		at := r.origin(r.next())
		token, err := r.decoder.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // the decoder admits nothing else here
		m := &node{file: r.file, up: n, key: key, keyLine: at.Line, keyColumn: at.Column}
		if other := seen[key]; other != nil {
			return duplicateKey(m, other)
		}
		if err := r.read(m, depth+1); err != nil {
			return err
		}
		seen[key] = m
		n.members = append(n.members, m)
	}
	n.index(seen)
	_, err := r.decoder.Token()
	return err
}

// appendJSON writes n as JSON, for readers that know no YAML: so that all of them see one and the same document.
func appendJSON(b []byte, n *node) []byte {
	switch n.kind {
	case null:
		return append(b, "null"...)
	case boolean:
		return append(b, n.value...)
	case number:
		return appendNumber(b, n.value)
	case text:
		return appendString(b, n.value)
	case list:
		b = append(b, '[')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, m)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, m := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.key), ':')
		b = appendJSON(b, m)
	}
	return append(b, '}')
}

// appendNumber writes a number as JSON can say it: YAML's 0x1F and 1_000 in decimal, .inf and .nan as strings.
func appendNumber(b []byte, value string) []byte {
	if json.Valid([]byte(value)) {
		return append(b, value...)
	}
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err == nil {
		if out, err := json.Marshal(v); err == nil {
			return append(b, out...)
		}
	}
	return appendString(b, value)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
