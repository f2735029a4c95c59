package rest

import (
	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

func problemsOf(problems []model.Problem) []api.Problem {
	list := make([]api.Problem, len(problems))
	for i, p := range problems {
		list[i] = api.Problem{
			File: p.File, Line: p.Line, Column: p.Column, Pointer: p.Pointer,
			Severity: api.ProblemSeverity(p.Severity.String()), Code: p.Code, Message: p.Message,
		}
	}
	return list
}

func verdictsOf(verdicts []publish.Verdict) []api.Verdict {
	list := make([]api.Verdict, len(verdicts))
	for i, v := range verdicts {
		list[i] = api.Verdict{ID: v.Gateway, Role: v.Role, Label: v.Label, State: api.GatewayState(v.State), Detail: v.Detail}
	}
	return list
}

func pushedOf(apis []adapter.PushedAPI) []api.PushedAPI {
	list := make([]api.PushedAPI, len(apis))
	for i, a := range apis {
		list[i] = api.PushedAPI{Name: a.Name, Version: a.Version, BasePath: a.BasePath, State: lifecycleOf(a.State)}
	}
	return list
}

// lifecycleOf says the state that the zero value means.
func lifecycleOf(l model.Lifecycle) api.Lifecycle {
	if l == "" {
		l = model.Deployed
	}
	return api.Lifecycle(l)
}

func outcomeOf(o adapter.Outcome) api.Outcome {
	return api.Outcome{
		Project: o.Project, Rollout: o.Rollout, Revision: o.Revision, Digest: o.Digest,
		Created: o.Created, Unchanged: o.Unchanged, Committed: o.Committed, RolledBack: o.RolledBack,
		Apis: pushedOf(o.APIs), Gateways: verdictsOf(o.Gateways), Warnings: problemsOf(o.Warnings),
	}
}

func projectOf(p adapter.ProjectInfo) api.Project {
	return api.Project{
		Name: p.Name, Source: p.Source, Labels: listed(p.Labels), Revision: p.Revision, Digest: p.Digest, Author: p.Author, At: p.At,
		State: api.APIState(p.State), Detail: p.Words, Apis: pushedOf(p.APIs), Problems: problemsOf(p.Problems),
	}
}

func revisionOf(r adapter.RevisionInfo) api.Revision {
	return api.Revision{
		Revision: r.Number, Digest: r.Digest, Labels: listed(r.Labels), Author: r.Author, At: r.At,
		Apis: pushedOf(r.APIs), Current: r.Current, Undeployed: r.Digest == "",
	}
}

func rolloutOf(r adapter.RolloutInfo) api.Rollout {
	a := api.Rollout{
		ID: r.ID, Project: r.Project, Author: r.Author, Began: r.Began, Deadline: r.Deadline, Ended: r.Ended,
		State: api.Running, Outcome: outcomeOf(r.Outcome),
	}
	if a.Outcome.Project == "" {
		a.Outcome.Project = r.Project
	}
	switch {
	case r.Err != nil:
		a.State = api.Failed
		a.Failure = refusalOf(r.Err).Refusal
		a.Failure.Instance = "urn:postern:rollout:" + r.ID
	case !r.Ended.IsZero():
		a.State = api.Committed
	}
	return a
}

// listed is a list that is written as one, though it may be empty.
func listed(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
