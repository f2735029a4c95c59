package project_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A case is a folder of testdata: files/ is the project, options.yaml what it is compiled with, model.yaml and
// problems.yaml what comes of it. A golden that would be empty is not there.
func TestGolden(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			compiled, problems := project.Compile(os.DirFS(filepath.Join(folder, "files")), optionsOf(t, folder))
			if model.Refusing(problems) && len(compiled.APIs) > 0 {
				t.Error("a refused project has APIs")
			}
			wantModel, wantProblems := any(compiled), any(problems)
			if len(compiled.APIs) == 0 {
				wantModel = nil
			}
			if len(problems) == 0 {
				wantProblems = nil
			}
			golden(t, filepath.Join(folder, "model.yaml"), wantModel)
			golden(t, filepath.Join(folder, "problems.yaml"), wantProblems)
		})
	}
}

// caseOptions is the shape of options.yaml.
type caseOptions struct {
	Environment   string            `yaml:"environment"`
	Variables     map[string]string `yaml:"variables"`
	OwnAddresses  []string          `yaml:"ownAddresses"`
	AllowBackends []string          `yaml:"allowBackends"`
	MaxRequest    time.Duration     `yaml:"maxRequest"`
}

func optionsOf(t *testing.T, folder string) project.Options {
	t.Helper()
	o := caseOptions{MaxRequest: 5 * time.Minute}
	data, err := os.ReadFile(filepath.Join(folder, "options.yaml"))
	if err == nil {
		decoder := yaml.NewDecoder(bytes.NewReader(data))
		decoder.KnownFields(true)
		err = decoder.Decode(&o)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return project.Options{
		Name:          "golden",
		Environment:   o.Environment,
		Lookup:        func(name string) (string, bool) { v, ok := o.Variables[name]; return v, ok },
		Settings:      model.Settings{Timeouts: model.Timeouts{MaxRequest: o.MaxRequest}},
		OwnAddresses:  o.OwnAddresses,
		AllowBackends: o.AllowBackends,
	}
}

func golden(t *testing.T, file string, value any) {
	t.Helper()
	var got bytes.Buffer
	if value != nil {
		encoder := yaml.NewEncoder(&got)
		encoder.SetIndent(2)
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if got.Len() == 0 {
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got, go test -update rewrites):\n%s", file, diff)
	}
}

// Every problem says where it is, and what to do.
func TestProblemsAreWhole(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/golden/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		files := os.DirFS(filepath.Join(folder, "files"))
		_, problems := project.Compile(files, optionsOf(t, folder))
		for _, p := range problems {
			if p.File == "" || p.Code == "" || p.Message == "" || strings.Contains(p.Message, "%!") {
				t.Errorf("%s: %+v", folder, p)
			}
			if info, err := fs.Stat(files, p.File); err == nil && !info.IsDir() && strings.HasSuffix(p.File, ".yaml") && p.Line == 0 && p.Code != "unknown-file" {
				t.Errorf("%s: no line: %v", folder, p)
			}
		}
	}
}

// A malformed definition has one problem for its one mistake, in words that are ours.
func TestOneMistakeOneProblem(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"malformed-openapi", "malformed-swagger", "malformed-json"} {
		files := os.DirFS(filepath.Join("testdata/golden", name, "files"))
		_, problems := project.Compile(files, project.Options{Name: name})
		told := map[string][]model.Problem{}
		for _, p := range problems {
			told[p.File] = append(told[p.File], p)
			for _, foreign := range []string{"cannot be read", "unmarshal", "invalid character", "json: ", "yaml: "} {
				if strings.Contains(p.Message, foreign) {
					t.Errorf("%s: not our words: %v", name, p)
				}
			}
		}
		definitions, err := fs.Glob(files, "api_definitions/*")
		if err != nil || len(definitions) < 10 {
			t.Fatalf("%d definitions, %v", len(definitions), err)
		}
		for _, d := range definitions {
			if len(told[d]) != 1 || told[d][0].Severity != model.Refused || told[d][0].Line == 0 {
				t.Errorf("%s: %s: want one problem with a place, got %v", name, d, told[d])
			}
		}
	}
}
