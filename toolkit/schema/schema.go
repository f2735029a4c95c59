// Package schema holds the JSON Schemas (draft 2020-12) of the files people write for Postern, for editors and for
// `postern schema`. It must import neither adapter, enforcer nor ratelimiter.
package schema

import (
	_ "embed"
	"encoding/json"

	"github.com/postern-gateway/postern/internal/config"
)

// Names of the files that have a schema, as `postern schema` calls them.
const (
	Postern     = "postern.yaml"
	Project     = "project.yaml"
	Policies    = "policies.yaml"
	Environment = "environments/NAME.yaml"
)

//go:embed project.schema.json
var project []byte

//go:embed policies.schema.json
var policies []byte

// All are the schemas by the names of the files they describe.
func All() map[string][]byte {
	return map[string][]byte{
		Postern:     config.Schema(),
		Project:     project,
		Policies:    policies,
		Environment: environment(),
	}
}

// environment is the schema of project.yaml with values: an environment is laid over the project.
func environment() []byte {
	var s map[string]any
	if err := json.Unmarshal(project, &s); err != nil {
		panic("schema: project.schema.json: " + err.Error())
	}
	s["title"] = Environment
	s["description"] = "What differs in one environment: laid over project.yaml, with values for ${POSTERN_VAR_NAME}."
	s["properties"].(map[string]any)["values"] = map[string]any{
		"description":          "Values of variables; the gateway's own environment goes before them.",
		"type":                 "object",
		"propertyNames":        map[string]any{"pattern": "^POSTERN_VAR_[A-Z0-9_]+$"},
		"additionalProperties": map[string]any{"type": []string{"string", "number", "boolean"}},
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("schema: " + err.Error()) // it was JSON before
	}
	return append(out, '\n')
}
