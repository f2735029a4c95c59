package project

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/postern-gateway/postern/adapter/model"
)

// Any input gives a model or problems: never a panic, never both an API and a refusal, and the same twice.
func judgeCompile(t *testing.T, files fs.FS) {
	o := Options{Environment: "prod", Lookup: func(name string) (string, bool) { return "value", strings.HasSuffix(name, "_SET") }}
	first, problems := Compile(files, o)
	if model.Refusing(problems) && len(first.APIs) > 0 {
		t.Fatal("a refused project has APIs")
	}
	for _, p := range problems {
		if p.File == "" || p.Code == "" || p.Message == "" {
			t.Fatalf("half a problem: %+v", p)
		}
	}
	for _, a := range first.APIs {
		judgeAPI(t, a)
	}
	again, more := Compile(files, o)
	if !reflect.DeepEqual(first, again) || !reflect.DeepEqual(problems, more) {
		t.Fatalf("not deterministic:\n%v\n%v\n%v\n%v", first, again, problems, more)
	}
}

// judgeAPI holds what translation relies on.
func judgeAPI(t *testing.T, a model.API) {
	if a.Name == "" || a.Version == "" || !strings.HasPrefix(a.BasePath, "/") || a.BasePath != "/" && strings.HasSuffix(a.BasePath, "/") {
		t.Fatalf("half an API: %+v", a)
	}
	if len(a.Operations) == 0 {
		t.Fatal("an API without operations")
	}
	for _, o := range a.Operations {
		if o.Method != strings.ToUpper(o.Method) || len(o.Production.Endpoints) == 0 {
			t.Fatalf("half an operation: %+v", o)
		}
		if err := checkPath(o.Path); err != nil {
			t.Fatalf("%s: %v", o.Path, err)
		}
		if !o.Security.Disabled && len(o.Security.Alternatives) == 0 {
			t.Fatal("an operation that admits nobody")
		}
		for _, alternative := range o.Security.Alternatives {
			for _, r := range alternative.Requirements {
				if r.Scheme.Kind != model.Bearer || r.Scheme.In == "" || r.Scheme.Key == "" {
					t.Fatalf("half a scheme: %+v", r)
				}
			}
		}
	}
}

// seedFiles hands every file of the golden cases with that ending to add.
func seedFiles(f *testing.F, pattern string, add func([]byte)) {
	f.Helper()
	names, err := filepath.Glob("testdata/golden/*/files/" + pattern)
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}

func FuzzYAML(f *testing.F) {
	seedFiles(f, "api_definitions/*.y*ml", func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, definition []byte) {
		judgeCompile(t, fstest.MapFS{"api_definitions/a.yaml": {Data: definition}})
	})
}

func FuzzJSON(f *testing.F) {
	seedFiles(f, "api_definitions/*.json", func(b []byte) { f.Add(b) })
	seedFiles(f, "api_definitions/*.yaml", func(b []byte) {
		if root, err := readYAML("a.yaml", b); err == nil {
			f.Add(appendJSON(nil, root))
		}
	})
	f.Fuzz(func(t *testing.T, definition []byte) {
		deep := bytes.Count(definition, []byte("["))+bytes.Count(definition, []byte("{")) > maxDepth
		if m := (jsonMistake{data: definition}); !deep && m.document() != json.Valid(definition) {
			t.Fatalf("the mistake in it is %q, valid is %v", m.words, json.Valid(definition))
		}
		if root, err := readJSON("a.json", definition); err == nil {
			var want, got any
			if err := json.Unmarshal(definition, &want); err != nil {
				t.Fatalf("read what is not JSON: %v", err)
			}
			if err := json.Unmarshal(appendJSON(nil, root), &got); err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("written back as something else: %v\n%s", err, appendJSON(nil, root))
			}
		}
		judgeCompile(t, fstest.MapFS{"api_definitions/a.json": {Data: definition}})
	})
}

// Everything a project has beside its definitions.
func FuzzSettings(f *testing.F) {
	seedFiles(f, "project.yaml", func(b []byte) { f.Add(b, []byte(""), []byte("")) })
	seedFiles(f, "policies.yaml", func(b []byte) { f.Add([]byte(""), b, []byte("")) })
	seedFiles(f, "environments/*.yaml", func(b []byte) { f.Add([]byte(""), []byte(""), b) })
	definition := []byte("openapi: 3.0.3\ninfo: {title: A, version: '1'}\nx-wso2-throttling-tier: gold\n" +
		"servers: [{url: 'http://${POSTERN_VAR_SET}/x'}]\npaths: {/x: {get: {responses: {default: {description: ok}}}}}\n")
	f.Fuzz(func(t *testing.T, manifest, policies, environment []byte) {
		judgeCompile(t, fstest.MapFS{
			"api_definitions/a.yaml": {Data: definition},
			"project.yaml":           {Data: manifest},
			"policies.yaml":          {Data: policies},
			"environments/prod.yaml": {Data: environment},
		})
	})
}

func FuzzZip(f *testing.F) {
	for _, folder := range []string{"one-api", "environment", "referenced-files"} {
		var b bytes.Buffer
		if err := Build(os.DirFS("testdata/golden/"+folder+"/files"), &b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		files, err := OpenBytes(archive)
		if err != nil {
			return
		}
		judgeCompile(t, files)
		var packed, again bytes.Buffer
		if err := Build(files, &packed); err != nil {
			return
		}
		rebuilt, err := OpenBytes(packed.Bytes())
		if err != nil {
			t.Fatalf("cannot open what was built: %v", err)
		}
		if err := Build(rebuilt, &again); err != nil || !bytes.Equal(packed.Bytes(), again.Bytes()) {
			t.Fatalf("built once more, other bytes: %v", err)
		}
	})
}

func FuzzPathTemplate(f *testing.F) {
	for _, s := range []string{"/", "/pet/{petId}", "/files/*", "/größe/%41%3b", "/a//b", "/{a}-{b}", "/a/../b", "/*", "/%2f", "/a b", "/{x}/{x}"} {
		f.Add(s, "/pet/{petId}")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		if checkPath(s) != nil || checkPath(other) != nil {
			return
		}
		a, b := model.ParseTemplate(s), model.ParseTemplate(other)
		for _, segment := range a.Segments {
			if !segment.Literal() && !segment.Whole() {
				t.Fatalf("%q has half a parameter: %+v", s, segment)
			}
		}
		if again := model.ParseTemplate(a.String()); again.String() != a.String() {
			t.Fatalf("%q is %q, which is %q", s, a, again)
		}
		x, one := meet(a, b)
		y, two := meet(b, a)
		if one != two || one && x.String() != y.String() {
			t.Fatalf("meet(%q, %q) is %q, the other way round %q", a, b, x, y)
		}
		if one && x.Compare(a) > 0 {
			t.Fatalf("%q, common to %q and %q, is less specific", x, a, b)
		}
	})
}

func FuzzVariables(f *testing.F) {
	for _, s := range []string{"http://${POSTERN_VAR_SET}/x", "${POSTERN_VAR_A:-b}", "${", "${}", "$${POSTERN_VAR_SET}", "${HOME}", "${POSTERN_VAR_SET:-${POSTERN_VAR_SET}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		asked := false
		v := variables{lookup: func(name string) (string, bool) {
			asked = true
			if !variableName.MatchString(name) {
				t.Fatalf("%q was looked up", name)
			}
			return "s3cret", name == "POSTERN_VAR_SET"
		}}
		var r report
		got, ok := v.expand(&r, &node{kind: text, value: s})
		if ok == (len(r.problems) > 0) {
			t.Fatalf("%q: ok is %v with %v", s, ok, r.problems)
		}
		if !asked && ok && !hasVariable(s) && got != s {
			t.Fatalf("%q became %q without a variable", s, got)
		}
		for _, p := range r.problems {
			if strings.Contains(p.Message, "s3cret") && !strings.Contains(s, "s3cret") {
				t.Fatalf("a value is in a problem: %v", p)
			}
		}
	})
}
