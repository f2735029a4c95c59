package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter"
)

// etag is a revision as an entity tag (RFC 9110 §8.8.3).
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// conditions reads If-Match and If-None-Match of a call that changes a project (RFC 9110 §13.1).
func (c *call) conditions(ctx context.Context, p *adapter.Push) error {
	match, none := c.r.Header.Values("If-Match"), c.r.Header.Values("If-None-Match")
	if len(match) > 1 || len(none) > 1 || len(match) == 1 && len(none) == 1 {
		return badRequest("say one of If-Match and If-None-Match, once")
	}
	if len(none) == 1 {
		if none[0] != "*" {
			return badRequest("If-None-Match is %.64q; where something is changed it can only be *", none[0])
		}
		p.IfNone = true
		return nil
	}
	if len(match) == 0 {
		return nil
	}
	if match[0] == "*" {
		return c.mustBe(ctx, p.Project)
	}
	text, opened := strings.CutPrefix(match[0], `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case opened && closed && err == nil && n > 0 && etag(n) == match[0]:
		p.IfRevision = n
		return nil
	case strings.Contains(match[0], ","):
		return badRequest("If-Match names several revisions; name one")
	}
	// why: a weak or a foreign tag is no revision of ours, and so is not the one that is served (RFC 9110 §13.1.1)
	return refuse(http.StatusPreconditionFailed, string(adapter.Outdated), "If-Match is %.64q, which is no revision; one is written like \"7\"", match[0])
}

// mustBe holds If-Match: *.
func (c *call) mustBe(ctx context.Context, project string) error {
	_, err := c.Gateway.Project(ctx, project)
	if p := new(adapter.PushError); errors.As(err, &p) && p.Reason == adapter.Unknown {
		return refuse(http.StatusPreconditionFailed, string(adapter.Outdated), "nothing of the project %s is there", project)
	}
	return err
}

// unchanged says whether the caller has this revision already, and answers him so.
func (c *call) unchanged(revision uint64) bool {
	if revision == 0 {
		return false
	}
	tag := etag(revision)
	c.w.Header().Set("ETag", tag)
	said := strings.Join(c.r.Header.Values("If-None-Match"), ",")
	if said == "" {
		return false
	}
	known := slices.ContainsFunc(strings.Split(said, ","), func(one string) bool {
		one = strings.TrimSpace(one)
		return one == "*" || strings.TrimPrefix(one, "W/") == tag
	})
	if known {
		c.w.WriteHeader(http.StatusNotModified)
	}
	return known
}
