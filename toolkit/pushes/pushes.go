// Package pushes tells people and machines what became of pushes: who serves it, or why nobody does and what to do next. It
// must not import the adapter's loop, the enforcer or the ratelimiter: it prints what the management API answered.
package pushes

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/report"
)

// Result is what became of one push.
type Result struct {
	Path    string `json:"path,omitempty"` // as it was named on the command line; "" is of no files here
	Project string `json:"project"`
	OK      bool   `json:"ok"`
	Exit    int    `json:"exit"`
	// Outcome is of a push that was taken.
	Outcome *api.Outcome `json:"outcome,omitempty"`
	// Rollout is the id of one that goes on.
	Rollout string `json:"rollout,omitempty"`
	// Failure is why it was not taken.
	Failure *Failure `json:"failure,omitempty"`

	DryRun bool `json:"dryRun,omitempty"`
	// Verb is what was done: "deployed", Undeployed, "rolled back".
	Verb string `json:"-"`
}

// Undeployed is the verb of what leaves nothing behind.
const Undeployed = "undeployed"

// Failure is why a push came to nothing.
type Failure struct {
	Code       string          `json:"code,omitempty"` // the server's; "" where it said nothing
	Detail     string          `json:"detail"`
	Revision   uint64          `json:"revision,omitempty"` // that is served as before
	RolledBack bool            `json:"rolledBack,omitempty"`
	Problems   []model.Problem `json:"problems,omitempty"`
	Gateways   []api.Verdict   `json:"gateways,omitempty"`
	Next       string          `json:"next,omitempty"` // what to do about it
	// Unknown: the answer did not come, and it may have been taken.
	Unknown bool `json:"unknown,omitempty"`
}

// FailureOf is a refusal of the server.
func FailureOf(r api.Refusal, project, path string) *Failure {
	return &Failure{
		Code: r.Code, Detail: r.Detail, Revision: r.Revision, RolledBack: r.RolledBack, Problems: Problems(r.Problems), Gateways: r.Gateways,
		Next: next(r, project, path),
	}
}

// Problems are those of an answer, as validation has them.
func Problems(problems []api.Problem) []model.Problem {
	var all []model.Problem
	for _, p := range problems {
		severity := model.Refused
		if p.Severity == "warning" {
			severity = model.Warning
		}
		all = append(all, model.Problem{
			Origin:   model.Origin{File: p.File, Line: p.Line, Column: p.Column, Pointer: p.Pointer},
			Severity: severity, Code: p.Code, Message: p.Message,
		})
	}
	return all
}

// next says what to do about a refusal of a code.
func next(r api.Refusal, project, path string) string {
	switch r.Code {
	case "invalid":
		if path == "" { // a rollback, to what was good once
			return "mend what is named above, or serve another revision: postern revisions " + project + " lists them"
		}
		return "mend what is named above and deploy it again; postern validate " + path + " says the same without a server"
	case "conflict":
		return "change one of the two places, or undeploy the other project; postern apis lists who has what"
	case "outdated":
		if path == "" {
			return "somebody else has deployed since: look at postern revisions " + project + ", then try again"
		}
		return "somebody else has deployed since: look at postern revisions " + project + " and postern diff " + path + ", then deploy again"
	case "breaking":
		if path == "" {
			return "see that nobody calls it any longer; --allow-breaking does it all the same, for an admin"
		}
		return "postern diff " + path + " has all of it; keep what consumers use beside the new, or give the API a new version and base path; --allow-breaking deploys it all the same, for an admin"
	case "refused", "probe-failed":
		return "mend what the gateway names and deploy it again; postern gateways shows the state of each"
	case "silent":
		if lost := inState(r.Gateways, api.GatewayStateLost); lost != "" {
			return lost + " went away meanwhile: deploy again when postern gateways shows it back, or gone for good, for then nobody waits for it"
		}
		return "postern gateways shows who is silent; wait for longer (--wait), or for fewer (--require percent:N)"
	case "busy":
		return "try again when the other pushes are through, or with a longer --wait"
	case "unavailable":
		if strings.Contains(r.Detail, syscall.ENOSPC.Error()) {
			return "free space in the adapter's dataDir, then try again"
		}
		return "try again; the adapter's log says more"
	case "unknown":
		return "postern apis lists what there is, postern revisions NAME the states of a project"
	}
	return ""
}

// inState are the ids of the gateways in a state; "" is none.
func inState(gateways []api.Verdict, state api.GatewayState) string {
	var ids []string
	for _, g := range gateways {
		if g.State == state {
			ids = append(ids, g.ID)
		}
	}
	return strings.Join(ids, ", ")
}

// Write writes results as "text" or "json", or their problems as "junit" or "sarif".
func Write(w io.Writer, format string, results []Result) error {
	switch format {
	case "text":
		return text(w, results)
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	all := make([]report.Project, len(results))
	for i, r := range results {
		all[i] = r.report()
	}
	return report.Write(w, format, all)
}

// report is a result as validation's formats have it. What was refused without a problem of its own is one.
func (r Result) report() report.Project {
	p := report.Project{Path: r.Path, Name: r.Project, Valid: r.OK, APIs: []report.API{}, Problems: []model.Problem{}}
	if r.Outcome != nil {
		p.Problems = append(p.Problems, Problems(r.Outcome.Warnings)...)
	}
	if r.Failure == nil {
		return p
	}
	p.Problems = append(p.Problems, r.Failure.Problems...)
	if !model.Refusing(p.Problems) {
		code := r.Failure.Code
		if code == "" {
			code = "unreachable"
		}
		p.Problems = append(p.Problems, model.Problem{Code: code, Message: r.Failure.Detail})
	}
	return p
}

func text(w io.Writer, results []Result) error {
	var b strings.Builder
	for _, r := range results {
		r.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) write(b *strings.Builder) {
	switch {
	case r.Failure != nil:
		r.failure(b)
	case r.Rollout != "":
		fmt.Fprintf(b, "%s: begun as rollout %s, which goes on; postern apis --project %s tells what became of it\n", r.Project, r.Rollout, r.Project)
	case r.Outcome != nil:
		r.outcome(b)
	}
}

func (r Result) outcome(b *strings.Builder) {
	o := r.Outcome
	for _, p := range Problems(o.Warnings) {
		fmt.Fprintf(b, "%s: %s\n", p.Severity, report.At(r.Path, p).Error())
	}
	switch {
	case r.DryRun:
		fmt.Fprintf(b, "%s: would be %s; nothing was told to a gateway\n", r.Project, r.Verb)
	case o.Unchanged && o.Revision == 0:
		fmt.Fprintf(b, "%s: nothing of it was served\n", r.Project)
	case o.Unchanged:
		fmt.Fprintf(b, "%s: unchanged, revision %d\n", r.Project, o.Revision)
	case o.Revision == 0 || r.Verb == Undeployed: // there is nothing that the revision would be of
		fmt.Fprintf(b, "%s: %s\n", r.Project, r.Verb)
	default:
		fmt.Fprintf(b, "%s: %s as revision %d%s\n", r.Project, r.Verb, o.Revision, nobody(o))
	}
	for _, a := range o.Apis {
		state := ""
		if a.State != "" && a.State != "deployed" {
			state = ", " + string(a.State)
		}
		fmt.Fprintf(b, "  %s/%s at %s%s\n", a.Name, a.Version, a.BasePath, state)
	}
	gatewayLines(b, o.Gateways)
}

// nobody says that no Envoy serves a push, which is no failure, unless a warning has said so.
func nobody(o *api.Outcome) string {
	served := slices.ContainsFunc(o.Gateways, func(g api.Verdict) bool { return g.Role == "envoy" && g.State == api.GatewayStateServing })
	told := slices.ContainsFunc(o.Warnings, func(p api.Problem) bool { return p.Code == "no-gateway" })
	if served || told || !o.Committed {
		return ""
	}
	return "; no gateway of its labels that takes requests is connected, and those that come get it"
}

func (r Result) failure(b *strings.Builder) {
	f := r.Failure
	for _, p := range f.Problems {
		fmt.Fprintf(b, "%s: %s\n", p.Severity, report.At(r.Path, p).Error())
	}
	if f.Unknown {
		fmt.Fprintf(b, "%s: perhaps %s, perhaps not: %s\n", r.Project, r.Verb, f.summary())
	} else {
		fmt.Fprintf(b, "%s: not %s: %s\n", r.Project, r.Verb, f.summary())
	}
	gatewayLines(b, f.Gateways)
	switch {
	case f.Unknown:
	case f.Revision > 0:
		fmt.Fprintf(b, "  revision %d is served as before\n", f.Revision)
	case f.RolledBack:
		b.WriteString("  it was taken back everywhere\n")
	case f.Next != "":
		b.WriteString("  nothing has changed at the gateways\n")
	}
	if f.Next != "" {
		fmt.Fprintf(b, "  next: %s\n", f.Next)
	}
}

// summary is the detail, but for what the problems have said already.
func (f *Failure) summary() string {
	if len(f.Problems) == 0 || !strings.Contains(f.Detail, f.Problems[0].Message) {
		return f.Detail
	}
	if len(f.Problems) == 1 {
		return "it has a problem"
	}
	return fmt.Sprintf("it has %d problems", len(f.Problems))
}

func gatewayLines(b *strings.Builder, gateways []api.Verdict) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, g := range gateways {
		detail := ""
		if g.Detail != "" {
			detail = "\t" + g.Detail
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s%s\n", g.ID, g.Role, g.Label, g.State, detail)
	}
	_ = t.Flush() // a builder takes everything
}

// Summary is several results in a line.
func Summary(results []Result) string {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	return fmt.Sprintf("%d of %d projects went well", len(results)-failed, len(results))
}
