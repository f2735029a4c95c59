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
func table(s model.Settings, key string, members []*compiled) *routev3.RouteConfiguration {
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
func domains(members []*compiled) []string {
	var domains []string
	for _, c := range members {
		if len(c.Hosts) == 0 {
			domains = append(domains, anyHost)
		}
		domains = append(domains, c.Hosts...)
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// answering are the APIs that answer on a domain. Envoy looks into one virtual host only, so each holds all of them.
// Of two at the same base path the one that names the domain more exactly serves it.
func answering(domain string, members []*compiled) []*compiled {
	closest := map[string]*compiled{}
	var bases []string
	for _, c := range members {
		closeness := model.HostCloseness(c.Hosts, domain)
		if closeness < 0 {
			continue
		}
		base := c.basePath()
		switch other := closest[base]; {
		case other == nil:
			bases = append(bases, base)
			closest[base] = c
		case closeness > model.HostCloseness(other.Hosts, domain):
			closest[base] = c
		}
	}
	slices.Sort(bases)
	var apis []*compiled
	for _, base := range bases {
		apis = append(apis, closest[base])
	}
	return apis
}

// basePath is the base path as a request's normalized path holds it, "" for the root.
func (c *compiled) basePath() string {
	if len(c.base) == 0 {
		return ""
	}
	return "/" + strings.Join(c.base, "/")
}

// virtualHost is made for the APIs that answer on a domain in a scope. What holds for all its routes is said once,
// here, and not on every route: a route's own settings cost Envoy more than a kilobyte.
type virtualHost struct {
	settings model.Settings
	scope    string
	domain   string
	apis     []*compiled // by base path

	only    *compiled // the one API, if there is one
	cors    bool      // CORS is the same for all and said here
	limits  routeLimits
	limited bool // limits are the same for all and said here
}

func newVirtualHost(s model.Settings, scope, domain string, apis []*compiled) *virtualHost {
	v := &virtualHost{settings: s, scope: scope, domain: domain, apis: apis}
	if len(apis) == 1 {
		v.only = apis[0]
	}
	v.cors = !slices.ContainsFunc(apis, func(c *compiled) bool { return !equalCORS(v.corsOf(c), v.corsOf(apis[0])) })
	v.shareLimits()
	return v
}

// shareLimits finds the limits all operations have in common, if those are all the limits they have.
func (v *virtualHost) shareLimits() {
	for _, c := range v.apis {
		for _, p := range c.paths {
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
		h.Metadata = metadata(posternv1.MetadataAPI, v.only.ID())
		if v.only.policy.Name != "" {
			h.TypedPerFilterConfig[enforcerFilterName] = ask(posternv1.ContextAPI, v.only.ID(), posternv1.ContextPolicy, v.only.policy.Name)
		}
	}
	if v.cors {
		if policy := corsPolicy(v.corsOf(v.apis[0])); policy != nil {
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
