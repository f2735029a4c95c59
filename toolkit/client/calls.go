package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/explain"
	"github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/gateways"
)

// Push are the choices of a call that changes what is served. The zero value leaves them to the server.
type Push struct {
	Wait    time.Duration // negative: do not wait
	Require string        // "all" or "percent:N"
	DryRun  bool
	Now     bool // of an undeployment
	// AllowBreaking takes what breaks consumers where the server's policy does not; admins may.
	AllowBreaking bool
	// Revision is the only one that may be replaced; 0 is any.
	Revision uint64
}

// Archive is a project to push. Open is called for each try; size is of what it opens.
type Archive struct {
	Open func() (io.ReadCloser, error)
	Size int64
}

// Bytes is an archive in memory.
func Bytes(b []byte) Archive {
	return Archive{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, Size: int64(len(b))}
}

// Put serves a project. The rollout is the id of one that goes on: then there is no outcome yet.
func (c *Client) Put(ctx context.Context, name string, archive Archive, p Push) (o api.Outcome, rollout string, err error) {
	return c.push(ctx, name, p, call{
		method: http.MethodPut, path: "/projects/" + url.PathEscape(name), body: archive.body, header: http.Header{"Content-Type": {"application/zip"}},
		again: p.Revision == 0, // why: the same content is the same revision, but no longer the one it was to replace
	})
}

// Delete serves nothing of a project any longer.
func (c *Client) Delete(ctx context.Context, name string, p Push) (o api.Outcome, rollout string, err error) {
	return c.push(ctx, name, p, call{method: http.MethodDelete, path: "/projects/" + url.PathEscape(name)})
}

// RollBack serves an earlier revision of a project.
func (c *Client) RollBack(ctx context.Context, name string, revision uint64, p Push) (o api.Outcome, rollout string, err error) {
	k, err := asJSON(call{method: http.MethodPost, path: "/projects/" + url.PathEscape(name) + "/rollback"}, api.Rollback{Revision: revision})
	if err != nil {
		return o, "", err
	}
	return c.push(ctx, name, p, k)
}

// slack is for what a push needs beside the wait for gateways: the way there, compiling, and taking it back.
const slack = time.Minute

func (c *Client) push(ctx context.Context, name string, p Push, k call) (o api.Outcome, rollout string, err error) {
	k.query = url.Values{}
	k.patience = 10 * time.Minute // the server's own bound is not known
	if p.Wait != 0 {
		k.query.Set("wait", max(p.Wait, 0).String())
		k.patience = max(p.Wait, 0) + slack
	}
	if p.Wait < 0 {
		k.query.Set("wait", "0")
	}
	if p.Require != "" {
		k.query.Set("require", p.Require)
	}
	if p.DryRun {
		k.query.Set("dry-run", "true")
	}
	if p.Now {
		k.query.Set("now", "true")
	}
	if p.AllowBreaking {
		k.query.Set("breaking", "allow")
	}
	k.changes = !p.DryRun
	if k.header == nil {
		k.header = http.Header{}
	}
	if p.Revision > 0 {
		k.header.Set("If-Match", strconv.Quote(strconv.FormatUint(p.Revision, 10)))
	}
	var answer struct {
		api.Outcome
		Location string `json:"location"` // of one that has begun
	}
	if _, err := c.do(ctx, k, &answer); err != nil {
		return o, "", err
	}
	switch {
	case answer.Location != "" && answer.Rollout != "":
		return o, answer.Rollout, nil
	case answer.Project != name || !answer.Committed && !p.DryRun:
		return o, "", c.stranger("it does not say that " + name + " is served")
	}
	return answer.Outcome, "", nil
}

// stranger is the error of an answer that is good for somebody, but is none of an adapter. Whoever took it for one would tell a
// pipeline that all is well.
func (c *Client) stranger(why string) error {
	return &Error{Kind: Foreign, Words: fmt.Sprintf("%s is no management API of an adapter: %s; does --server name one?", c.server, why)}
}

// Diff says what a push would change.
func (c *Client) Diff(ctx context.Context, name string, archive Archive) (r diff.Report, err error) {
	_, err = c.do(ctx, call{
		method: http.MethodPost, path: "/projects/" + url.PathEscape(name) + "/diff", body: archive.body, again: true,
		header: http.Header{"Content-Type": {"application/zip"}}, patience: 2 * time.Minute,
	}, &r)
	if err == nil && r.Project != name {
		return r, c.stranger("it does not say what would change of " + name)
	}
	return r, err
}

// Projects are all projects, by name.
func (c *Client) Projects(ctx context.Context) ([]api.Project, error) {
	return pages(ctx, c, "/projects", nil, func(l api.ProjectList) []api.Project { return l.Projects })
}

// Revisions are the states a project was in, the newest first.
func (c *Client) Revisions(ctx context.Context, name string) ([]api.Revision, error) {
	var l api.RevisionList
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/projects/" + url.PathEscape(name) + "/revisions", again: true}, &l)
	if err == nil && l.Revisions == nil {
		return nil, c.stranger("it has no list of revisions")
	}
	return l.Revisions, err
}

// Archive writes a revision's archive; 0 is the one that is served. What was written is to be thrown away after an error.
func (c *Client) Archive(ctx context.Context, name string, revision uint64, w io.Writer) error {
	k := call{method: http.MethodGet, path: "/projects/" + url.PathEscape(name) + "/archive", patience: 10 * time.Minute}
	if revision > 0 {
		k.query = url.Values{"revision": {strconv.FormatUint(revision, 10)}}
	}
	return c.ask(ctx, k, func(r *http.Response) error {
		if _, err := io.Copy(w, r.Body); err != nil {
			return c.unreachable(err)
		}
		return nil
	})
}

// Backup writes everything that is stored. What was written is to be thrown away after an error, which is an *Error unless it
// is that of the writer.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	to := &sink{w: w}
	return c.ask(ctx, call{method: http.MethodGet, path: "/backup", patience: time.Hour}, func(r *http.Response) error {
		_, err := io.Copy(to, r.Body)
		switch {
		case to.err != nil:
			return to.err
		case err != nil:
			return c.unreachable(err)
		}
		return nil
	})
}

// sink is a writer of which the error can be told from that of a reader.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (n int, err error) {
	n, s.err = s.w.Write(p)
	return n, s.err
}

// Filter chooses APIs; "" is any.
type Filter struct{ Project, Label, State string }

// APIs are those that a filter lets through, by name, version and project.
func (c *Client) APIs(ctx context.Context, f Filter) ([]api.API, error) {
	query := url.Values{}
	for name, value := range map[string]string{"project": f.Project, "label": f.Label, "state": f.State} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return pages(ctx, c, "/apis", query, func(l api.APIList) []api.API { return l.Apis })
}

// API is one with its operations.
func (c *Client) API(ctx context.Context, name, version string) (a api.APIDetail, err error) {
	_, err = c.do(ctx, call{method: http.MethodGet, path: "/apis/" + url.PathEscape(name) + "/" + url.PathEscape(version), again: true}, &a)
	if err == nil && (a.Name != name || a.Version == "") {
		return a, c.stranger("it does not describe " + name + "/" + version)
	}
	return a, err
}

// Gateways are those that are there, and what they are at.
func (c *Client) Gateways(ctx context.Context) (*gateways.Report, error) {
	r := new(gateways.Report)
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/gateways", again: true}, r)
	if err == nil && r.Gateways == nil {
		return nil, c.stranger("it has no list of gateways")
	}
	return r, err
}

// Explain says what a gateway would do with a request.
func (c *Client) Explain(ctx context.Context, r api.ExplainRequest) (a explain.Answer, err error) {
	k, err := asJSON(call{method: http.MethodPost, path: "/explain", again: true}, r)
	if err == nil {
		_, err = c.do(ctx, k, &a)
	}
	if err == nil && a.Status == 0 {
		return a, c.stranger("it does not say what would become of the request")
	}
	return a, err
}

func (a Archive) body() (io.ReadCloser, int64, error) {
	body, err := a.Open()
	return body, a.Size, err
}

func asJSON(k call, value any) (call, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return k, err
	}
	k.body, k.header = Bytes(text).body, http.Header{"Content-Type": {"application/json"}}
	return k, nil
}

// pages gathers a list that comes in pages, each of which names the next.
func pages[L, T any](ctx context.Context, c *Client, path string, query url.Values, of func(L) []T) ([]T, error) {
	all := []T{}
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", "1000")
	for {
		var page L
		header, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, again: true}, &page)
		if err != nil {
			return nil, err
		}
		if of(page) == nil {
			return nil, c.stranger("it has no list of " + strings.TrimPrefix(path, "/"))
		}
		all = append(all, of(page)...)
		next, more, err := next(header)
		switch {
		case err != nil:
			return nil, &Error{Kind: Foreign, Words: fmt.Sprintf("%s: %v", c.server, err)}
		case !more || len(of(page)) == 0:
			return all, nil
		}
		query = next
	}
}
