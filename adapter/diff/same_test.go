package diff_test

import (
	"testing"
	"testing/fstest"

	"github.com/postern-gateway/postern/adapter/diff"
)

// TestChangedElsewhere: a definition that is the same says something else when what it refers to does, however it is written.
func TestChangedElsewhere(t *testing.T) {
	t.Parallel()
	for name, ref := range map[string]string{
		"plain":       "{$ref: ../schemas/pet.yaml}",
		"quoted":      `{"$ref": "../schemas/pet.yaml"}`,
		"in quotes":   "{'$ref' : '../schemas/pet.yaml'}",
		"escaped":     `{"\u0024ref": "../schemas/pet.yaml"}`,
		"two lines":   "{$ref:\n        ../schemas/pet.yaml}",
		"with a hash": "{$ref: '../schemas/pet.yaml#'}",
	} {
		side := func(kind string) diff.Side {
			return compile(t, fstest.MapFS{
				"api_definitions/pets.yaml": {Data: []byte(head + "paths:\n  /p:\n    get:\n      responses: {'200': {description: x, content: {application/json: {schema: " + ref + "}}}}\n")},
				"schemas/pet.yaml":          {Data: []byte("type: " + kind + "\n")},
			})
		}
		if r, err := diff.Compare(side("string"), side("integer")); err != nil || !r.Breaking {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if r, err := diff.Compare(side("string"), side("string")); err != nil || len(r.APIs) > 0 {
			t.Errorf("%s, the same: %+v, %v", name, r, err)
		}
	}
}
