package diff_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postern-gateway/postern/adapter/diff"
)

const head = "openapi: 3.0.3\ninfo: {title: Pets, version: '1'}\nservers: [{url: http://pets.example.com/v1}]\n"

// TestHostile compares what would never end if every way through it were walked.
func TestHostile(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(n int, kind string) string{
		"ways":      ways,
		"circle":    circle,
		"anyOf":     func(n int, kind string) string { return combined(n, "anyOf", kind) },
		"allOf":     func(n int, kind string) string { return combined(n, "allOf", kind) },
		"responses": responses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			side := func(kind string) diff.Side {
				return compile(t, fstest.MapFS{"api_definitions/pets.yaml": {Data: []byte(of(60, kind))}})
			}
			began := time.Now()
			r, err := diff.Compare(side("string"), side("integer"))
			if err != nil || len(r.APIs) != 1 || len(r.APIs[0].Findings) == 0 || len(r.APIs[0].Findings) > 1001 {
				t.Errorf("%+v, %v", r, err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// ways is a chain of schemas of which each leads to the next in two ways: 2^n of them to the last.
func ways(n int, kind string) string {
	var b strings.Builder
	b.WriteString(head + operation("S0") + "components:\n  schemas:\n")
	for i := range n {
		fmt.Fprintf(&b, "    S%d: {type: object, properties: {a: {$ref: '#/components/schemas/S%d'}, b: {$ref: '#/components/schemas/S%d'}}}\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "    S%d: {type: %s}\n", n, kind)
	return b.String()
}

// circle is a set of schemas that all lead to all.
func circle(n int, kind string) string {
	var b strings.Builder
	b.WriteString(head + operation("S0") + "components:\n  schemas:\n")
	n = min(n, 12)
	for i := range n {
		fmt.Fprintf(&b, "    S%d: {type: object, properties: {own: {type: %s}", i, kind)
		for j := range n {
			fmt.Fprintf(&b, ", p%d: {$ref: '#/components/schemas/S%d'}", j, j)
		}
		b.WriteString("}}\n")
	}
	return b.String()
}

func combined(n int, how, kind string) string {
	var b strings.Builder
	b.WriteString(head + operation("S0") + "components:\n  schemas:\n")
	for i := range n {
		fmt.Fprintf(&b, "    S%d: {%s: [{$ref: '#/components/schemas/S%d'}, {type: object, properties: {q: {$ref: '#/components/schemas/S%d'}}}]}\n", i, how, i+1, i+1)
	}
	fmt.Fprintf(&b, "    S%d: {type: %s}\n", n, kind)
	return b.String()
}

// responses has many operations with one large schema.
func responses(n int, kind string) string {
	var b strings.Builder
	b.WriteString(head + "paths:\n")
	for i := range 5 * n {
		fmt.Fprintf(&b, "  /p%d:\n    get: {responses: {'200': {description: x, content: {application/json: {schema: {$ref: '#/components/schemas/S'}}}}}}\n", i)
	}
	b.WriteString("components:\n  schemas:\n    S:\n      type: object\n      properties:\n")
	for i := range n {
		fmt.Fprintf(&b, "        f%d: {type: %s}\n", i, kind)
	}
	return b.String()
}

func operation(schema string) string {
	return "paths:\n  /p:\n    post:\n      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/" + schema + "'}}}}\n" +
		"      responses: {'200': {description: x, content: {application/json: {schema: {$ref: '#/components/schemas/" + schema + "'}}}}}\n"
}
