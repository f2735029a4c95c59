package ci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type gitlab struct {
	Variables map[string]yaml.Node
	Stages    []string
	Default   struct {
		Before []string `yaml:"before_script"`
	}
	Jobs map[string]yaml.Node `yaml:",inline"`
}

type gitlabJob struct {
	Stage  string
	Script []string
	Rules  []struct{ If, When string }
}

// variable is a value, or an object that has one.
func variable(t *testing.T, n yaml.Node) string {
	t.Helper()
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var v struct{ Value string }
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v.Value
}

// job does one of the jobs, and returns what it prints, the folder it was done in, and whether it went well.
func (p *pipeline) job(name, branch string, more map[string]string) (out, folder string, ok bool) {
	p.t.Helper()
	var w gitlab
	read(p.t, "gitlab/.gitlab-ci.yml", &w)
	node, there := w.Jobs[name]
	if !there {
		p.t.Fatalf("there is no job %s", name)
	}
	var job gitlabJob
	if err := node.Decode(&job); err != nil {
		p.t.Fatal(err)
	}
	var env []string
	for name, n := range w.Variables {
		env = append(env, name+"="+variable(p.t, n))
	}
	folder = p.clone(branch)
	out, code := p.run(folder, append(env, pairs(more)...), strings.Join(append(w.Default.Before, job.Script...), "\n"))
	return out, folder, code == 0
}

func TestGitLab(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	server, token := p.server()
	protected := map[string]string{"POSTERN_SERVER": server, "POSTERN_TOKEN": token}
	merge := map[string]string{"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_LABELS": "api"}

	p.commit("more", more)
	if out, folder, ok := p.job("validate", "more", nil); !ok {
		t.Error(out)
	} else if text, err := os.ReadFile(filepath.Join(folder, "postern.xml")); err != nil || !strings.Contains(string(text), `<testsuite name="shop/api_definitions/pets.yaml"`) {
		t.Errorf("%v in %s", err, text)
	}
	p.commit("bad", bad)
	if out, folder, ok := p.job("validate", "bad", nil); ok {
		t.Error(out)
	} else if text, err := os.ReadFile(filepath.Join(folder, "postern.xml")); err != nil || !strings.Contains(string(text), "<failure") {
		t.Errorf("%v in %s", err, text)
	}
	if out, folder, ok := p.job("diff", "more", merge); !ok {
		t.Error(out)
	} else if text, err := os.ReadFile(filepath.Join(folder, "changes.md")); err != nil || !strings.Contains(string(text), "`GET /dog`") {
		t.Errorf("%v in %s", err, text)
	}
	p.commit("less", less)
	if out, _, ok := p.job("diff", "less", merge); ok {
		t.Error(out)
	}
	merge["CI_MERGE_REQUEST_LABELS"] = "api,breaking"
	if out, _, ok := p.job("diff", "less", merge); !ok {
		t.Error(out)
	}

	for _, step := range []struct{ job, branch, want string }{
		{"deploy", "main", "shop: deployed as revision 1"},
		{"deploy", "more", "shop: deployed as revision 2"},
		{"rollback", "main", "to what revision 1 was, as revision 3"},
	} {
		out, _, ok := p.job(step.job, step.branch, protected)
		contains(t, out, step.want)
		if !ok {
			t.Fatal(out)
		}
	}
	protected["REVISION"] = "2"
	out, _, _ := p.job("rollback", "main", protected)
	contains(t, out, "to what revision 2 was, as revision 4")
}

// TestGitLabRules: who deploys is on the default branch, and nobody rolls back by accident.
func TestGitLabRules(t *testing.T) {
	t.Parallel()
	var w gitlab
	read(t, "gitlab/.gitlab-ci.yml", &w)
	for name, want := range map[string]string{"deploy": "", "rollback": "manual"} {
		node := w.Jobs[name]
		var job gitlabJob
		if err := node.Decode(&job); err != nil || len(job.Rules) != 1 || job.Rules[0].If != "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" || job.Rules[0].When != want {
			t.Errorf("%s: %+v, %v", name, job.Rules, err)
		}
	}
}
