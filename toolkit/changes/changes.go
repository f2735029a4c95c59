// Package changes prints what a change of a project means for its consumers. It must not import the adapter's loop, the
// enforcer or the ratelimiter: it prints the report that adapter/diff made, here or on a server.
package changes

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/postern-gateway/postern/adapter/diff"
)

// Formats are the names Write knows.
var Formats = []string{"text", "json", "markdown"}

// Sides say where the two states of a project are, for places in them: a path, as on the command line, or words such as
// "revision 7".
type Sides struct{ Before, After string }

// Write writes in one of Formats.
func Write(w io.Writer, format string, r diff.Report, s Sides) error {
	switch format {
	case "text":
		return text(w, r, s)
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	case "markdown":
		return markdown(w, r, s)
	}
	return fmt.Errorf("unknown format %q; choose one of %s", format, strings.Join(Formats, ", "))
}

var signs = map[diff.Change]string{diff.Added: "+", diff.Removed: "-", diff.Changed: "~"}

func text(w io.Writer, r diff.Report, s Sides) error {
	var b strings.Builder
	for _, a := range r.APIs {
		fmt.Fprintf(&b, "%s %s\n", signs[a.Change], headline(a))
		for _, o := range a.Operations {
			fmt.Fprintf(&b, "  %s %s%s\n", signs[o.Change], o.ID(), list(": ", o.What))
		}
		for _, f := range a.Findings {
			fmt.Fprintf(&b, "  %s: %s\n", f.Severity, sentence(f, s))
		}
	}
	for _, line := range touched(r.Resources) {
		fmt.Fprintf(&b, "data plane: %s\n", line)
	}
	fmt.Fprintln(&b, verdict(r))
	_, err := io.WriteString(w, b.String())
	return err
}

// headline is an API and what of it as a whole is another.
func headline(a diff.API) string {
	s := fmt.Sprintf("%s at %s", a.ID(), a.BasePath)
	if a.Was != "" {
		s += ", which was " + a.Was
	}
	return s + list(": ", a.What)
}

func list(before string, words []string) string {
	if len(words) == 0 {
		return ""
	}
	return before + strings.Join(words, ", ")
}

// sentence is a finding in one line, as those of a validation are.
func sentence(f diff.Finding, s Sides) string {
	side := s.After
	if f.Before {
		side = s.Before
	}
	place := f.Origin
	place.Pointer = "" // why: the operation says it
	place.File = within(side, place.File)
	line := f.Text + " [" + f.Rule + "]"
	if f.Operation != "" {
		line = f.Operation + ": " + line
	}
	if place.File != "" {
		line = place.String() + ": " + line
	}
	return line
}

// within is a file of a project as seen from where the command was called.
func within(side, file string) string {
	switch {
	case file == "" || side == "":
		return file
	case strings.HasSuffix(side, ".zip"):
		return side + "!/" + file
	case strings.Contains(side, " "): // words, and no path
		return side + ", " + file
	}
	return path.Join(side, file)
}

// touched counts the resources of each type and label.
func touched(resources []diff.Touched) []string {
	type kind struct{ action, typ, label string }
	count := map[kind]int{}
	var order []kind
	for _, r := range resources {
		k := kind{r.Action, r.Type, r.Label}
		if count[k]++; count[k] == 1 {
			order = append(order, k)
		}
	}
	lines := make([]string, len(order))
	for i, k := range order {
		lines[i] = fmt.Sprintf("%s %d %s for label %s", k.action, count[k], k.typ, k.label)
	}
	return lines
}

// verdict says it all in a line.
func verdict(r diff.Report) string {
	breaking, warnings := tally(r)
	switch {
	case len(r.APIs) == 0:
		return "nothing changes for consumers"
	case breaking > 0:
		return fmt.Sprintf("breaking: %s for consumers%s", count(breaking, "change breaks something", "changes break something"), also(warnings))
	}
	return "not breaking" + also(warnings)
}

func also(warnings int) string {
	if warnings == 0 {
		return ""
	}
	return "; " + count(warnings, "warning", "warnings")
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func tally(r diff.Report) (breaking, warnings int) {
	for _, a := range r.APIs {
		for _, f := range a.Findings {
			switch f.Severity {
			case diff.Breaking:
				breaking++
			case diff.Warning:
				warnings++
			}
		}
	}
	return breaking, warnings
}

// markdown is for comments on a change: what is long is folded away.
func markdown(w io.Writer, r diff.Report, s Sides) error {
	var b strings.Builder
	title := "API changes"
	if r.Project != "" {
		title += " of " + escape(r.Project)
	}
	fmt.Fprintf(&b, "### %s\n\n**%s**\n", title, verdict(r))
	for _, a := range r.APIs {
		fmt.Fprintf(&b, "\n#### %s: %s\n", a.Change, escape(headline(a)))
		if len(a.Operations) > 0 {
			b.WriteString("\n| | operation | what |\n|---|---|---|\n")
		}
		for _, o := range a.Operations {
			what := strings.Join(o.What, ", ")
			if o.Breaking {
				what = strings.TrimPrefix(what+", **breaking**", ", ")
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s |\n", o.Change, strings.ReplaceAll(o.ID(), "`", "'"), what)
		}
		details(&b, a, s)
	}
	if lines := touched(r.Resources); len(lines) > 0 {
		fmt.Fprintf(&b, "\nData plane: %s.\n", strings.Join(lines, "; "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func details(b *strings.Builder, a diff.API, s Sides) {
	var infos []string
	b.WriteString("\n")
	for _, f := range a.Findings {
		line := escape(sentence(f, s))
		if f.Severity == diff.Info {
			infos = append(infos, line)
			continue
		}
		fmt.Fprintf(b, "- **%s**: %s\n", f.Severity, line)
	}
	if len(infos) > 0 {
		fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n- %s\n\n</details>\n", count(len(infos), "change that breaks nobody", "changes that break nobody"), strings.Join(infos, "\n- "))
	}
}

// escape keeps what definitions say from being markup: a report is shown where others are trusted.
func escape(s string) string {
	return strings.NewReplacer("<", "&lt;", "|", `\|`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "\n", " ").Replace(s)
}
