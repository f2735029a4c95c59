package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// at is the place a value was said: a line of a file, an environment variable, a flag.
type at struct {
	source       string
	line, column int
	file         bool // source is the configuration file: relative paths start at its folder
	expanded     bool // the value holds a ${POSTERN_VAR_…}: it may be a secret, and no message repeats it
}

// String is "file:line:column", or the name of the variable or flag.
func (a at) String() string {
	if a.line == 0 {
		return a.source
	}
	return fmt.Sprintf("%s:%d:%d", a.source, a.line, a.column)
}

// kind tells how a key is resolved.
type kind int

const (
	section    kind = iota // a struct, whose keys are resolved one by one
	scalar                 // one value
	collection             // a list or a map, taken whole from the strongest source that says it
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[Bytes]()
	secretType   = reflect.TypeFor[Secret]()
)

func kindOf(t reflect.Type) kind {
	switch t.Kind() {
	case reflect.Struct:
		return section
	case reflect.Slice, reflect.Map:
		return collection
	default:
		return scalar
	}
}

// field is one key of a struct.
type field struct {
	key   string
	index int
	tag   reflect.StructTag
	typ   reflect.Type
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if key := f.Tag.Get("yaml"); key != "" {
			fields = append(fields, field{key, i, f.Tag, f.Type})
		}
	}
	return fields
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// entry is one key of a mapping node, and what it says.
type entry struct {
	field field
	node  *yaml.Node
}

// entries reads a mapping strictly: keys that t does not know, and keys said twice, are problems.
func (l *loader) entries(n *yaml.Node, t reflect.Type, path string, source at) []entry {
	fields := fieldsOf(t)
	seen := map[string]bool{}
	var found []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		place := source.in(key)
		f := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		switch {
		case f < 0:
			l.problem(place, join(path, key.Value), "unknown key; the nearest known one is %q", l.nearest(path, key.Value, fields))
		case seen[key.Value]:
			l.problem(place, join(path, key.Value), "said twice")
		default:
			found = append(found, entry{fields[f], resolve(value)})
		}
		seen[key.Value] = true
	}
	return found
}

// resolve follows a YAML alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func unsaid(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// decode fills v, a part of a list or a map, from n.
func (l *loader) decode(n *yaml.Node, v reflect.Value, tag reflect.StructTag, path string, source at) {
	n = resolve(n)
	place := source.in(n)
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		l.defaultsOf(v)
	}
	l.origins[path] = place
	if unsaid(n) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if !l.want(n, yaml.MappingNode, place, path, "keys with values") {
			return
		}
		for _, e := range l.entries(n, v.Type(), path, source) {
			l.decode(e.node, v.Field(e.field.index), e.field.tag, join(path, e.field.key), source)
		}
	case reflect.Slice:
		if !l.want(n, yaml.SequenceNode, place, path, "a list") {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			l.decode(item, v.Index(i), "", fmt.Sprintf("%s[%d]", path, i), source)
		}
	case reflect.Map:
		l.decodeMap(n, v, path, source)
	default:
		if l.want(n, yaml.ScalarNode, place, path, "one value") {
			text, ok := l.expand(n.Value, path, &place)
			if ok {
				l.assign(v, tag, text, path, place)
			}
		}
	}
}

func (l *loader) decodeMap(n *yaml.Node, v reflect.Value, path string, source at) {
	if !l.want(n, yaml.MappingNode, source.in(n), path, "keys with values") {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if v.MapIndex(reflect.ValueOf(key)).IsValid() {
			l.problem(source.in(n.Content[i]), join(path, key), "said twice")
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		l.decode(n.Content[i+1], element, "", join(path, key), source)
		v.SetMapIndex(reflect.ValueOf(key), element)
	}
}

// defaultsOf fills what a struct inside a list says about itself when it is left out.
func (l *loader) defaultsOf(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		if f.typ.Kind() == reflect.Struct {
			l.defaultsOf(v.Field(f.index))
		}
		if text, ok := f.tag.Lookup("default"); ok {
			l.assign(v.Field(f.index), f.tag, text, f.key, at{source: "default"})
		}
	}
}

func (l *loader) want(n *yaml.Node, kind yaml.Kind, place at, path, what string) bool {
	if n.Kind == kind {
		return true
	}
	l.problem(place, path, "must be %s", what)
	return false
}

// assign reads a scalar's text as the type that it is for.
func (l *loader) assign(v reflect.Value, tag reflect.StructTag, text, path string, place at) {
	shown := ""
	if !place.expanded && v.Type() != secretType {
		shown = strconv.Quote(text) + " is "
	}
	switch v.Type() {
	case durationType:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			l.problem(place, path, "%snot a duration; write one like 250ms, 30s or 5m", shown)
			return
		}
		v.SetInt(int64(d))
		return
	case bytesType:
		b, err := ParseBytes(text)
		if err != nil {
			l.problem(place, path, "%s%s", shown, err)
			return
		}
		v.SetUint(uint64(b))
		return
	}
	switch v.Kind() {
	case reflect.String:
		if choices := tag.Get("enum"); choices != "" && !slices.Contains(strings.Split(choices, ","), text) {
			l.problem(place, path, "%snot one of %s", shown, strings.ReplaceAll(choices, ",", ", "))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			l.problem(place, path, "%snot true or false", shown)
			return
		}
		v.SetBool(text == "true")
	case reflect.Int:
		l.assignInt(v, tag, text, shown, path, place)
	default:
		panic("config: no way to read a " + v.Type().String()) // a mistake in Config, met by every test
	}
}

func (l *loader) assignInt(v reflect.Value, tag reflect.StructTag, text, shown, path string, place at) {
	low, _ := strconv.Atoi(tag.Get("min"))
	high, _ := strconv.Atoi(tag.Get("max"))
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		l.problem(place, path, "%snot a whole number from %d to %d", shown, low, high)
		return
	}
	v.SetInt(int64(n))
}

// in is the place of a node within the source.
func (a at) in(n *yaml.Node) at {
	if a.file {
		a.line, a.column = n.Line, n.Column
	}
	return a
}
