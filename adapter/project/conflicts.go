package project

import (
	"slices"

	"github.com/postern-gateway/postern/adapter/model"
)

// conflicts refuses APIs of one project that cannot stand side by side. Both places are named.
func (c *compiler) conflicts(apis []model.API) {
	byID := map[string]model.API{}
	byBase := map[string][]model.API{}
	for _, a := range apis {
		if a.Name == "" || a.BasePath == "" { // refused before it had them
			continue
		}
		if other, twice := byID[a.ID()]; twice {
			c.refuse(a.Origin, "duplicate-api", "the API %s is defined here and in %s; give one another name or version in %s",
				a.ID(), other.Origin.File, manifestFile)
		}
		byID[a.ID()] = a
		for _, base := range a.BasePaths() {
			c.conflict(a, base, byBase[base])
			byBase[base] = append(byBase[base], a)
		}
	}
}

// conflict refuses an API at a base path that one of others has on the same host.
func (c *compiler) conflict(a model.API, base string, others []model.API) {
	for _, other := range others {
		host, shared := sharedHost(a.Hosts, other.Hosts)
		if !shared {
			continue
		}
		if base != a.BasePath && base != other.BasePath {
			c.refuse(a.Origin, "two-defaults", "%s%s is where this API is the default version, and the one in %s is, too; take default: true from one of them in %s",
				host, base, other.Origin.File, manifestFile)
		} else {
			c.refuse(a.Origin, "duplicate-base-path", "%s%s is the base path of this API and of the one in %s; give one another basePath or other hosts in %s",
				host, base, other.Origin.File, manifestFile)
		}
		return
	}
}

// sharedHost is a host that both name; "" if both leave it open. An API that names a host goes before one that does not.
func sharedHost(a, b []string) (string, bool) {
	if len(a) == 0 || len(b) == 0 {
		return "", len(a) == len(b)
	}
	for _, host := range a {
		if slices.Contains(b, host) {
			return host, true
		}
	}
	return "", false
}
