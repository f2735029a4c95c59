package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const managementHead = `# Management API

Every call of the management API, from its OpenAPI document, which an adapter serves at ` + "`/api/v1/openapi.yaml`" + `. How it is used says
[the guide](../guides/management-api.md).

`

// openAPI is what the page shows of the document, in the document's order.
type openAPI struct {
	Info struct {
		Description string
	}
	Tags []struct {
		Name, Description string
	}
	Paths      yaml.Node
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
		Schemas    yaml.Node
	}
}

type operation struct {
	path, method string
	OperationID  string `yaml:"operationId"`
	Role         string `yaml:"x-postern-role"`
	Tags         []string
	Summary      string
	Description  string
	Parameters   []parameter
	RequestBody  yaml.Node           `yaml:"requestBody"`
	Responses    map[string]response `yaml:"responses"`
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name, In    string
	Description string
	Schema      schema
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
}

type schema struct {
	Ref         string `yaml:"$ref"`
	Type        string
	Format      string
	Description string
	Enum        []string
	Items       *schema
	Required    []string
	Properties  yaml.Node
	Additional  any `yaml:"additionalProperties"`
}

// managementAPI lists the operations and the shapes of the management API.
func managementAPI(b *bytes.Buffer) error {
	text, err := os.ReadFile("adapter/rest/openapi.yaml")
	if err != nil {
		return err
	}
	var d openAPI
	if err := yaml.Unmarshal(text, &d); err != nil {
		return err
	}
	b.WriteString(managementHead + strings.TrimSpace(d.Info.Description) + "\n\n")
	operations, err := d.operations()
	if err != nil {
		return err
	}
	for _, tag := range d.Tags {
		fmt.Fprintf(b, "## %s%s\n\n%s\n\n", strings.ToUpper(tag.Name[:1]), tag.Name[1:], tag.Description)
		for _, o := range operations {
			if slices.Contains(o.Tags, tag.Name) {
				d.write(b, o)
			}
		}
	}
	return d.shapes(b)
}

func (d *openAPI) operations() ([]operation, error) {
	var all []operation
	for i := 0; i+1 < len(d.Paths.Content); i += 2 {
		path, item := d.Paths.Content[i].Value, d.Paths.Content[i+1]
		var shared struct{ Parameters []parameter }
		if err := item.Decode(&shared); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for j := 0; j+1 < len(item.Content); j += 2 {
			method := item.Content[j].Value
			if method == "parameters" {
				continue
			}
			o := operation{path: path, method: strings.ToUpper(method)}
			if err := item.Content[j+1].Decode(&o); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			o.Parameters = append(shared.Parameters, o.Parameters...)
			all = append(all, o)
		}
	}
	return all, nil
}

func (d *openAPI) write(b *bytes.Buffer, o operation) {
	fmt.Fprintf(b, "### %s %s\n\n%s. Role: %s.\n\n", o.method, o.path, o.Summary, cmp.Or(o.Role, "any"))
	if o.Description != "" {
		b.WriteString(strings.TrimSpace(o.Description) + "\n\n")
	}
	rows := 0
	for _, p := range o.Parameters {
		if p.Ref != "" {
			p = d.Components.Parameters[last(p.Ref)]
		}
		if p.In == "path" {
			continue
		}
		if rows++; rows == 1 {
			b.WriteString("| parameter | in | |\n|---|---|---|\n")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.Name, p.In, cell(p.Description))
	}
	if rows > 0 {
		b.WriteString("\n")
	}
	b.WriteString("| answer | |\n|---|---|\n")
	for _, status := range sorted(o.Responses) {
		r := o.Responses[status]
		if r.Ref != "" {
			r = d.Components.Responses[last(r.Ref)]
		}
		fmt.Fprintf(b, "| %s | %s |\n", status, cell(strings.TrimSpace(r.Description)))
	}
	b.WriteString("\n")
}

// shapes lists what is sent and answered.
func (d *openAPI) shapes(b *bytes.Buffer) error {
	b.WriteString("## Shapes\n\nWhat stands in the bodies; `?` marks what may be absent.\n\n")
	nodes := d.Components.Schemas.Content
	for i := 0; i+1 < len(nodes); i += 2 {
		var s schema
		if err := nodes[i+1].Decode(&s); err != nil {
			return err
		}
		fmt.Fprintf(b, "### %s\n\n", nodes[i].Value)
		if s.Description != "" {
			b.WriteString(strings.TrimSpace(s.Description) + "\n\n")
		}
		if len(s.Enum) > 0 {
			fmt.Fprintf(b, "One of `%s`.\n\n", strings.Join(s.Enum, "`, `"))
		}
		if len(s.Properties.Content) == 0 {
			continue
		}
		b.WriteString("| member | | |\n|---|---|---|\n")
		for j := 0; j+1 < len(s.Properties.Content); j += 2 {
			name := s.Properties.Content[j].Value
			var p schema
			if err := s.Properties.Content[j+1].Decode(&p); err != nil {
				return err
			}
			mark := ""
			if !slices.Contains(s.Required, name) {
				mark = "?"
			}
			fmt.Fprintf(b, "| `%s`%s | %s | %s |\n", name, mark, p.kind(), cell(strings.TrimSpace(p.Description)))
		}
		b.WriteString("\n")
	}
	return nil
}

// kind is what a value is, in a word.
func (s schema) kind() string {
	switch {
	case s.Ref != "":
		return fmt.Sprintf("[%s](#%s)", last(s.Ref), strings.ToLower(last(s.Ref)))
	case s.Type == "array" && s.Items != nil:
		return "list of " + s.Items.kind()
	case len(s.Enum) > 0:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// last is the name at the end of a reference.
func last(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func sorted(responses map[string]response) []string {
	var all []string
	for status := range responses {
		all = append(all, status)
	}
	slices.Sort(all)
	return all
}
