package project

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Summary is what a definition says about itself, before any project says more.
type Summary struct {
	Name     string // made of info.title; "" if nothing can be
	Version  string // info.version, as it is
	BasePath string // "/" where there is none
	Pinned   bool   // the base path is x-wso2-basePath, which no project.yaml changes
	Backend  bool   // it names a backend, for the whole API at least
}

// Describe reads one definition by itself. Its error is a model.Problem that says why it is none.
func Describe(name string, data []byte) (Summary, error) {
	root, err := parse(name, data)
	if err != nil {
		return Summary{}, err
	}
	quoteVersions(root)
	d := newDefinition(&shared{}, name)
	d.root = root
	if known := d.version(); len(d.problems) > 0 {
		return Summary{}, d.problems[0]
	} else if !known {
		return Summary{}, refusal(root.at(), "not-a-definition", "neither openapi: nor swagger: says that this is an OpenAPI definition")
	}
	s := Summary{Name: Slug(root.get("info").get("title").scalar()), Version: root.get("info").get("version").scalar()}
	s.BasePath = d.basePath(s.Version)
	s.Pinned = d.api().at("x-wso2-basePath") != nil
	b := d.servers(d.api())
	s.Backend = d.api().at(productionKey) != nil || b != nil && len(b.Endpoints) > 0
	return s, nil
}

// References are the files that the document in file refers to, as paths of the same tree, sorted, each once.
func References(file string, data []byte) ([]string, error) {
	root, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	var out []string
	walkRefs(root, false, func(ref *node) {
		target, err := url.Parse(ref.value)
		if err == nil && target.Path != "" && target.Scheme == "" && target.Host == "" {
			out = append(out, path.Join(path.Dir(file), target.Path))
		}
	})
	slices.Sort(out)
	return slices.Compact(out), nil
}

// literal are the keywords below which "$ref" is an example's own word and no reference.
var literal = map[string]bool{"example": true, "examples": true, "value": true, "default": true, "enum": true, "const": true}

// named are the keywords below which keys are names that the author chose, so that none of them is a keyword.
var named = map[string]bool{
	"paths": true, "webhooks": true, "pathItems": true, "callbacks": true, "responses": true, "content": true, "headers": true,
	"links": true, "parameters": true, "requestBodies": true, "securitySchemes": true, "schemas": true, "definitions": true,
	"examples": true, "encoding": true, "properties": true, "patternProperties": true, "dependentSchemas": true, "$defs": true,
}

// walkRefs calls visit with every $ref below n. Names says that n's keys are names the author chose.
func walkRefs(n *node, names bool, visit func(ref *node)) {
	if ref := n.get("$ref"); ref != nil && ref.kind == text && !names {
		visit(ref)
	}
	for _, m := range n.members {
		keyword := n.kind == object && !names
		namesBelow := keyword && named[m.key] && m.kind == object
		if keyword && !namesBelow && (literal[m.key] || strings.HasPrefix(m.key, "x-")) {
			continue
		}
		walkRefs(m, namesBelow, visit)
	}
}
