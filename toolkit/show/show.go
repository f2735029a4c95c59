// Package show prints resources as YAML for people, with every secret in them blacked out. It must not import the
// adapter, the enforcer or the ratelimiter: it prints whatever message it is given.
package show

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Group is the resources of one kind, for one reader.
type Group struct {
	Name      string // "envoy listeners"
	Resources []Resource
}

// Resource is one, as it is published.
type Resource struct {
	Name    string   `yaml:"name" json:"name"`
	Version string   `yaml:"version" json:"version"`
	APIs    []string `yaml:"apis,omitempty" json:"apis,omitempty"`
	Content any      `yaml:"content" json:"content"`
}

// Of makes a Resource of a message.
func Of(name, version string, apis []string, m proto.Message) (Resource, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return Resource{}, fmt.Errorf("%s: %w", name, err)
	}
	var content any
	if err := json.Unmarshal(text, &content); err != nil {
		return Resource{}, fmt.Errorf("%s: %w", name, err)
	}
	return Resource{name, version, apis, Redact(content)}, nil
}

// YAML prints groups in their order.
func YAML(w io.Writer, groups []Group) error {
	document := &yaml.Node{Kind: yaml.MappingNode}
	for _, g := range groups {
		var value yaml.Node
		if err := value.Encode(g.Resources); err != nil {
			return err
		}
		document.Content = append(document.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: g.Name}, &value)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	return encoder.Close()
}

const redacted = "[redacted]"

var (
	// sensitive are keys of which the value is a secret, whatever its shape.
	sensitive = regexp.MustCompile(`(?i)(password|secret|private_?key|authorization|credentials?|api_?key|session_?ticket_?keys?)$`)
	// userinfo is a name and password inside a URL.
	userinfo = regexp.MustCompile(`(://)[^/@\s"]+@`)
)

// Redact is a decoded JSON value without its secrets. The value is not changed.
func Redact(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			switch {
			case sensitive.MatchString(key), key == "value" && header(v):
				out[key] = blacken(below)
			default:
				out[key] = Redact(below)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, below := range v {
			out[i] = Redact(below)
		}
		return out
	case string:
		return userinfo.ReplaceAllString(v, "${1}"+redacted+"@")
	}
	return value
}

// header: {key: authorization, value: …} is a header that is set.
func header(v map[string]any) bool {
	name, _ := v["key"].(string)
	return sensitive.MatchString(name)
}

// blacken keeps the shape of a value, so that one sees that something is there, and no text of it.
func blacken(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			out[key] = blacken(below)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, below := range v {
			out[i] = blacken(below)
		}
		return out
	case string:
		return redacted
	}
	return value
}
