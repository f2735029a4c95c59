package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Schema is the JSON Schema (draft 2020-12) of postern.yaml, made from Config and the comments of the documented file.
func Schema() []byte {
	root, err := parse(defaults)
	if err != nil {
		panic("config: the documented defaults: " + err.Error())
	}
	s := schemaOf(reflect.TypeFor[Config](), "", "", root, comments())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "postern.yaml"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("config: " + err.Error()) // it is made of maps, lists and strings
	}
	return append(text, '\n')
}

type schema = map[string]any

func schemaOf(t reflect.Type, tag reflect.StructTag, path string, node *yaml.Node, about map[string]string) schema {
	s := schema{}
	if text := about[path]; text != "" {
		s["description"] = text
	}
	switch {
	case t == durationType:
		s["type"], s["pattern"] = "string", `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`
	case t == bytesType:
		s["type"], s["pattern"] = []string{"string", "integer"}, `^[0-9]+ *([KMG]iB|[kKMG]?B)?$`
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem(), tag, path, node, about)
	case t.Kind() == reflect.Struct:
		properties := schema{}
		for _, f := range fieldsOf(t) {
			properties[f.key] = schemaOf(f.typ, f.tag, join(path, f.key), child(node, f.key), about)
		}
		s["type"], s["properties"], s["additionalProperties"] = "object", properties, false
	case t.Kind() == reflect.Slice:
		s["type"], s["items"] = "array", schemaOf(t.Elem(), "", "", nil, nil)
	case t.Kind() == reflect.Map:
		s["type"], s["additionalProperties"] = "object", schemaOf(t.Elem(), "", "", nil, nil)
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.Int:
		s["type"] = "integer"
		s["minimum"], _ = strconv.Atoi(tag.Get("min"))
		s["maximum"], _ = strconv.Atoi(tag.Get("max"))
	default:
		s["type"] = "string"
		if choices := tag.Get("enum"); choices != "" {
			s["enum"] = strings.Split(choices, ",")
		}
	}
	var value any
	if text, ok := tag.Lookup("default"); ok {
		s["default"] = text
	} else if node != nil && kindOf(t) != section && node.Decode(&value) == nil {
		s["default"] = value
	}
	return s
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// comments are what the documented file says beside each key.
func comments() map[string]string {
	root, err := parse(defaults)
	if err != nil {
		panic("config: the documented defaults: " + err.Error())
	}
	about := map[string]string{}
	gather(root, "", about)
	return about
}

func gather(n *yaml.Node, path string, about map[string]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		p := join(path, key.Value)
		for _, comment := range []string{key.LineComment, value.LineComment} {
			if comment != "" {
				about[p] = strings.TrimSpace(strings.TrimLeft(comment, "# "))
			}
		}
		gather(value, p, about)
	}
}
