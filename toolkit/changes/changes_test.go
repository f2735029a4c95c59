package changes_test

import (
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/toolkit/changes"
)

var report = diff.Report{
	Project: "shop", Breaking: true,
	APIs: []diff.API{
		{
			Name: "pets", Version: "2", Was: "pets/1", BasePath: "/pets", Change: diff.Changed, Breaking: true, What: []string{"identity", "limits"},
			Operations: []diff.Operation{
				{Method: "DELETE", Path: "/a", Change: diff.Removed, Breaking: true},
				{Method: "GET", Path: "/a", Change: diff.Changed, What: []string{"definition", "backend"}},
			},
			Findings: []diff.Finding{
				{Rule: "operation-removed", Severity: diff.Breaking, Operation: "DELETE /a", Text: "it is gone", Before: true, Origin: model.Origin{File: "api_definitions/a.yaml", Line: 7, Column: 5}},
				{Rule: "limit-lowered", Severity: diff.Warning, Text: "less", Origin: model.Origin{File: "policies.yaml", Line: 2}},
				{Rule: "more", Severity: diff.Info, Operation: "GET /a", Text: "a <b> | *more*"},
			},
		},
		{Name: "toys", Version: "1", BasePath: "/toys", Change: diff.Added},
	},
	Resources: []diff.Touched{
		{Type: "Cluster", Name: "a", Label: "default", Action: "put"},
		{Type: "Cluster", Name: "b", Label: "default", Action: "put"},
		{Type: "Policy", Name: "c", Label: "default", Action: "remove"},
	},
}

func written(t *testing.T, format string, r diff.Report) string {
	t.Helper()
	var b strings.Builder
	if err := changes.Write(&b, format, r, changes.Sides{Before: "revision 7", After: "shop"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	t.Parallel()
	want := `~ pets/2 at /pets, which was pets/1: identity, limits
  - DELETE /a
  ~ GET /a: definition, backend
  breaking: revision 7, api_definitions/a.yaml:7:5: DELETE /a: it is gone [operation-removed]
  warning: shop/policies.yaml:2: less [limit-lowered]
  info: GET /a: a <b> | *more* [more]
+ toys/1 at /toys
data plane: put 2 Cluster for label default
data plane: remove 1 Policy for label default
breaking: 1 change breaks something for consumers; 1 warning
`
	if got := written(t, "text", report); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := written(t, "text", diff.Report{}); got != "nothing changes for consumers\n" {
		t.Errorf("nothing is %q", got)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	want := "### API changes of shop\n\n**breaking: 1 change breaks something for consumers; 1 warning**\n\n" +
		"#### changed: pets/2 at /pets, which was pets/1: identity, limits\n\n| | operation | what |\n|---|---|---|\n" +
		"| removed | `DELETE /a` | **breaking** |\n| changed | `GET /a` | definition, backend |\n\n" +
		"- **breaking**: revision 7, api\\_definitions/a.yaml:7:5: DELETE /a: it is gone \\[operation-removed\\]\n" +
		"- **warning**: shop/policies.yaml:2: less \\[limit-lowered\\]\n\n" +
		"<details><summary>1 change that breaks nobody</summary>\n\n- GET /a: a &lt;b> \\| \\*more\\* \\[more\\]\n\n</details>\n\n" +
		"#### added: toys/1 at /toys\n\n\n" +
		"Data plane: put 2 Cluster for label default; remove 1 Policy for label default.\n"
	if got := written(t, "markdown", report); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	if err := changes.Write(new(strings.Builder), "html", report, changes.Sides{}); err == nil {
		t.Error("html was taken")
	}
}
