package report_test

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/toolkit/report"
)

var projects = []report.Project{
	report.Of("shop", model.Project{Name: "shop", APIs: []model.API{{Name: "pets", Version: "1", BasePath: "/pets", Operations: make([]model.Operation, 2)}}}, nil),
	report.Of("end", model.Project{Name: "end", APIs: []model.API{
		{Name: "pets", Version: "2", BasePath: "/pets/2", Aliases: []string{"/pets"}, State: model.Deployed, Operations: make([]model.Operation, 1)},
		{Name: "pets", Version: "1", BasePath: "/pets/1", State: model.Retired},
	}}, nil),
	report.Of("old.zip", model.Project{Name: "old"}, []model.Problem{
		{Origin: model.Origin{File: "api_definitions/a.yaml", Line: 3, Column: 5, Pointer: "/paths/~1a"}, Code: "unknown-tier", Message: `there is no tier "<Gold>"`},
		{Origin: model.Origin{File: "project.yaml"}, Severity: model.Warning, Code: "unused", Message: "nothing uses it"},
	}),
}

func written(t *testing.T, format string) string {
	t.Helper()
	var b strings.Builder
	if err := report.Write(&b, format, projects); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	t.Parallel()
	want := `shop: valid: pets/1 at /pets (2 operations)
end: valid: pets/2 at /pets/2 and /pets (1 operation), pets/1 at /pets/1 (0 operations, retired)
error: old.zip!/api_definitions/a.yaml:3:5 /paths/~1a: there is no tier "<Gold>" [unknown-tier]
warning: old.zip!/project.yaml: nothing uses it [unused]
old.zip: invalid: 1 error, 1 warning
`
	if got := written(t, "text"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var got []struct {
		Path     string
		Valid    bool
		Problems []struct {
			File, Severity, Code string
			Line                 int
		}
	}
	if err := json.Unmarshal([]byte(written(t, "json")), &got); err != nil {
		t.Fatal(err)
	}
	if !got[0].Valid || got[2].Valid || got[2].Problems[0].Line != 3 || got[2].Problems[1].Severity != "warning" {
		t.Errorf("got %+v", got)
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	var got struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(written(t, "junit")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Suites) != 3 || got.Suites[0].Failures != 0 || got.Suites[0].Tests != 1 || got.Suites[2].Tests != 2 || got.Suites[2].Failures != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	got := written(t, "sarif")
	for _, part := range []string{`"version": "2.1.0"`, `"ruleId": "unknown-tier"`, `"level": "warning"`, `"uri": "old.zip!/api_definitions/a.yaml"`, `"startLine": 3`, `"fullyQualifiedName": "/paths/~1a"`, `"<Gold>\""`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing in\n%s", part, got)
		}
	}
	if !json.Valid([]byte(got)) {
		t.Error("not JSON")
	}
}

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	if err := report.Write(new(strings.Builder), "html", nil); err == nil || err.Error() != `unknown format "html"; choose one of text, json, junit, sarif` {
		t.Errorf("got %v", err)
	}
}
