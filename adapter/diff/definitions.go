package diff

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3conv"
	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/flatten/allof"
	"github.com/oasdiff/oasdiff/load"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

// definitions is what two definitions differ in. Operations are known by keyOf.
type definitions struct {
	findings []Finding
	changed  map[string]bool // the operations of which something is not as it was
	judged   map[string]bool // those that are gone, of which a finding says what that means, or none that nobody minds
}

// definitionsOf compares an API's definitions. The error is that one of them cannot be read.
func definitionsOf(c *comparison, before, after fs.FS) (definitions, error) {
	if same(before, c.before.Origin.File, after, c.after.Origin.File) {
		return definitions{}, nil
	}
	was, err := read(before, c.before)
	if err != nil {
		return definitions{}, err
	}
	is, err := read(after, c.after)
	if err != nil {
		return definitions{}, err
	}
	d, err := compare(was, is)
	if err != nil {
		d = definitions{findings: []Finding{{
			Rule: "not-compared", Severity: Breaking, Origin: c.after.Origin,
			Text: fmt.Sprintf("the definitions cannot be compared, so that what is in them counts as breaking: %v", err),
		}}}
	}
	d.place(c)
	return d, nil
}

// elsewhere finds a reference to another file, or what may be one.
var elsewhere = regexp.MustCompile(`\$ref['"]?\s*:\s*([^\s'"#]|['"][^#])|\\(x|u00|U000000)24`)

// same says, without reading what they say, that two definitions cannot differ: their bytes are the same, and nothing in them
// leads to another file. Most of a large project is told so.
func same(before fs.FS, was string, after fs.FS, is string) bool {
	old, err := fs.ReadFile(before, was)
	if err != nil {
		return false
	}
	now, err := fs.ReadFile(after, is)
	return err == nil && bytes.Equal(old, now) && !elsewhere.Match(now)
}

// read is an API's definition, in a form that does not depend on the version of OpenAPI it is written in.
func read(files fs.FS, a *model.API) (*openapi3.T, error) {
	t, err := project.Definition(files, a.Origin.File)
	if err != nil {
		return nil, fmt.Errorf("compare %s: read %s: %w", a.ID(), a.Origin.File, err)
	}
	openapi3conv.Upgrade(t)
	for _, item := range t.Paths.Map() {
		for _, o := range item.Operations() {
			sunset(o, item, t)
		}
	}
	return t, nil
}

// sunset tells oasdiff when an operation ends, of which it knows another name.
func sunset(o *openapi3.Operation, item *openapi3.PathItem, t *openapi3.T) {
	for _, at := range []map[string]any{o.Extensions, item.Extensions, t.Extensions} {
		if date, said := at["x-postern-sunset"]; said {
			if o.Extensions == nil {
				o.Extensions = map[string]any{}
			}
			o.Extensions[diff.SunsetExtension] = date
			return
		}
	}
}

// compare has oasdiff do it.
func compare(before, after *openapi3.T) (d definitions, err error) {
	defer func() { // the library is somebody else's and the input a stranger's
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	found, changes, err := changesOf(before, after)
	if err != nil {
		return d, err
	}
	d = definitions{changed: map[string]bool{}, judged: map[string]bool{}}
	d.touched(found)
	words := checker.NewDefaultLocalizer()
	partly := false
	for _, change := range changes {
		if ignored(change.GetId()) {
			continue
		}
		d.findings = append(d.findings, findingOf(change, words))
		partly = partly || len(change.GetDisclaimers()) > 0
	}
	if partly {
		d.merge(before, after)
	}
	return d, nil
}

func changesOf(before, after *openapi3.T) (*diff.Diff, checker.Changes, error) {
	// why without examples: they promise nothing
	config := diff.NewConfig(diff.WithExcludeElements([]string{diff.ExcludeExamplesOption, diff.ExcludeExtensionsOption}))
	found, sources, err := diff.GetWithOperationsSourcesMap(config, &load.SpecInfo{Spec: before}, &load.SpecInfo{Spec: after})
	if err != nil {
		return nil, nil, err
	}
	return found, checker.CheckBackwardCompatibilityUntilLevel(checker.NewConfig(checker.GetAllChecks()), found, sources, checker.INFO), nil
}

// merge judges anew what was found inside an allOf, of which each part was looked at by itself: one merged knows what holds
// all the same, but no places any more.
func (d *definitions) merge(before, after *openapi3.T) {
	was, err := allof.MergeSpec(before)
	if err != nil {
		return
	}
	is, err := allof.MergeSpec(after)
	if err != nil {
		return
	}
	_, changes, err := changesOf(was, is)
	if err != nil {
		return
	}
	type what struct{ rule, operation string }
	breaking := map[what]bool{}
	for _, change := range changes {
		if change.IsBreaking() {
			breaking[what{change.GetId(), operationOf(change)}] = true
		}
	}
	for i, f := range d.findings {
		if f.Severity == Warning && breaking[what{f.Rule, f.Operation}] {
			d.findings[i].Severity = Breaking
		}
	}
}

// ignored are the rules that are not oasdiff's to judge, for what the gateway asks of callers is what the API was compiled
// to, and those that say what everybody sees.
func ignored(rule string) bool {
	return strings.HasPrefix(rule, "api-security") || strings.HasPrefix(rule, "api-global-security") || rule == "endpoint-added"
}

func operationOf(change checker.Change) string {
	if change.GetPath() == "" {
		return ""
	}
	return change.GetOperation() + " " + change.GetPath()
}

// touched notes which operations are not as they were.
func (d *definitions) touched(found *diff.Diff) {
	if found == nil || found.PathsDiff == nil {
		return
	}
	gone := func(path, method string) { d.judged[keyOf(model.Operation{Method: method, Path: path})] = true }
	for _, path := range found.PathsDiff.Deleted {
		for method := range found.PathsDiff.Base.Value(path).Operations() {
			gone(path, method)
		}
	}
	for path, item := range found.PathsDiff.Modified {
		if item.OperationsDiff == nil {
			continue
		}
		for _, method := range item.OperationsDiff.Deleted {
			gone(path, method)
		}
		for method := range item.OperationsDiff.Modified {
			d.changed[keyOf(model.Operation{Method: method, Path: path})] = true
		}
	}
}

func findingOf(change checker.Change, words checker.Localizer) Finding {
	f := Finding{
		Rule: change.GetId(), Severity: severityOf(change.GetLevel()), Operation: operationOf(change),
		Text: change.GetUncolorizedText(words),
	}
	if comment := change.GetComment(words); !strings.Contains(comment, "--") { // those are for oasdiff's own users
		f.Why = comment
	}
	source := change.GetRevisionSource()
	if source == nil || source.Line == 0 {
		if was := change.GetBaseSource(); was != nil && was.Line > 0 {
			source, f.Before = was, true
		}
	}
	if source != nil && source.Line > 0 {
		f.Origin = model.Origin{File: path.Clean(source.File), Line: source.Line, Column: source.Column}
	}
	return f
}

func severityOf(level checker.Level) Severity {
	switch level {
	case checker.ERR:
		return Breaking
	case checker.WARN:
		return Warning
	}
	return Info
}

// place gives the findings that have none the place of their operation, or of the definition.
func (d *definitions) place(c *comparison) {
	now, was := map[string]model.Origin{}, map[string]model.Origin{}
	for _, o := range c.before.Operations {
		was[keyOf(o)] = o.Origin
	}
	for _, o := range c.after.Operations {
		now[keyOf(o)] = o.Origin
	}
	for i, f := range d.findings {
		if f.Line > 0 {
			continue
		}
		key := keyNamed(f.Operation)
		d.findings[i].Origin = c.after.Origin
		if at, there := now[key]; there {
			d.findings[i].Origin = at
		} else if at, there := was[key]; there {
			d.findings[i].Origin, d.findings[i].Before = at, true
		}
	}
}
