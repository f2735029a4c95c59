package adapter

import (
	"cmp"
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Diff says what a push would change, for those who call the APIs and in the data plane. It tells no gateway anything.
// Its error is a *PushError, or what Push.Allowed said.
func (a *Adapter) Diff(ctx context.Context, p Push) (diff.Report, error) {
	one, err := a.preparePush(ctx, p, comparing)
	if err != nil {
		return diff.Report{}, err
	}
	defer one.end()
	report, err := one.compare()
	if err != nil {
		return report, err
	}
	err = one.try()
	for _, part := range one.parts {
		report.Resources = append(report.Resources, touched(part.answer.label, part.answer.delta)...)
	}
	return report, err
}

// compare compares the push with what the project is now, whatever its source.
func (p *push) compare() (diff.Report, error) {
	before, closer, err := p.adapter.sideOf(p.ctx, p.Project)
	if err != nil {
		return diff.Report{}, err
	}
	defer closer.Close() //nolint:errcheck // it was only read
	report, err := diff.Compare(before, diff.Side{Files: p.files, APIs: p.compiled.project.APIs})
	if err != nil {
		return report, &PushError{Reason: Invalid, Words: err.Error()}
	}
	report.Project = p.Project
	return report, nil
}

// sideOf is a project as it is now: nothing, if there is none or if it cannot be compiled now.
func (a *Adapter) sideOf(ctx context.Context, name string) (diff.Side, io.Closer, error) {
	var files fs.FS
	var closer io.Closer = io.NopCloser(nil)
	path := cmp.Or(a.names.owner(name), pushPath(name))
	if _, pushed := pushedName(path); pushed {
		current, err := a.pushes.store.Project(ctx, name)
		if err != nil || current.Current.Digest == "" {
			return diff.Side{}, closer, nil // there is nothing of it
		}
		archive, err := a.pushes.store.Archive(ctx, current.Current.Digest)
		if err != nil {
			return diff.Side{}, closer, storeError(err)
		}
		if files, err = project.OpenBytes(archive); err != nil {
			return diff.Side{}, closer, invalid(problemOf(err))
		}
	} else {
		var err error
		if files, closer, err = project.Open(path); err != nil {
			return diff.Side{}, io.NopCloser(nil), &PushError{Reason: Unavailable, Words: err.Error()}
		}
	}
	return diff.Side{Files: files, APIs: a.compileFiles(path, name, files, &memory{}).project.APIs}, closer, nil
}

// touched are the resources that a delta puts and removes.
func touched(label string, d translate.Delta) []diff.Touched {
	var all []diff.Touched
	for typeURL, changes := range map[string]translate.Changes{
		posternv1.PolicyType: d.Policies, posternv1.LimitsType: d.Limits,
		xds.ClusterType: d.Clusters, xds.ScopeType: d.Scopes, xds.RouteType: d.Routes,
	} {
		kind := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
		for _, r := range changes.Put {
			all = append(all, diff.Touched{Type: kind, Name: r.Name, Label: label, Action: "put"})
		}
		for _, name := range changes.Remove {
			all = append(all, diff.Touched{Type: kind, Name: name, Label: label, Action: "remove"})
		}
	}
	slices.SortFunc(all, func(a, b diff.Touched) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// breaking are a report's findings that break consumers, as problems.
func breaking(r diff.Report) []model.Problem {
	var problems []model.Problem
	for _, api := range r.APIs {
		for _, f := range api.Findings {
			if f.Severity != diff.Breaking {
				continue
			}
			about := api.ID()
			if f.Operation != "" {
				about += " " + f.Operation
			}
			origin := f.Origin
			if f.Before {
				origin = model.Origin{File: origin.File} // why: the place is one of the files as they were
			}
			problems = append(problems, model.Problem{Origin: origin, Code: "breaking-change", Message: about + ": " + f.Text})
		}
	}
	return problems
}
