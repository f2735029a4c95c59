package adapter

import (
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
)

// short is a digest as people see it.
func short(digest string) string { return digest[:min(len(digest), 8)] }

// show brings an API's place on the board up to date.
func (l *loop) show(r ref) {
	want, wanted := l.wanted[r]
	is, serves := l.live[r.id]
	serves = serves && is.path == r.path
	s := APIStatus{ID: r.id, Label: l.name, Path: r.path, Words: l.words(r)}
	if serves {
		s.API = &is.api
		s.Project, s.BasePath, s.Revision = is.api.Project, is.api.BasePath, short(is.revision.revision)
	} else {
		s.Project, s.BasePath = want.api.Project, want.api.BasePath
	}
	switch {
	case !wanted && !serves:
		if delete(l.apis[r.path], r.id); len(l.apis[r.path]) == 0 {
			delete(l.apis, r.path)
		}
		delete(l.refused, r)
		delete(l.blocked, r)
		l.board.without(r)
		return
	case serves && s.Words != "":
		s.State = Stale
	case serves:
		s.State = Live
	case s.Words != "":
		s.State = Rejected
	default:
		return // on its way
	}
	l.board.api(r, s)
}

// words say why an API is not served as its source has it.
func (l *loop) words(r ref) string {
	if why := l.broken[r.path]; why != "" {
		return why
	}
	if why := l.blocked[r]; why != "" {
		return why
	}
	if why, ok := l.refused[r]; ok && why.revision == l.wanted[r].revision {
		return why.words
	}
	return ""
}

// at is where a problem is.
func at(path string, p model.Problem) string {
	where := place(path, p.Origin)
	if p.Pointer != "" {
		where += " " + p.Pointer
	}
	return where
}

// firstRefusal is the line that stands for all of a project's problems.
func firstRefusal(path string, problems []model.Problem) string {
	for _, p := range problems {
		if p.Severity == model.Refused {
			return at(path, p) + ": " + p.Message
		}
	}
	return ""
}

// besides are the problems without the first that refuses, which firstRefusal tells.
func besides(problems []model.Problem) []model.Problem {
	first := slices.IndexFunc(problems, func(p model.Problem) bool { return p.Severity == model.Refused })
	if first < 0 {
		return problems
	}
	return slices.Delete(slices.Clone(problems), first, first+1)
}

// problemsOf are those of one step's API; of several projects' equally named files it may take too many.
func problemsOf(s step, problems []model.Problem) []model.Problem {
	if s.to == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(problems), func(p model.Problem) bool { return p.File != s.to.api.Origin.File })
}

// logCommit says what is served now: a line an API, while they are few.
func (l *loop) logCommit(f *flight, r publish.Result) {
	const few = 20
	log := l.log.With("took", time.Since(f.began).Round(time.Millisecond))
	switch {
	case r.Unseen:
		log = log.With("gateways", "none connected")
	case r.Pending:
		log = log.With("gateways", "not all answered")
	}
	if len(f.steps) > few {
		log.Info("apis published", "count", len(f.steps))
		return
	}
	for _, s := range f.steps {
		if s.to == nil {
			log.Info("api removed", "api", s.ref.id, "project", s.ref.path)
			continue
		}
		log.Info("api published", "api", s.ref.id, "project", s.ref.path, "revision", short(s.to.revision))
	}
}
