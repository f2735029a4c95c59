package diff_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
)

func TestStates(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"api_definitions/pets.yaml": {Data: []byte(head + "paths:\n  /a: {get: {responses: {'200': {description: ok}}}}\n")}}
	before := compile(t, files)
	for name, c := range map[string]struct {
		api, operation model.Lifecycle
		aliases        []string
		breaking       bool
		want           []string // what of the API, then what of its operation
	}{
		"prototyped":          {api: model.Prototyped, want: []string{"state"}},
		"blocked":             {api: model.Blocked, breaking: true, want: []string{"state"}},
		"retired":             {api: model.Retired, breaking: true, want: []string{"state"}},
		"an operation":        {operation: model.Retired, breaking: true, want: []string{"state"}},
		"deployed, in a word": {api: model.Deployed},
		"an alias more":       {aliases: []string{"/v"}, want: []string{"base path"}},
	} {
		after := diff.Side{Files: files, APIs: slices.Clone(before.APIs)}
		a := &after.APIs[0]
		a.State, a.Aliases, a.Operations = c.api, c.aliases, slices.Clone(a.Operations)
		a.Operations[0].State = c.operation
		r, err := diff.Compare(before, after)
		var got []string
		for _, api := range r.APIs {
			got = append(got, api.What...)
			for _, o := range api.Operations {
				got = append(got, o.What...)
			}
		}
		if err != nil || r.Breaking != c.breaking || !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if back, err := diff.Compare(after, before); err != nil || back.Breaking != (c.aliases != nil) {
			t.Errorf("%s, back: %+v, %v", name, back, err)
		}
	}
}
