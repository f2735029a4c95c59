package translate_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
)

// TestProjectsLive loads what adapter/project makes of its golden projects into Envoy, and calls every operation.
func TestProjectsLive(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../project/testdata/golden/*/model.yaml")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no golden projects found")
	}
	settings := variants()
	g := startGateway(t, settings, nil)
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			var p model.Project
			decoder := yaml.NewDecoder(bytes.NewReader(text))
			decoder.KnownFields(true)
			must(t, decoder.Decode(&p))
			variant := "default"
			d, problems := translate.NewIndex(settings[variant]).Plan(p.APIs, nil)
			if len(problems) > 0 && problems[0].Code == "no-route-scope" {
				variant = "flat"
				d, problems = translate.NewIndex(settings[variant]).Plan(p.APIs, nil)
			}
			if model.Refusing(problems) {
				t.Fatal(problems)
			}
			defer g.serve(t, d)()
			if _, err := g.probe(t, variant, p.APIs, d); err != nil {
				t.Error(err)
			}
			for _, a := range p.APIs {
				for _, o := range a.Operations {
					g.callOperation(t, variant, p.APIs, a, o)
				}
			}
		})
	}
}

// callOperation calls an operation with something for each parameter.
func (g *gateway) callOperation(t *testing.T, variant string, apis []model.API, a model.API, o model.Operation) {
	t.Helper()
	path := strings.TrimSuffix(model.EscapePath(a.BasePath), "/")
	for _, s := range model.ParseTemplate(o.Path).Segments {
		path += "/" + strings.Join(s.Texts, "value")
	}
	if path == "" {
		path = "/"
	}
	host := "anywhere.test"
	if len(a.Hosts) > 0 {
		host = strings.Replace(a.Hosts[0], "*", "some", 1)
	}
	answer := g.call(t, variant, call{method: o.Method, path: path, host: host})
	want := model.Match(apis, host, o.Method, path, false)
	if want.Operation == nil || answer.operation() != want.Operation.ID() || answer.api() != want.API.ID() {
		t.Errorf("%s %s on %s: Envoy chose %q of %q, Match says %+v", o.Method, path, host, answer.operation(), answer.api(), want)
	}
}
