// Package explain says what a gateway would do with a request, by the model alone: which API and operation take it, who
// may make it, what counts it, where it goes. It must not import the enforcer or the ratelimiter.
package explain

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Request is what is asked about.
type Request struct {
	Method, Path string
	Header       http.Header // its Host, and the credentials it carries
}

// ParseRequest reads "GET /path", or a path alone, and headers as curl takes them: "Name: value".
func ParseRequest(line string, headers []string) (Request, error) {
	method, path, ok := strings.Cut(strings.TrimSpace(line), " ")
	if !ok {
		method, path = http.MethodGet, method
	}
	r := Request{Method: strings.ToUpper(method), Path: strings.TrimSpace(path), Header: http.Header{}}
	if !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, " \t") {
		return r, fmt.Errorf(`%q is not a request; write one like "GET /petstore/1.0.0/pet/1"`, line)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return r, fmt.Errorf(`%q is not a header; write one like "Host: shop.example.com"`, h)
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return r, nil
}

// Answer is what would happen.
type Answer struct {
	Status    int    `json:"status"` // 200: the operation takes it; else what the gateway answers by itself
	Request   string `json:"request"`
	API       string `json:"api,omitempty"`
	Project   string `json:"project,omitempty"`
	Origin    string `json:"origin,omitempty"` // of the operation, in the project
	Operation string `json:"operation,omitempty"`
	State     string `json:"state,omitempty"` // of the operation, or of the API where no operation takes the request
	// Deprecated says so, with the date if there is one; Sunset is when the operation ends. Dates are RFC 3339.
	Deprecated string   `json:"deprecated,omitempty"`
	Sunset     string   `json:"sunset,omitempty"`
	Allow      []string `json:"allow,omitempty"`
	Auth       []string `json:"auth,omitempty"` // steps, one of which must hold
	Limits     []Limit  `json:"limits,omitempty"`
	Clusters   []string `json:"clusters,omitempty"`
	Backends   []string `json:"backends,omitempty"` // the URLs the request would be sent to
}

// Limit is one that counts the request.
type Limit struct {
	Name    string `json:"name"`
	Counter string `json:"counter"` // requests with the same one are counted together
	Count   uint64 `json:"count"`
	Seconds uint64 `json:"seconds"`
	Code    string `json:"code"` // of a refusal
}

// Explain answers for a gateway that serves these APIs.
func Explain(apis []model.API, s model.Settings, r Request) Answer {
	found := model.Match(apis, r.Header.Get("Host"), r.Method, r.Path, s.KeepEscapedSlashes)
	a := Answer{Status: found.Status, Request: r.Method + " " + r.Path, Allow: found.Allow}
	if found.API != nil {
		a.API, a.Project, a.State = found.API.ID(), found.API.Project, string(found.API.State)
	}
	if found.Operation == nil {
		return a
	}
	o := found.Operation
	a.Operation, a.Origin, a.State = o.ID(), o.Origin.String(), string(found.API.StateOf(*o))
	a.Deprecated, a.Sunset = lifespan(o.Lifespan)
	if found.Status != http.StatusOK { // nobody is asked, nothing is counted, and no backend sees it
		return a
	}
	a.Auth = auth(o.Security, r.Header)
	a.published(*found.API, *o, s)
	for _, e := range o.Production.Endpoints {
		a.Backends = append(a.Backends, url(e)+rest(found.BasePath, r.Path))
	}
	return a
}

func lifespan(l model.Lifespan) (deprecated, sunset string) {
	switch {
	case l.Deprecated && l.Since.IsZero():
		deprecated = "yes"
	case l.Deprecated:
		deprecated = "since " + l.Since.Format(time.RFC3339)
	}
	if !l.Sunset.IsZero() {
		sunset = l.Sunset.Format(time.RFC3339)
	}
	return deprecated, sunset
}

// published reads off what would be published for this operation alone what its limits and clusters are called.
func (a *Answer) published(api model.API, o model.Operation, s model.Settings) {
	api.Operations = []model.Operation{o}
	s.Routing.Flat = true // why: where its route is found changes neither
	delta, _ := translate.NewIndex(s).Plan([]model.API{api}, nil)
	for _, r := range delta.Limits.Put {
		limits, ok := r.Message.(*posternv1.Limits)
		if !ok {
			continue
		}
		for _, rule := range limits.GetRules() {
			a.Limits = append(a.Limits, Limit{rule.GetName(), rule.GetCounter(), rule.GetLimit(), rule.GetWindowSeconds(), rule.GetCode()})
		}
	}
	for _, r := range delta.Clusters.Put {
		a.Clusters = append(a.Clusters, r.Name)
	}
}

// url is an endpoint as its author wrote it, as far as the model keeps it.
func url(e model.Endpoint) string {
	scheme := "http"
	if e.TLS {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) + e.Path
}

// rest is a path with its query, without the base path.
func rest(base, path string) string {
	if base == "/" {
		return path
	}
	return strings.TrimPrefix(path, base)
}

// auth are the steps of each alternative, and whether the request carries what they look for.
func auth(s model.Security, header http.Header) []string {
	if s.Disabled {
		return []string{"nobody is asked; credentials travel to the backend"}
	}
	if len(s.Alternatives) == 0 {
		return []string{"nobody is admitted"}
	}
	steps := make([]string, len(s.Alternatives))
	for i, alternative := range s.Alternatives {
		var parts []string
		for _, r := range alternative.Requirements {
			parts = append(parts, requirement(r, header))
		}
		steps[i] = strings.Join(parts, ", and ")
		if len(parts) == 0 {
			steps[i] = "anonymous callers are admitted"
		}
	}
	return steps
}

func requirement(r model.Requirement, header http.Header) string {
	text := fmt.Sprintf("%s: a JWT in the %s %q", r.Scheme.Name, r.Scheme.In, r.Scheme.Key)
	switch {
	case len(r.Scopes) > 0 && r.AnyScope:
		text += " with one of the scopes " + strings.Join(r.Scopes, ", ")
	case len(r.Scopes) > 0:
		text += " with " + plural(len(r.Scopes), "the scope ", "the scopes ") + strings.Join(r.Scopes, ", ")
	}
	if r.Scheme.In == "header" && header.Get(r.Scheme.Key) == "" {
		text += " (this request has none: 401)"
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Write prints an answer for people.
func (a Answer) Write(w io.Writer) error {
	var b strings.Builder
	row := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				fmt.Fprintf(&b, "%-10s %s\n", name, v)
				name = ""
			}
		}
	}
	row("request", a.Request)
	switch a.Status {
	case http.StatusOK:
	case http.StatusMethodNotAllowed:
		row("answer", "405: the path is known, the method is not; allowed: "+strings.Join(a.Allow, ", "))
	case http.StatusNotFound:
		row("answer", "404: no "+map[bool]string{true: "API has this base path", false: "path of the API fits"}[a.API == ""])
	case http.StatusServiceUnavailable, http.StatusGone:
		row("answer", fmt.Sprintf("%d: it is %s", a.Status, a.State))
	default:
		row("answer", fmt.Sprintf("%d: Envoy refuses this path", a.Status))
	}
	row("api", a.API)
	row("project", a.Project)
	row("operation", a.Operation)
	row("defined", a.Origin)
	if a.State != string(model.Deployed) {
		row("state", a.State)
	}
	row("deprecated", a.Deprecated)
	row("sunset", a.Sunset)
	row("auth", a.Auth...)
	for i, l := range a.Limits {
		name := ""
		if i == 0 {
			name = "limits"
		}
		row(name, fmt.Sprintf("%s: %d in %d s, counted by %q; refused with %s", l.Name, l.Count, l.Seconds, l.Counter, l.Code))
	}
	if a.Status == http.StatusOK && len(a.Limits) == 0 {
		row("limits", "none")
	}
	row("cluster", a.Clusters...)
	row("backend", a.Backends...)
	_, err := io.WriteString(w, b.String())
	return err
}
