package rest

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

var projectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,254}$`)

// project is the name in the path.
func (c *call) project() (string, error) {
	name := c.params["name"]
	if !projectName.MatchString(name) {
		return "", badRequest("%.64q cannot be a project's name; use letters, digits and . _ ~ -, a letter or digit first", name)
	}
	return name, nil
}

// seen is the project in the path, if the caller may see it.
func (c *call) seen() (adapter.ProjectInfo, error) {
	name, err := c.project()
	if err != nil {
		return adapter.ProjectInfo{}, err
	}
	p, err := c.Gateway.Project(c.r.Context(), name)
	if err == nil && !c.caller.Grants.Sees(p.Labels...) {
		err = unseen("project", name)
	}
	return p, c.hide(err, "project", name)
}

// hide makes one that is not there look like one that the caller may not see.
func (c *call) hide(err error, kind, name string) error {
	if p := new(adapter.PushError); errors.As(err, &p) && p.Reason == adapter.Unknown && !c.caller.Grants.Sees() {
		return unseen(kind, name)
	}
	return err
}

// hideOf is hide for what a call says of a project, which is for those who may see the project.
func (c *call) hideOf(err error, kind, name string) error {
	if hidden := c.hide(err, kind, name); hidden != err { //nolint:errorlint // the same one or another
		if p, e := c.Gateway.Project(c.r.Context(), name); e != nil || !c.caller.Grants.Sees(p.Labels...) {
			return hidden
		}
	}
	return err
}

// unseen is not 403: that it is there is not for everybody either.
func unseen(kind, name string) error {
	return refuse(http.StatusNotFound, string(adapter.Unknown), "there is no %s %.300s among what you may see", kind, name)
}

func (c *call) listProjects() error {
	limit, err := c.limit()
	if err != nil {
		return err
	}
	visible := func(labels []string) bool { return c.caller.Grants.Sees(labels...) }
	page, more, err := c.Gateway.Projects(c.r.Context(), c.query.Get("after"), limit, visible)
	if err != nil {
		return err
	}
	list := api.ProjectList{Projects: []api.Project{}}
	for _, p := range page {
		list.Projects = append(list.Projects, projectOf(c.shown(p)))
	}
	if more {
		c.next(page[len(page)-1].Name)
	}
	return c.answer(http.StatusOK, list)
}

func (c *call) getProject() error {
	p, err := c.seen()
	if err != nil {
		return err
	}
	if p.Revision > 0 {
		// why not 304, too: what a project is in may change without a push, and its revision does not tell
		c.w.Header().Set("ETag", etag(p.Revision))
	}
	return c.answer(http.StatusOK, projectOf(c.shown(p)))
}

// shown is a project without what labels say of it that the caller may not see: they may name others of them.
func (c *call) shown(p adapter.ProjectInfo) adapter.ProjectInfo {
	hidden, seen := false, ""
	for _, label := range slices.Sorted(maps.Keys(p.WordsAt)) {
		if words := p.WordsAt[label]; c.caller.Grants.Sees(label) {
			seen = cmp.Or(seen, words)
		} else {
			hidden = hidden || words == p.Words
		}
	}
	if hidden {
		p.Words = seen
	}
	return p
}

func (c *call) getArchive() error {
	name, err := c.project()
	if err != nil {
		return err
	}
	number, err := c.number("revision")
	if err != nil {
		return err
	}
	archive, revision, err := c.Gateway.Archive(c.r.Context(), name, number)
	if err != nil {
		return c.hideOf(err, "revision of", name)
	}
	if !c.caller.Grants.Sees(revision.Labels...) { // why not the project's: it may have had others then
		return unseen("revision of", name)
	}
	if c.unchanged(revision.Number) {
		return nil
	}
	if err := c.reserve(int64(len(archive)), 0); err != nil { // why: a caller may take it slowly
		return err
	}
	c.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.zip"`)
	c.send(http.StatusOK, "application/zip", archive)
	return nil
}

func (c *call) listRevisions() error {
	name, err := c.project()
	if err != nil {
		return err
	}
	revisions, err := c.Gateway.Revisions(c.r.Context(), name)
	if err != nil {
		return c.hideOf(err, "project", name)
	}
	list := api.RevisionList{Revisions: []api.Revision{}}
	for _, r := range revisions {
		if c.caller.Grants.Sees(r.Labels...) {
			list.Revisions = append(list.Revisions, revisionOf(r))
		}
	}
	if len(list.Revisions) == 0 {
		return unseen("project", name)
	}
	return c.answer(http.StatusOK, list)
}

func (c *call) diffProject() error {
	name, err := c.project()
	if err != nil {
		return err
	}
	archive, err := c.archive()
	if err != nil {
		return err
	}
	release, err := c.pushSlot()
	if err != nil {
		return err
	}
	defer release()
	report, err := c.Gateway.Diff(c.r.Context(), adapter.Push{Project: name, Archive: archive, Author: c.caller.Name, Allowed: c.allowed})
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, report)
}

// allowed is asked about the labels that a project has now and before.
func (c *call) allowed(labels []string) error { return c.mayAtAll(access.Deployer, labels) }
