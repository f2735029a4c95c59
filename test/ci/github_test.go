package ci

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type workflow struct {
	Env  map[string]string
	Jobs map[string]struct {
		If    string
		Env   map[string]string
		Steps []struct{ Name, If, Uses, Run string }
	}
}

// known are the actions of other people that the example uses.
var known = []string{"actions/checkout@v5", "github/codeql-action/upload-sarif@v4"}

var expression = regexp.MustCompile(`\$\{\{ *([^}]*?) *\}\}`)

// event does the jobs of the workflow that an event starts, and returns what they print, the summary, and whether all
// steps went well. Values are those of expressions.
func (p *pipeline) event(name, branch string, values map[string]string) (out, summary string, ok bool) {
	p.t.Helper()
	var w workflow
	read(p.t, "github/.github/workflows/deploy.yaml", &w)
	folder := p.clone(branch)
	page := filepath.Join(filepath.Dir(folder), "summary.md")
	value := func(text string) string {
		return expression.ReplaceAllStringFunc(text, func(e string) string {
			v, known := values[expression.FindStringSubmatch(e)[1]]
			if !known {
				p.t.Fatalf("nobody says what %s is", e)
			}
			return v
		})
	}
	started, ok := 0, true
	for _, job := range w.Jobs {
		if job.If != "github.event_name == '"+name+"'" {
			continue
		}
		started++
		env := append(pairs(w.Env), "GITHUB_STEP_SUMMARY="+page, "GITHUB_BASE_REF=main")
		for name, text := range job.Env {
			env = append(env, name+"="+value(text))
		}
		for _, step := range job.Steps {
			switch {
			case step.Uses != "":
				if !slices.Contains(known, step.Uses) {
					p.t.Errorf("nobody knows what %s does", step.Uses)
				}
				continue
			case !ok, step.If != "" && step.If != "always()" && value(step.If) != "true":
				continue
			}
			text, code := p.run(folder, env, step.Run)
			out += text
			ok = ok && code == 0
		}
	}
	if started != 1 {
		p.t.Fatalf("%s starts %d jobs", name, started)
	}
	text, err := os.ReadFile(page)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return out, string(text), ok
}

const meant = "!contains(github.event.pull_request.labels.*.name, 'breaking')"

func TestGitHub(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	server, token := p.server()
	values := map[string]string{"vars.POSTERN_SERVER": server, "secrets.POSTERN_TOKEN": token, "inputs.revision": "", meant: "true"}

	p.commit("more", more)
	out, summary, ok := p.event("pull_request", "more", values)
	contains(t, summary, "### API changes of shop", "| added | `GET /dog` |", "**not breaking**")
	if !ok {
		t.Errorf("what adds an operation is refused:\n%s", out)
	}
	p.commit("bad", bad)
	if out, _, ok := p.event("pull_request", "bad", values); ok {
		t.Errorf("what is no definition is taken:\n%s", out)
	}
	p.commit("less", less)
	out, summary, ok = p.event("pull_request", "less", values)
	contains(t, summary, "**breaking**")
	contains(t, out, "- GET /pet")
	if ok {
		t.Error("what takes an operation away is taken")
	}
	values[meant] = "false"
	if out, _, ok := p.event("pull_request", "less", values); !ok {
		t.Errorf("what is meant to break is refused:\n%s", out)
	}

	out, _, ok = p.event("push", "main", values)
	contains(t, out, "shop: deployed as revision 1", "pets/1.0.0  /pets", "live")
	if !ok {
		t.Fatal(out)
	}
	out, _, ok = p.event("push", "less", values)
	contains(t, out, "shop: deployed as revision 2")
	if !ok {
		t.Fatal(out)
	}
	out, _, ok = p.event("workflow_dispatch", "main", values)
	contains(t, out, "shop: rolled back to what revision 1 was, as revision 3", "3         served")
	if !ok {
		t.Fatal(out)
	}
	values["inputs.revision"] = "2"
	out, _, _ = p.event("workflow_dispatch", "main", values)
	contains(t, out, "to what revision 2 was, as revision 4")
	values["secrets.POSTERN_TOKEN"] = "wrong"
	out, _, ok = p.event("push", "main", values)
	contains(t, out, "does not take this token")
	if ok || strings.Contains(out, token) {
		t.Error(out)
	}
}
