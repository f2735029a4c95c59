package translate

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// table is the route table of one scope: a virtual host for every host its APIs name, and one for any other.
func table(s model.Settings, key string, members []*face) *routev3.RouteConfiguration {
	t := &routev3.RouteConfiguration{
		Name:                   scopeName(key),
		RequestHeadersToRemove: []string{pathHeader},
	}
	if s.BodyBytes > 0 {
		t.TypedPerFilterConfig = map[string]*anypb.Any{bodyFilterName: limitBodies(s)}
	}
	if s.Routing.Flat {
		t.RequestHeadersToRemove = append(t.RequestHeadersToRemove, scopeHeader)
	}
	for _, domain := range domains(members) {
		t.VirtualHosts = append(t.VirtualHosts, newVirtualHost(s, key, domain, answering(domain, members)).build())
	}
	return t
}

const anyHost = "*"

// domains are the hosts the APIs name, sorted, and "*" first where one answers on any.
func domains(members []*face) []string {
	var domains []string
	for _, f := range members {
		if len(f.Hosts) == 0 {
			domains = append(domains, anyHost)
		}
		domains = append(domains, f.Hosts...)
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// answering are the faces that answer on a domain. Envoy looks into one virtual host only, so each holds all of them.
// Of two at the same base path the one that names the domain more exactly serves it.
func answering(domain string, members []*face) []*face {
	closest := map[string]*face{}
	var bases []string
	for _, f := range members {
		closeness := model.HostCloseness(f.Hosts, domain)
		if closeness < 0 {
			continue
		}
		base := f.basePath()
		switch other := closest[base]; {
		case other == nil:
			bases = append(bases, base)
			closest[base] = f
		case closeness > model.HostCloseness(other.Hosts, domain):
			closest[base] = f
		}
	}
	slices.Sort(bases)
	var faces []*face
	for _, base := range bases {
		faces = append(faces, closest[base])
	}
	return faces
}

// basePath is the base path as a request's normalized path holds it, "" for the root.
func (f *face) basePath() string {
	if len(f.base) == 0 {
		return ""
	}
	return "/" + strings.Join(f.base, "/")
}

// about is what a route, or the virtual host of the one API, says of the API.
func (c *compiled) about() []string {
	if c.policy.Name == "" {
		return []string{posternv1.MetadataAPI, c.ID()}
	}
	return []string{posternv1.MetadataAPI, c.ID(), posternv1.MetadataPolicy, c.policy.Name}
}

// virtualHost is made for the APIs that answer on a domain in a scope. What holds for all its routes is said once,
// here, and not on every route: a route's own settings cost Envoy more than a kilobyte.
type virtualHost struct {
	settings model.Settings
	scope    string
	domain   string
	faces    []*face // by base path

	only    *compiled // the one API, if there is one
	cors    bool      // CORS is the same for all and said here
	limits  routeLimits
	limited bool // limits are the same for all and said here
}

func newVirtualHost(s model.Settings, scope, domain string, faces []*face) *virtualHost {
	v := &virtualHost{settings: s, scope: scope, domain: domain, faces: faces}
	if first := faces[0].compiled; !slices.ContainsFunc(faces, func(f *face) bool { return f.compiled != first }) {
		v.only = first
	}
	v.cors = !slices.ContainsFunc(faces, func(f *face) bool { return !equalCORS(v.corsOf(f), v.corsOf(faces[0])) })
	v.shareLimits()
	return v
}

// shareLimits finds the limits all operations have in common, if those are all the limits they have.
func (v *virtualHost) shareLimits() {
	for _, f := range v.faces {
		for _, p := range f.paths {
			for _, o := range p.operations {
				if v.limits == nil {
					v.limits = o.limits
				}
				if !v.limits.equal(o.limits) {
					v.limits = nil
					return
				}
			}
		}
	}
	v.limited = true
}

func (v *virtualHost) build() *routev3.VirtualHost {
	h := &routev3.VirtualHost{
		Name:                 v.domain,
		Domains:              []string{v.domain},
		Matcher:              v.matcher(),
		TypedPerFilterConfig: map[string]*anypb.Any{},
	}
	if v.domain == anyHost {
		h.Name = "any"
	}
	if v.only != nil {
		h.Metadata = metadata(v.only.about()...)
		if v.only.policy.Name != "" {
			h.TypedPerFilterConfig[enforcerFilterName] = ask(posternv1.ContextAPI, v.only.ID(), posternv1.ContextPolicy, v.only.policy.Name)
		}
	}
	if v.cors {
		if policy := corsPolicy(v.corsOf(v.faces[0])); policy != nil {
			h.TypedPerFilterConfig[corsFilterName] = policy
		}
	}
	if v.limited {
		for filter, config := range v.limits.config() {
			h.TypedPerFilterConfig[filter] = config
		}
	}
	return h
}
