package project_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/project"
)

// References are found wherever OpenAPI has them, and not in what is only data.
func TestReferences(t *testing.T) {
	t.Parallel()
	got, err := project.References("api_definitions/a.yaml", []byte(`
paths:
  /x: {$ref: path.yaml}
  /y:
    get:
      parameters: [{$ref: "parameter.yaml#/p"}]
      responses:
        default: {$ref: "../responses.yaml#/r"}
        '200': {content: {application/json: {example: {$ref: no.yaml}, examples: {default: {$ref: example.yaml}, b: {value: {$ref: no.yaml}}}}}}
components:
  schemas:
    example: {properties: {$ref: {type: string}, default: {$ref: property.yaml}}, default: {$ref: no.yaml}, enum: [{$ref: no.yaml}]}
    b: {examples: [{$ref: no.yaml}], allOf: [{$ref: "#/components/schemas/example"}, {$ref: "http://example.com/no.yaml"}]}
x-extension: {$ref: no.yaml}
`))
	want := []string{
		"api_definitions/example.yaml", "api_definitions/parameter.yaml", "api_definitions/path.yaml", "api_definitions/property.yaml", "responses.yaml",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
