package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/toolkit/report"
)

var projects = []report.Project{
	report.Of("shop", model.Project{Name: "shop", APIs: []model.API{{Name: "pets", Version: "1", BasePath: "/pets", Operations: make([]model.Operation, 2), Origin: model.Origin{File: "api_definitions/pets.yaml"}}}}, nil),
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
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Cases    []struct {
				Class   string `xml:"classname,attr"`
				Name    string `xml:"name,attr"`
				File    string `xml:"file,attr"`
				Line    int    `xml:"line,attr"`
				Failure string `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(written(t, "junit")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Suites) != 4 || got.Tests != 4 || got.Failures != 1 {
		t.Fatalf("got %+v", got)
	}
	valid, broken, warned := got.Suites[0], got.Suites[2], got.Suites[3]
	if valid.Name != "shop/api_definitions/pets.yaml" || valid.Failures != 0 || valid.Cases[0].Name != "valid" {
		t.Errorf("a definition without problems is %+v", valid)
	}
	c := broken.Cases[0]
	if broken.Name != "old.zip!/api_definitions/a.yaml" || broken.Failures != 1 || c.Class != "old.zip!.api_definitions.a" || c.Name != "unknown-tier /paths/~1a" || c.Line != 3 ||
		c.Failure != `old.zip!/api_definitions/a.yaml:3:5 /paths/~1a: there is no tier "<Gold>" [unknown-tier]` {
		t.Errorf("one with a mistake is %+v", broken)
	}
	if warned.Failures != 0 || warned.Tests != 1 {
		t.Errorf("one with a warning is %+v", warned)
	}
}

// sarifOf writes projects as SARIF, checks that against the schema of OASIS, and reads it.
func sarifOf(t *testing.T, projects []report.Project) (run sarifRun) {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, "sarif", projects); err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	if err == nil {
		err = schema.Validate(document)
	}
	if err != nil {
		t.Errorf("%v in\n%s", err, b.String())
	}
	var log struct {
		Version string
		Runs    []sarifRun
	}
	if err := json.Unmarshal(b.Bytes(), &log); err != nil || len(log.Runs) != 1 || log.Version != "2.1.0" {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return log.Runs[0]
}

type sarifRun struct {
	Tool struct {
		Driver struct {
			Rules []struct {
				ID   string
				Help struct{ Text string }
			}
		}
	}
	Results []struct {
		RuleID    string
		RuleIndex int
		Level     string
		Message   struct{ Text string }
		Locations []struct {
			PhysicalLocation struct {
				ArtifactLocation struct{ URI string }
				Region           *struct{ StartLine, StartColumn int }
			}
		}
		PartialFingerprints map[string]string
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	problem := func(line int, pointer string) model.Problem {
		return model.Problem{Origin: model.Origin{File: "api_definitions/a b.yaml", Line: line, Column: 5, Pointer: pointer}, Code: "unknown-tier", Message: `there is no tier "<Gold>"`}
	}
	of := func(path string, problems ...model.Problem) []report.Project {
		return []report.Project{report.Of(path, model.Project{}, problems)}
	}
	run := sarifOf(t, append(of("shop", problem(3, "/paths/~1a"), problem(4, "/paths/~1b"), problem(9, "/paths/~1b"), model.Problem{Code: "mine", Message: "no", Severity: model.Warning}),
		of("old.zip", problem(3, "/paths/~1a"))...))
	rules, results := run.Tool.Driver.Rules, run.Results
	if len(rules) != 2 || rules[1].ID != "unknown-tier" || !strings.Contains(rules[1].Help.Text, "no policy is called") {
		t.Errorf("rules are %+v", rules)
	}
	first, zipped := results[0], results[4]
	place := first.Locations[0].PhysicalLocation
	if first.Level != "error" || first.RuleIndex != 1 || place.ArtifactLocation.URI != "shop/api_definitions/a%20b.yaml" || place.Region.StartLine != 3 || place.Region.StartColumn != 5 {
		t.Errorf("a result is %+v", first)
	}
	if r := results[3]; r.Level != "warning" || r.Locations[0].PhysicalLocation.ArtifactLocation.URI != "shop" || r.Locations[0].PhysicalLocation.Region != nil {
		t.Errorf("one of the project as a whole is %+v", r)
	}
	place = zipped.Locations[0].PhysicalLocation
	if place.ArtifactLocation.URI != "old.zip" || place.Region != nil || !strings.Contains(zipped.Message.Text, "a b.yaml:3:5") {
		t.Errorf("one of an archive is %+v", zipped)
	}
	seen := map[string]bool{}
	for _, r := range results {
		seen[r.PartialFingerprints["postern/v1"]] = true
	}
	moved := sarifOf(t, of("shop", problem(33, "/paths/~1a"))).Results[0]
	if len(seen) != len(results) || moved.PartialFingerprints["postern/v1"] != first.PartialFingerprints["postern/v1"] {
		t.Errorf("fingerprints are %v", seen)
	}
	if empty := sarifOf(t, of("shop")); empty.Results == nil {
		t.Error("no results are null")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(here, "shop"): "shop/api_definitions/a%20b.yaml", "./shop/": "shop/api_definitions/a%20b.yaml", "/elsewhere": "file:///elsewhere/api_definitions/a%20b.yaml",
	} {
		if got := sarifOf(t, of(path, problem(1, ""))).Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI; got != want {
			t.Errorf("%s is at %s, want %s", path, got, want)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	if err := report.Write(new(strings.Builder), "html", nil); err == nil || err.Error() != `unknown format "html"; choose one of text, json, junit, sarif` {
		t.Errorf("got %v", err)
	}
}
