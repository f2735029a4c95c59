package rest

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

func (c *call) putProject() error {
	p, background, err := c.push()
	if err != nil {
		return err
	}
	if p.Archive, err = c.archive(); err != nil {
		return err
	}
	return c.roll(p, background)
}

func (c *call) deleteProject() error {
	p, background, err := c.push()
	if err != nil {
		return err
	}
	if p.Now, err = c.flag("now"); err != nil {
		return err
	}
	if p.IfNone {
		return badRequest("If-None-Match makes no sense where something is removed")
	}
	return c.roll(p, background)
}

func (c *call) rollBack() error {
	p, background, err := c.push()
	if err != nil {
		return err
	}
	if p.IfNone {
		return badRequest("If-None-Match makes no sense where an earlier revision is returned to")
	}
	var wish api.Rollback
	if err := c.object(&wish); err != nil {
		return err
	}
	if wish.Revision == 0 {
		return badRequest("the body says no revision; write {\"revision\": 7}")
	}
	p.Revision = wish.Revision
	return c.roll(p, background)
}

// push is what all that makes a rollout has in common.
func (c *call) push() (p adapter.Push, background bool, err error) {
	p = adapter.Push{Author: c.caller.Name, Allowed: c.allowed}
	if p.Project, err = c.project(); err != nil {
		return p, false, err
	}
	if p.Wait, background, err = c.wait(); err != nil {
		return p, false, err
	}
	if p.Require, err = c.requirement(); err != nil {
		return p, false, err
	}
	if p.DryRun, err = c.flag("dry-run"); err != nil {
		return p, false, err
	}
	if p.DryRun && background {
		return p, false, badRequest("dry-run has an answer at once, and wait=0 asks for none")
	}
	if p.AllowBreaking, err = c.breaking(); err != nil {
		return p, false, err
	}
	if p.AllowBreaking {
		p.Allowed = func(labels []string) error { return c.mayAtAll(access.Admin, labels) }
	}
	c.note.DryRun, c.note.Breaking = p.DryRun, p.AllowBreaking
	return p, background, c.conditions(c.r.Context(), &p)
}

// roll makes a rollout of a push, and answers with what became of it. One that has begun goes on though the caller hangs up:
// he could not tell otherwise how far it had come.
func (c *call) roll(p adapter.Push, background bool) error {
	release, err := c.pushSlot()
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.r.Context())
	if background {
		return c.rollLater(ctx, p, release)
	}
	defer release()
	outcome, err := c.Gateway.Push(ctx, p)
	if err != nil {
		return c.hideOf(err, "project", p.Project)
	}
	return c.rolled(p, outcome)
}

// rolled answers with what has become of a push.
func (c *call) rolled(p adapter.Push, o adapter.Outcome) error {
	c.note.Revision, c.note.Digest, c.note.Rollout = o.Revision, o.Digest, o.Rollout
	if o.Revision > 0 && !p.DryRun {
		c.w.Header().Set("ETag", etag(o.Revision))
	}
	status := http.StatusOK
	if o.Created && !p.DryRun && c.r.Method == http.MethodPut {
		status = http.StatusCreated
	}
	return c.answer(status, outcomeOf(o))
}

// rollLater answers as soon as it is known that there is something to wait for.
func (c *call) rollLater(ctx context.Context, p adapter.Push, release func()) error {
	begun := false
	defer func() {
		if !begun { // also where it has panicked
			release()
		}
	}()
	outcome, err := c.Gateway.Begin(ctx, p)
	if err != nil || outcome.Rollout == "" {
		if err != nil {
			return c.hideOf(err, "project", p.Project)
		}
		return c.rolled(p, outcome)
	}
	c.note.Rollout, c.note.Digest = outcome.Rollout, outcome.Digest
	begun = true
	go c.follow(ctx, outcome.Rollout, c.entry(), release)
	location := basePath + "/rollouts/" + outcome.Rollout
	c.w.Header().Set("Location", location)
	return c.answer(http.StatusAccepted, api.Begun{Rollout: outcome.Rollout, Location: location})
}

// pushSlot takes one of the places for what is under way.
func (c *call) pushSlot() (release func(), err error) {
	key, shared := c.share()
	if shared && !c.pushesOf.take(key, 1) {
		return nil, refuse(http.StatusServiceUnavailable, string(adapter.Busy), "%d of your pushes are under way, which is as many as one caller may have", c.pushesOf.most).after(1)
	}
	if !c.pushes.TryAcquire(1) {
		if shared {
			c.pushesOf.give(key, 1)
		}
		return nil, refuse(http.StatusServiceUnavailable, string(adapter.Busy), "%d pushes are under way, which is as many as may be", c.Limits.Pushes).after(1)
	}
	return func() {
		c.pushes.Release(1)
		if shared {
			c.pushesOf.give(key, 1)
		}
	}, nil
}

// follow keeps the place of a push in the background until it has ended, and notes how. began is what the audit log was told
// of the call.
func (s *Server) follow(ctx context.Context, id string, began audit.Entry, release func()) {
	defer release()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		r, err := s.Gateway.Rollout(ctx, id)
		if err == nil && r.Ended.IsZero() && !time.Now().After(r.Deadline.Add(time.Minute)) {
			continue
		}
		if s.Audit != nil {
			s.Audit.Write(s.ended(began, r, err))
		}
		return
	}
}

// ended is the line about the end of a push in the background: with the status that who waits for one is told.
func (s *Server) ended(e audit.Entry, r adapter.RolloutInfo, err error) audit.Entry {
	now := s.Now()
	e.Seconds, e.Time, e.Outcome, e.Status = now.Sub(e.Time).Seconds(), now.UTC(), "committed", http.StatusOK
	if r.Outcome.Digest != "" {
		e.Digest = r.Outcome.Digest
	}
	e.Revision = r.Outcome.Revision
	switch {
	case err != nil || r.Err == nil && r.Ended.IsZero():
		e.Outcome, e.Status, e.Detail = "unknown", http.StatusServiceUnavailable, "the rollout cannot be read any longer"
		if err == nil {
			e.Detail = "the rollout has not ended though its time is over"
		}
	case r.Err != nil:
		refused := refusalOf(r.Err)
		e.Outcome, e.Status, e.Code, e.Detail = "failed", refused.Status, refused.Code, refused.Detail
	case r.Outcome.Unchanged:
		e.Outcome = "unchanged"
	}
	return e
}

func (c *call) getRollout() error {
	id := c.params["id"]
	r, err := c.Gateway.Rollout(c.r.Context(), id)
	if err != nil {
		return c.hide(err, "rollout", id)
	}
	if r.Author != c.caller.Name && !c.caller.Grants.Sees() {
		if !c.caller.Grants.Sees(c.labelsOf(r)...) {
			return unseen("rollout", id)
		}
	}
	shown := rolloutOf(r)
	hidden := func(v api.Verdict) bool { return !c.caller.Grants.Sees(v.Label) }
	shown.Outcome.Gateways = slices.DeleteFunc(shown.Outcome.Gateways, hidden)
	shown.Failure.Gateways = slices.DeleteFunc(shown.Failure.Gateways, hidden)
	return c.answer(http.StatusOK, shown)
}

// labelsOf are those of what a rollout was to bring; of one that ended before that was known, those of its project now.
func (c *call) labelsOf(r adapter.RolloutInfo) []string {
	if len(r.Labels) > 0 {
		return r.Labels
	}
	p, err := c.Gateway.Project(c.r.Context(), r.Project)
	if err != nil {
		return nil
	}
	return p.Labels
}
