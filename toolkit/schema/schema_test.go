package schema_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/toolkit/schema"
)

func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.All()[name]))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func judge(t *testing.T, name, text string) error {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return compile(t, name).Validate(doc)
}

func TestEverySchemaCompiles(t *testing.T) {
	t.Parallel()
	for name := range schema.All() {
		compile(t, name)
	}
}

// The files of design §3.3, and mistakes in them.
func TestSchemas(t *testing.T) {
	t.Parallel()
	good := map[string][]string{
		schema.Project: {"", `
name: shop
labels: [default]
hosts: []
definitions:
  petstore.yaml: {name: petstore, version: 1.0.0, basePath: "/petstore/{version}", clientCertificates: [partner.pem], default: true}
`},
		schema.Environment: {`
values: {POSTERN_VAR_ORDERS_URL: https://orders.internal/v2, POSTERN_VAR_COUNT: 5}
definitions:
  petstore.yaml: {production: ["https://pets.internal/v1", "${POSTERN_VAR_ORDERS_URL}"]}
`},
		schema.Policies: {"", `
resourcePolicies:
- 5PerMin: {count: 5, unitTime: 1, timeUnit: min}
- variable: {count: "${POSTERN_VAR_COUNT:-5}", timeUnit: Hour}
policies:
- name: monthlyPerUser
  per: [user]
  limit: 10000
  window: calendar-month
  timeZone: Europe/Vienna
  algorithm: fixed
  cost: 1
  when: "request.method == 'POST'"
  mode: exact
  shadow: false
  onFailure: local
- {name: own, per: [operation], limit: 9, window: 1h30m}
`},
	}
	bad := map[string][]string{
		schema.Project: {
			"label: [default]", "labels: default", "name: a b", "values: {POSTERN_VAR_X: 1}", "hosts: ['https://x']",
			"definitions: {a.yaml: {basepath: /x}}", "definitions: {a.yaml: {basePath: x}}", "definitions: {a.txt: {}}",
			"definitions: {a.yaml: {production: ['ftp://x']}}", "[]",
		},
		schema.Environment: {"values: {HOME: x}", "values: {POSTERN_VAR_X: []}", "value: {}"},
		schema.Policies: {
			"resourcePolices: []", "resourcePolicies: [{a: {count: 0, timeUnit: min}}]", "resourcePolicies: [{a: {count: 1, timeUnit: fortnight}}]",
			"resourcePolicies: [{a: {count: 1, timeUnit: min}, b: {count: 1, timeUnit: min}}]", "resourcePolicies: [{Unlimited: {count: 1, timeUnit: min}}]",
			"policies: [{name: a, per: [api], limit: 1}]", "policies: [{name: a, per: [apis], limit: 1, window: 1s}]",
			"policies: [{name: a, per: [api], limit: 1, window: soon}]", "policies: [{name: a, per: [api], limit: 1, window: 1s, mode: x}]",
		},
	}
	for name, texts := range good {
		for _, text := range texts {
			if err := judge(t, name, text); err != nil {
				t.Errorf("%s refused: %s\n%v", name, text, err)
			}
		}
	}
	for name, texts := range bad {
		for _, text := range texts {
			if judge(t, name, text) == nil {
				t.Errorf("%s accepted: %s", name, text)
			}
		}
	}
}

// What the compiler takes without a refusal in those files, the schemas take, and the examples are held to them.
func TestProjectsFitTheSchemas(t *testing.T) {
	t.Parallel()
	patterns := map[string][]string{
		schema.Project:     {"../../examples/*/project.yaml", "../../adapter/project/testdata/golden/*/files/project.yaml"},
		schema.Policies:    {"../../examples/*/policies.yaml", "../../adapter/project/testdata/golden/*/files/policies.yaml"},
		schema.Environment: {"../../examples/*/environments/*.yaml", "../../adapter/project/testdata/golden/*/files/environments/*.yaml"},
	}
	checked := 0
	for name, globs := range patterns {
		for _, glob := range globs {
			files, err := filepath.Glob(glob)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if bytes.Contains([]byte(file), []byte("/bad-")) {
					continue
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				checked++
				if err := judge(t, name, string(text)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no file was checked")
	}
}
