// Package ci does what the pipelines of examples/ci say, step by step as GitHub and GitLab would, in a repository of its own
// against a real gateway. It imports nothing of the product: it meets it as a pipeline does.
package ci

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(gateway.Main(m, testing.Short))
}

const definition = `openapi: 3.0.3
info: {title: Pets, version: 1.0.0}
servers: [{url: "http://127.0.0.1:9/v1"}]
x-wso2-basePath: /pets
x-wso2-disable-security: true
paths:
  /pet: {get: {responses: {"200": {description: one}}}}
`

var (
	more = definition + `  /dog: {get: {responses: {"200": {description: one}}}}` + "\n"
	less = strings.Replace(definition, "/pet:", "/cat:", 1)
	bad  = strings.Replace(definition, "get:", "git:", 1)
)

// A pipeline is a file of steps, with a repository to run them in and a gateway to deploy to.
type pipeline struct {
	t       *testing.T
	gateway *gateway.Gateway
	origin  string
	env     []string
}

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Envoy")
	}
	g := gateway.Start(t, gateway.Options{Pushed: true})
	p := &pipeline{t: t, gateway: g, origin: filepath.Join(fixture.TempDir(t), "origin")}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "POSTERN_") && !strings.HasPrefix(pair, "GIT_") {
			p.env = append(p.env, pair)
		}
	}
	p.env = append(
		p.env, "PATH="+filepath.Dir(gateway.Program())+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.com",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
	)
	p.shell(filepath.Dir(p.origin), nil, "git init --quiet --initial-branch=main origin")
	p.commit("main", definition)
	return p
}

// commit puts a definition on a branch of the origin, which begins at main.
func (p *pipeline) commit(branch, definition string) {
	p.t.Helper()
	p.shell(p.origin, nil, "if git rev-parse --quiet --verify HEAD >/dev/null; then git checkout --quiet -B "+branch+" main; fi; mkdir -p shop/api_definitions")
	if err := os.WriteFile(filepath.Join(p.origin, "shop", "api_definitions", "pets.yaml"), []byte(definition), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.shell(p.origin, nil, "git add --all; git commit --quiet --allow-empty --message change")
}

// clone is what a runner checks out.
func (p *pipeline) clone(branch string) string {
	p.t.Helper()
	folder := fixture.TempDir(p.t)
	p.shell(folder, nil, "git clone --quiet --branch "+branch+" "+p.origin+" work")
	return filepath.Join(folder, "work")
}

// shell runs a script that must go well, and returns what it prints.
func (p *pipeline) shell(folder string, env []string, script string) string {
	p.t.Helper()
	out, code := p.run(folder, env, script)
	if code != 0 {
		p.t.Fatalf("%s\nended with %d:\n%s", script, code, out)
	}
	return out
}

func (p *pipeline) run(folder string, env []string, script string) (string, int) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "bash", "-eo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = folder, append(slices.Clone(p.env), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		p.t.Fatalf("%s: %v", script, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// server is where a pipeline deploys to, and as whom.
func (p *pipeline) server() (address, token string) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.gateway.Folder, ".postern", "admin.token"))
	if err != nil {
		p.t.Fatal(err)
	}
	return "http://" + p.gateway.Management, strings.TrimSpace(string(text))
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "ci", file))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func pairs(variables map[string]string) []string {
	var env []string
	for name, value := range variables {
		env = append(env, name+"="+value)
	}
	return env
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}
