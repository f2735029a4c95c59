package project

import (
	"net/url"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// serverURL is the URL of an OpenAPI server object, ${POSTERN_VAR_…} replaced, then {variables} by their defaults.
func (d *definition) serverURL(server *node) (string, bool) {
	n := server.get("url")
	if n.text() == "" {
		return "", false
	}
	address, ok := d.variables.expand(&d.report, n)
	if !ok {
		return "", false
	}
	for _, v := range server.get("variables").fields() {
		address = strings.ReplaceAll(address, "{"+v.key+"}", v.get("default").scalar())
	}
	return address, true
}

// absolute says whether an address names a host and so can be a backend.
func absolute(address string) bool {
	scheme, rest, ok := strings.Cut(address, "://")
	return ok && scheme != "" && rest != ""
}

// servers are the backends OpenAPI itself names at one level: its absolute server URLs.
func (d *definition) servers(l leveled) *model.Backend {
	if d.swagger2 {
		if l.level != atAPI {
			return nil
		}
		return d.swaggerServer()
	}
	n := l.node.get("servers")
	if known, ok := d.backends[n]; ok {
		return known
	}
	var out *model.Backend
	switch {
	case d.is(n, "servers", list):
		out = d.serverBackend(n)
	case n != nil:
		out = d.unusable(n)
	}
	d.backends[n] = out
	return out
}

func (d *definition) serverBackend(n *node) *model.Backend {
	var backend model.Backend
	tried, refused := 0, 0
	for _, server := range n.members {
		if !d.is(server, "a server", object) {
			refused++
			continue
		}
		if server.get("url").text() == "" {
			refused++
			d.refuse(server.at(), "bad-endpoint", "this server has no url; write one, or remove the server")
			continue
		}
		address, ok := d.serverURL(server)
		if !ok {
			tried++ // and refused
			continue
		}
		if !absolute(address) {
			continue
		}
		tried++
		if e, ok := d.endpoint(server.get("url"), address); ok {
			backend.Endpoints = append(backend.Endpoints, e)
		}
	}
	if tried+refused == 0 {
		return nil
	}
	if tried > 1 {
		d.warn(n.at(), "several-servers", "requests are spread over all %d servers; if they are not alike, name the one that is meant in x-wso2-production-endpoints", tried)
	}
	return d.finish(&backend)
}

// swaggerServer is the one host a Swagger 2.0 document names, by https if it can.
func (d *definition) swaggerServer() *model.Backend {
	n := d.root.get("host")
	if known, ok := d.backends[n]; ok {
		return known
	}
	if n != nil && !d.is(n, "host", text) {
		return d.unusable(n)
	}
	if n.text() == "" {
		return nil
	}
	d.backends[n] = nil
	host, ok := d.variables.expand(&d.report, n)
	if !ok {
		return d.unusable(n)
	}
	if strings.Contains(host, "/") {
		d.refuse(n.at(), "bad-endpoint", "the host is a name, with a port at most; its scheme goes into schemes, its path into basePath")
		return d.unusable(n)
	}
	scheme := "https"
	if listed := d.root.get("schemes"); listed != nil {
		schemes := d.uniqueStrings(listed)
		switch {
		case slices.Contains(schemes, "https"):
		case slices.Contains(schemes, "http"):
			scheme = "http"
		default:
			d.refuse(listed.at(), "bad-endpoint", "none of the schemes %s is served; write https or http", quoted(schemes))
			return d.unusable(n)
		}
	}
	address := scheme + "://" + host + (&url.URL{Path: d.root.get("basePath").text()}).EscapedPath()
	e, ok := d.endpoint(n, address)
	if !ok {
		return d.unusable(n)
	}
	d.backends[n] = d.finish(&model.Backend{Endpoints: []model.Endpoint{e}})
	return d.backends[n]
}

// unusable remembers that n was refused: a backend without endpoints, so that nobody asks for one a second time.
func (d *definition) unusable(n *node) *model.Backend {
	d.backends[n] = &model.Backend{}
	return d.backends[n]
}
