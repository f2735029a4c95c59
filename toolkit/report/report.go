// Package report writes what was found in projects in the formats that people, editors and CI read. It must not import
// the enforcer or the ratelimiter, nor of the adapter more than its model.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// Project is what was found in one.
type Project struct {
	Path     string          `json:"path"` // as it was named on the command line
	Name     string          `json:"name"`
	Valid    bool            `json:"valid"`
	APIs     []API           `json:"apis"`
	Problems []model.Problem `json:"problems"`
}

// API is one that the project would serve.
type API struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	BasePath   string `json:"basePath"`
	Operations int    `json:"operations"`
	// Aliases are base paths it is served at, too; State is its state.
	Aliases []string `json:"aliases,omitempty"`
	State   string   `json:"state,omitempty"`
	File    string   `json:"file,omitempty"` // its definition, in the project
}

// Of gathers what Compile found under a path.
func Of(path string, p model.Project, problems []model.Problem) Project {
	r := Project{Path: path, Name: p.Name, Valid: !model.Refusing(problems), APIs: []API{}, Problems: problems}
	if r.Problems == nil {
		r.Problems = []model.Problem{} // an empty list in JSON, not null
	}
	for _, a := range p.APIs {
		r.APIs = append(r.APIs, API{a.Name, a.Version, a.BasePath, len(a.Operations), a.Aliases, string(a.State), a.Origin.File})
	}
	return r
}

// Formats are the names Write knows.
var Formats = []string{"text", "json", "junit", "sarif"}

// Write writes in one of Formats.
func Write(w io.Writer, format string, projects []Project) error {
	switch format {
	case "text":
		return text(w, projects)
	case "json":
		return indented(w, projects)
	case "junit":
		return junit(w, projects)
	case "sarif":
		return sarif(w, projects)
	}
	return fmt.Errorf("unknown format %q; choose one of %s", format, strings.Join(Formats, ", "))
}

// At is a problem with its file as seen from where the command was called.
func At(project string, p model.Problem) model.Problem {
	if strings.HasSuffix(project, ".zip") {
		project += "!" // the file is inside the archive
	}
	p.File = path.Join(project, p.File)
	return p
}

func text(w io.Writer, projects []Project) error {
	var b strings.Builder
	for _, r := range projects {
		refusals, warnings := 0, 0
		for _, p := range r.Problems {
			if p.Severity == model.Refused {
				refusals++
			} else {
				warnings++
			}
			fmt.Fprintf(&b, "%s: %s\n", p.Severity, At(r.Path, p).Error())
		}
		switch {
		case !r.Valid:
			fmt.Fprintf(&b, "%s: invalid: %s\n", r.Path, tally(refusals, warnings))
		default:
			fmt.Fprintf(&b, "%s: valid: %s%s\n", r.Path, strings.Join(served(r.APIs), ", "), after(tally(refusals, warnings)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func served(apis []API) []string {
	names := make([]string, len(apis))
	for i, a := range apis {
		about := count(a.Operations, "operation")
		if a.State != "" && a.State != string(model.Deployed) {
			about += ", " + a.State
		}
		names[i] = fmt.Sprintf("%s/%s at %s (%s)", a.Name, a.Version, strings.Join(append([]string{a.BasePath}, a.Aliases...), " and "), about)
	}
	return names
}

func tally(refusals, warnings int) string {
	var parts []string
	if refusals > 0 {
		parts = append(parts, count(refusals, "error"))
	}
	if warnings > 0 {
		parts = append(parts, count(warnings, "warning"))
	}
	return strings.Join(parts, ", ")
}

func after(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func indented(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
