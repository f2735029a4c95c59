package project

import (
	"strings"

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
		for _, other := range byBase[a.BasePath] {
			if host, shared := sharedHost(a.Hosts, other.Hosts); shared {
				c.refuse(a.Origin, "duplicate-base-path", "%s%s is the base path of this API and of the one in %s; give one another basePath or other hosts in %s",
					host, a.BasePath, other.Origin.File, manifestFile)
				break
			}
		}
		byBase[a.BasePath] = append(byBase[a.BasePath], a)
	}
}

// sharedHost is a host at which both answer; "" is any host. No hosts are all of them.
func sharedHost(a, b []string) (string, bool) {
	if len(a) == 0 {
		a, b = b, a
	}
	if len(b) == 0 {
		return strings.Join(a[:min(len(a), 1)], ""), true
	}
	for _, host := range a {
		for _, other := range b {
			if host == other {
				return host, true
			}
		}
	}
	return "", false
}
