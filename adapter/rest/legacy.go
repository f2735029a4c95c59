package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
)

// The predecessor's API (compat.md §16), as a thin layer over the same calls: what its command line, apictl mg, says.
const (
	legacyBase  = "/api/mgw/adapter/0.1"
	legacyLogin = "/oauth2/token"
)

var legacyRoutes = []route{
	{method: "POST", path: legacyLogin, name: "legacyLogin", handle: (*call).legacyLogIn},
	{method: "POST", path: "/apis", name: "legacyDeploy", role: access.Deployer, query: []string{"override"}, handle: (*call).legacyDeploy, changes: true},
	{method: "DELETE", path: "/apis", name: "legacyUndeploy", role: access.Deployer, query: []string{"apiName", "version", "vhost", "environments"}, handle: (*call).legacyUndeploy, changes: true},
	{method: "GET", path: "/apis", name: "legacyList", role: access.Viewer, query: []string{"query", "limit"}, handle: (*call).legacyList},
}

// legacy says whether a path belongs to that API.
func legacy(path string) bool { return path == legacyBase || strings.HasPrefix(path, legacyBase+"/") }

// legacyError is the shape of its refusals.
type legacyError struct {
	Code        int               `json:"code"`
	Message     string            `json:"message"`
	Description string            `json:"description"`
	MoreInfo    string            `json:"moreInfo"`
	Error       []legacyErrorItem `json:"error"`
}

type legacyErrorItem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// failLegacy answers in that shape. A project with problems is a bad request there.
func (c *call) failLegacy(r *refusal) {
	if r.Status == http.StatusUnprocessableEntity {
		r.Status = http.StatusBadRequest
	}
	if r.Status == http.StatusUnauthorized {
		c.w.Header().Add("WWW-Authenticate", `Basic realm="postern"`)
	}
	body := legacyError{Code: r.Status, Message: http.StatusText(r.Status), Description: r.Detail, MoreInfo: r.Instance, Error: []legacyErrorItem{}}
	for _, p := range r.Problems {
		place := p.File
		if p.Line > 0 {
			place += ":" + strconv.Itoa(p.Line)
		}
		body.Error = append(body.Error, legacyErrorItem{Code: p.Code, Message: strings.TrimPrefix(place+": "+p.Message, ": ")})
	}
	for _, g := range r.Gateways {
		if g.Detail != "" {
			body.Error = append(body.Error, legacyErrorItem{Code: string(g.State), Message: g.ID + ": " + g.Detail})
		}
	}
	c.write(r.Status, "application/json", body)
}

// legacyLogIn takes a token for a password: its name is the user. What it returns is that token, which is good for as long
// as it was before.
func (c *call) legacyLogIn() error {
	var credentials struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	const room = 4 << 10 // why so little: nobody knows yet who sends it
	if err := c.objectWithin(&credentials, min(room, c.Limits.JSON)); err != nil {
		return err
	}
	if err := c.admitNamed(credentials.Username, credentials.Password); err != nil {
		return err
	}
	return c.answer(http.StatusOK, map[string]string{"accessToken": credentials.Password})
}

func (c *call) legacyDeploy() error {
	override, err := c.flag("override")
	if err != nil {
		return err
	}
	archive, err := c.multipartFile()
	if err != nil {
		return err
	}
	p, err := convert(archive)
	if err != nil {
		return badRequest("%s", err)
	}
	c.note.Project = p.name
	release, err := c.pushSlot()
	if err != nil {
		return err
	}
	defer release()
	outcome, err := c.Gateway.Push(context.WithoutCancel(c.r.Context()), adapter.Push{
		Project: p.name, Archive: p.archive, Author: c.caller.Name, IfNone: !override, Allowed: c.allowed,
	})
	if failed := new(adapter.PushError); errors.As(err, &failed) && failed.Reason == adapter.Outdated {
		return refuse(http.StatusConflict, "already-exists", "%s is there already; say override=true to replace it", p.name)
	}
	if err != nil {
		return err
	}
	c.note.Revision, c.note.Digest, c.note.Rollout = outcome.Revision, outcome.Digest, outcome.Rollout
	action := "updated"
	if outcome.Created {
		action = "created"
	}
	info := "project " + p.name + ", revision " + strconv.FormatUint(outcome.Revision, 10)
	return c.answer(http.StatusOK, map[string]string{"action": action, "info": strings.Join(append([]string{info}, p.notes...), "; ")})
}

// multipartFile is the part "file" of a form, of which nothing is put on disk.
func (c *call) multipartFile() ([]byte, error) {
	form, err := c.r.MultipartReader()
	if err != nil {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body must be multipart/form-data with a part \"file\"")
	}
	const framing = 64 << 10 // headers and boundaries
	if c.r.ContentLength > c.Limits.Archive+framing {
		return nil, tooLarge(c.Limits.Archive)
	}
	if err := c.reserve(c.r.ContentLength, c.Limits.Archive); err != nil {
		return nil, err
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, badRequest("the form has no part \"file\"")
		}
		if err != nil {
			return nil, c.unread(err)
		}
		if part.FormName() != "file" {
			continue
		}
		text, err := readAll(part, -1, c.Limits.Archive)
		switch {
		case err != nil:
			return nil, c.unread(err)
		case int64(len(text)) > c.Limits.Archive:
			return nil, tooLarge(c.Limits.Archive)
		}
		c.bodyArrived()
		return text, nil
	}
}

// legacyUndeploy takes an API away, where that is its project.
func (c *call) legacyUndeploy() error {
	name, version := c.query.Get("apiName"), c.query.Get("version")
	if name == "" || version == "" {
		return badRequest("apiName and version are needed")
	}
	id := name + "/" + version
	all := c.gather(c.Gateway.API(id))
	if len(all) == 0 {
		return unseen("API", id)
	}
	f := all[0]
	if vhost := c.query.Get("vhost"); vhost != "" && f.served != nil && !slices.Contains(f.served.Hosts, strings.ToLower(vhost)) {
		return unseen("API", id+" at the host "+vhost)
	}
	if said := c.query.Get("environments"); said != "" {
		for _, l := range f.Labels {
			if !slices.Contains(strings.Split(said, ":"), l.Label) {
				return badRequest("%s is served at %s too; an API is taken away from all its labels or none: say all of them, or leave environments out", id, l.Label)
			}
		}
	}
	p, err := c.Gateway.Project(c.r.Context(), f.Project)
	if err != nil {
		return err
	}
	if len(p.APIs) > 1 {
		return refuse(http.StatusConflict, string(adapter.Conflict), "the project %s has %d APIs; take the whole away with DELETE %s/projects/%s, or push it without this one", p.Name, len(p.APIs), basePath, p.Name)
	}
	c.note.Project = p.Name
	release, err := c.pushSlot()
	if err != nil {
		return err
	}
	defer release()
	outcome, err := c.Gateway.Push(context.WithoutCancel(c.r.Context()), adapter.Push{Project: p.Name, Author: c.caller.Name, Allowed: c.allowed})
	if err != nil {
		return err
	}
	c.note.Revision, c.note.Rollout = outcome.Revision, outcome.Rollout
	return c.answer(http.StatusOK, map[string]string{"action": "deleted", "info": "project " + p.Name})
}

// legacyAPI is an API as that command line lists it.
type legacyAPI struct {
	Name     string   `json:"apiName"`
	Version  string   `json:"version"`
	Type     string   `json:"apiType"`
	Context  string   `json:"context"`
	Gateways []string `json:"gateway-envs"`
	VHost    string   `json:"vhost"`
}

func (c *call) legacyList() error {
	limit := most
	var err error
	if c.query.Has("limit") {
		if limit, err = c.limit(); err != nil {
			return err
		}
	}
	list := []legacyAPI{}
	switch query := c.query.Get("query"); query {
	case "", "type:http", "type:HTTP":
		all, _, err := c.Gateway.APIs(c.r.Context(), "", -1, func(s adapter.APIStatus) bool { return s.API != nil })
		if err != nil {
			return err
		}
		for _, f := range c.gather(all) {
			a := legacyAPI{Name: f.Name, Version: f.Version, Type: "HTTP", Context: f.BasePath, Gateways: []string{}}
			for _, l := range f.Labels {
				a.Gateways = append(a.Gateways, l.Label)
			}
			if f.served != nil && len(f.served.Hosts) > 0 {
				a.VHost = f.served.Hosts[0]
			}
			list = append(list, a)
		}
	case "type:ws", "type:WS": // there are none
	default:
		return badRequest("query is %.40q, and must be type:http or type:ws", query)
	}
	total := len(list)
	list = list[:min(limit, total)]
	return c.answer(http.StatusOK, map[string]any{"total": total, "count": len(list), "list": list})
}
