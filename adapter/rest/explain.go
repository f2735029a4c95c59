package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/explain"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

func (c *call) explain() error {
	var wish api.ExplainRequest
	if err := c.object(&wish); err != nil {
		return err
	}
	request, err := requestOf(wish)
	if err != nil {
		return err
	}
	label, err := c.labelOf(wish.Label)
	if err != nil {
		return err
	}
	if !model.ValidLabel(label) {
		return badRequest("%.64q cannot be a label", label)
	}
	if err := c.mayAt(access.Viewer, label); err != nil {
		return err
	}
	return c.answer(http.StatusOK, explain.Explain(c.Gateway.Served(label), c.Settings, request))
}

// requestOf is the request that is asked about.
func requestOf(wish api.ExplainRequest) (explain.Request, error) {
	r := explain.Request{Method: strings.ToUpper(wish.Method), Path: wish.URL, Header: http.Header{}}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if u, err := url.Parse(wish.URL); err == nil && u.Host != "" {
		r.Header.Set("Host", u.Host)
		_, r.Path, _ = strings.Cut(wish.URL, "://")
		_, r.Path, _ = strings.Cut(r.Path, "/")
		r.Path = "/" + r.Path
	}
	r.Path, _, _ = strings.Cut(r.Path, "#")
	for name, value := range wish.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return r, badRequest("%.64q is not a header", name)
		}
		r.Header.Set(name, value)
	}
	if !httpguts.ValidHeaderFieldName(r.Method) || !strings.HasPrefix(r.Path, "/") || strings.ContainsFunc(r.Path, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return r, badRequest("%.20s %.200q is not a request; write a method like GET, and a url like /petstore/1.0.0/pet/1", r.Method, wish.URL)
	}
	return r, nil
}

// labelOf is the label of the gateway that is asked about: the only one there is, if none was said.
func (c *call) labelOf(said string) (string, error) {
	if said != "" {
		return said, nil
	}
	if c.Label != "" {
		return c.Label, nil
	}
	var labels []string
	for _, l := range c.Gateway.Labels() {
		if l.APIs[adapter.Live]+l.APIs[adapter.Stale]+l.APIs[adapter.Rejected] > 0 {
			labels = append(labels, l.Name)
		}
	}
	for _, g := range c.Gateway.Gateways() {
		labels = append(labels, g.Label)
	}
	slices.Sort(labels)
	labels = slices.DeleteFunc(slices.Compact(labels), func(label string) bool { return !c.caller.Grants.Sees(label) })
	switch len(labels) {
	case 0:
		return "default", nil
	case 1:
		return labels[0], nil
	}
	return "", badRequest("gateways of several labels are served; say the label, one of %.300s", strings.Join(labels, ", "))
}
