package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// Changes are what to put and what to take away of one type, by name.
type Changes struct {
	Put    []Resource // by name; only what is new or has a new version
	Remove []string   // sorted
}

// Empty says that there is nothing to do.
func (c Changes) Empty() bool { return len(c.Put) == 0 && len(c.Remove) == 0 }

// Delta is what a change of some APIs comes to.
type Delta struct {
	Policies, Limits, Clusters, Scopes, Routes Changes

	// Writes name what the delta changes and Reads what it builds on, sorted: deltas may be under way side by side if none
	// writes what another one writes or reads. They are there even if it is refused, as far as it was understood.
	Writes, Reads []string

	// Probes are what to ask of each Envoy once it has the rest, by API. They are for the time of a rollout: none is
	// ever removed, and whether there are any changes nothing for anybody.
	Probes Changes

	// Operations is how many there are in each scope that the delta is about, by the scope's name; 0: it is gone.
	Operations map[string]int

	// Refused are the APIs ("name/version", sorted) a refusing problem is about. With any, the delta is empty.
	Refused []string

	apis map[string]*compiled // what Commit writes; nil removes
	// What the APIs of the delta belong to, by scope key, cluster name and claim.
	scopes, clusters, claims map[string][]*compiled
}

// put gathers an API and what it belongs to.
func (d *Delta) put(c *compiled) {
	d.apis[c.ID()] = c
	for _, key := range c.scopes() {
		d.scopes[key] = append(d.scopes[key], c)
	}
	for name := range c.clusters {
		d.clusters[name] = append(d.clusters[name], c)
	}
	for _, claim := range c.claims() {
		d.claims[claim] = append(d.claims[claim], c)
	}
}

// Empty says that nothing changes for anybody.
func (d Delta) Empty() bool {
	return d.Policies.Empty() && d.Limits.Empty() && d.Clusters.Empty() && d.Scopes.Empty() && d.Routes.Empty()
}

// Index knows what is served, so that the cost of a change is that of the APIs sharing its scopes. It is a plain value
// for one goroutine.
type Index struct {
	settings model.Settings
	apis     map[string]*compiled       // by ID
	scopes   map[string]map[string]bool // key → IDs of the APIs in it
	clusters map[string]map[string]bool // name → IDs of the APIs using it
	claims   map[string]map[string]bool // host and base path → the ID of the API there
	routes   map[string]string          // name → version
	spread   map[string]bool            // IDs of the APIs with a base path that does not say the scope
}

// NewIndex is an index that serves nothing yet.
func NewIndex(s model.Settings) *Index {
	return &Index{
		settings: s,
		apis:     map[string]*compiled{},
		scopes:   map[string]map[string]bool{},
		clusters: map[string]map[string]bool{},
		claims:   map[string]map[string]bool{},
		routes:   map[string]string{},
		spread:   map[string]bool{},
	}
}

// Plan says what changes if the APIs of put are served (replacing those of the same ID) and those of remove no longer
// are. It changes nothing; equal calls on equal indexes give equal deltas, whatever the order of their arguments.
// Problems that refuse leave the delta empty but for Refused; warnings do not.
func (x *Index) Plan(put []model.API, remove []string) (Delta, []model.Problem) {
	d := Delta{
		apis: map[string]*compiled{}, scopes: map[string][]*compiled{}, clusters: map[string][]*compiled{}, claims: map[string][]*compiled{},
	}
	for _, id := range remove {
		if x.apis[id] != nil {
			d.apis[id] = nil
		}
	}
	var problems []model.Problem
	for _, api := range sorted(put) {
		c, found := compile(x.settings, api)
		problems = append(problems, found...)
		if other := d.apis[api.ID()]; other != nil {
			problems = append(problems, model.Problem{
				Origin: api.Origin, Code: "api-taken",
				Message: fmt.Sprintf("%s is the name and version of the API in %s (project %s), too: change one of them", api.ID(), other.Origin, other.Project),
			})
			c = nil
		}
		if c == nil {
			d.Refused = append(d.Refused, api.ID())
			continue
		}
		d.put(c)
	}
	for _, id := range slices.Sorted(maps.Keys(d.apis)) {
		if clash := x.claimed(d, d.apis[id]); clash != nil {
			d.Refused = append(d.Refused, id)
			problems = append(problems, *clash)
		}
	}
	if len(d.Refused) > 0 {
		x.touch(&d)
		slices.Sort(d.Refused)
		return Delta{Refused: slices.Compact(d.Refused), Writes: d.Writes, Reads: d.Reads}, problems
	}
	d.Policies = x.own(d, func(c *compiled) Resource { return c.policy })
	d.Limits = x.own(d, func(c *compiled) Resource { return c.limits })
	d.Clusters = x.planClusters(d)
	d.Operations = map[string]int{}
	d.Scopes, d.Routes = x.planScopes(d)
	probes, shadowed := x.planProbes(d)
	d.Probes = probes
	x.touch(&d)
	return d, append(problems, shadowed...)
}

// touch fills in what a delta writes and reads. A cluster that stays is only read: many APIs share it.
func (x *Index) touch(d *Delta) {
	writes, reads := map[string]bool{}, map[string]bool{}
	for id, c := range d.apis {
		writes["api "+id] = true
		for _, of := range []*compiled{x.apis[id], c} {
			if of == nil {
				continue
			}
			for _, claim := range of.claims() {
				writes["claim "+claim] = true
			}
			for _, key := range of.scopes() {
				writes["scope "+scopeName(key)] = true
			}
			for name := range of.clusters {
				reads["cluster "+name] = true
			}
			if of.spread() {
				writes["scopes of spread APIs"] = true // why: each may shadow the others
			}
		}
	}
	for scope := range d.Operations {
		writes["scope "+scope] = true
	}
	for _, r := range d.Clusters.Put {
		writes["cluster "+r.Name] = true
	}
	for _, name := range d.Clusters.Remove {
		writes["cluster "+name] = true
	}
	maps.DeleteFunc(reads, func(key string, _ bool) bool { return writes[key] })
	d.Writes, d.Reads = slices.Sorted(maps.Keys(writes)), slices.Sorted(maps.Keys(reads))
}

func sorted(apis []model.API) []model.API {
	return slices.SortedFunc(slices.Values(apis), func(a, b model.API) int {
		return cmp.Or(cmp.Compare(a.ID(), b.ID()), cmp.Compare(a.Project, b.Project))
	})
}

// Commit makes the index what a plan said. The plan must have been made by this index; of plans made side by side those
// may all be committed that share no scope, cluster, base path or API.
func (x *Index) Commit(d Delta) {
	for id, c := range d.apis {
		if old := x.apis[id]; old != nil {
			x.drop(id, old)
		}
		if c != nil {
			x.add(id, c)
		}
	}
	for _, r := range d.Routes.Put {
		x.routes[r.Name] = r.Version
	}
	for _, name := range d.Routes.Remove {
		delete(x.routes, name)
	}
}

func (x *Index) add(id string, c *compiled) {
	x.apis[id] = c
	for _, key := range c.scopes() {
		join(x.scopes, key, id)
	}
	for name := range c.clusters {
		join(x.clusters, name, id)
	}
	for _, claim := range c.claims() {
		join(x.claims, claim, id)
	}
	if c.spread() {
		x.spread[id] = true
	}
}

func (x *Index) drop(id string, c *compiled) {
	delete(x.apis, id)
	for _, key := range c.scopes() {
		leave(x.scopes, key, id)
	}
	for name := range c.clusters {
		leave(x.clusters, name, id)
	}
	for _, claim := range c.claims() {
		leave(x.claims, claim, id)
	}
	delete(x.spread, id)
}

func join(groups map[string]map[string]bool, group, id string) {
	if groups[group] == nil {
		groups[group] = map[string]bool{}
	}
	groups[group][id] = true
}

func leave(groups map[string]map[string]bool, group, id string) {
	delete(groups[group], id)
	if len(groups[group]) == 0 {
		delete(groups, group)
	}
}

// after are the APIs of a group as they will be, by ID: what it has now, less those the delta changes, and those of the
// delta that belong.
func (x *Index) after(d Delta, group map[string]bool, joining []*compiled) []*compiled {
	members := slices.Clone(joining)
	for id := range group {
		if _, changed := d.apis[id]; !changed {
			members = append(members, x.apis[id])
		}
	}
	return byID(members)
}

func byID(apis []*compiled) []*compiled {
	slices.SortFunc(apis, func(a, b *compiled) int { return cmp.Compare(a.ID(), b.ID()) })
	return apis
}

// claimed finds another API at the same base path on one of the same hosts.
func (x *Index) claimed(d Delta, c *compiled) *model.Problem {
	if c == nil {
		return nil
	}
	for _, f := range c.faces {
		for _, claim := range f.claims() {
			for _, o := range x.after(d, x.claims[claim], d.claims[claim]) {
				if o.ID() != c.ID() {
					return &model.Problem{
						Origin: c.Origin, Code: "base-path-taken",
						Message: fmt.Sprintf("%s and %s (project %s, %s) both claim the base path %s on the same host: change one's base path or hosts",
							c.ID(), o.ID(), o.Project, o.Origin, cmp.Or(f.basePath(), "/")),
					}
				}
			}
		}
	}
	return nil
}

// claims are the hosts and base paths that nobody else may have.
func (c *compiled) claims() []string {
	var claims []string
	for _, f := range c.faces {
		claims = append(claims, f.claims()...)
	}
	return claims
}

func (f *face) claims() []string {
	if len(f.Hosts) == 0 {
		return []string{anyHost + f.basePath()}
	}
	var claims []string
	for _, h := range f.Hosts {
		claims = append(claims, h+f.basePath())
	}
	return claims
}

// own plans the resources each API has for itself.
func (x *Index) own(d Delta, of func(*compiled) Resource) Changes {
	var changes Changes
	for _, id := range slices.Sorted(maps.Keys(d.apis)) {
		var before, after Resource
		if c := x.apis[id]; c != nil {
			before = of(c)
		}
		if c := d.apis[id]; c != nil {
			after = of(c)
		}
		if after.Name != "" && after.Name != before.Name {
			changes.Put = append(changes.Put, after)
		}
		if before.Name != "" && after.Name != before.Name {
			changes.Remove = append(changes.Remove, before.Name)
		}
	}
	return changes.sorted()
}

func (c Changes) sorted() Changes {
	slices.SortFunc(c.Put, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(c.Remove)
	return c
}

// planClusters puts what no API used before and removes what none uses after. A cluster's name holds the hash of its
// content, so that none ever changes.
func (x *Index) planClusters(d Delta) Changes {
	touched := map[string]*clusterv3.Cluster{}
	for id, c := range d.apis {
		if old := x.apis[id]; old != nil {
			maps.Copy(touched, old.clusters)
		}
		if c != nil {
			maps.Copy(touched, c.clusters)
		}
	}
	var changes Changes
	for name, cluster := range touched {
		users, known := x.clusters[name]
		switch joining := d.clusters[name]; {
		case !known:
			changes.Put = append(changes.Put, resource(name, cluster, ids(byID(joining))...))
		case len(joining) == 0 && !d.leaves(users):
			changes.Remove = append(changes.Remove, name)
		}
	}
	return changes.sorted()
}

// leaves says whether anybody of a group is not changed by the delta.
func (d *Delta) leaves(group map[string]bool) bool {
	for id := range group {
		if _, changed := d.apis[id]; !changed {
			return true
		}
	}
	return false
}

func ids(apis []*compiled) []string {
	var ids []string
	for _, c := range apis {
		ids = append(ids, c.ID())
	}
	return ids
}

// planScopes builds the route tables of the scopes the changed APIs are and were in.
func (x *Index) planScopes(d Delta) (scopes, routes Changes) {
	spread := x.spreadFaces(d)
	for key := range x.touched(d, spread) {
		name := scopeName(key)
		members := x.after(d, x.scopes[key], d.scopes[key])
		faces := facesIn(key, members)
		d.Operations[name] = operations(key, faces)
		if len(members) == 0 {
			scopes.Remove = append(scopes.Remove, name)
			routes.Remove = append(routes.Remove, name)
			continue
		}
		if x.scopes[key] == nil {
			scopes.Put = append(scopes.Put, resource(name, scope(key), ids(members)...))
		}
		faces = shadowed(faces, spread)
		if r := resource(name, table(x.settings, key, faces), owners(faces)...); r.Version != x.routes[name] {
			routes.Put = append(routes.Put, r)
		}
	}
	return scopes.sorted(), routes.sorted()
}

// spread says that one of the API's base paths does not say the scope.
func (c *compiled) spread() bool {
	return slices.ContainsFunc(c.faces, func(f *face) bool { return f.spread })
}

// spreadFaces are the faces, as they will be, whose base path does not say the scope.
func (x *Index) spreadFaces(d Delta) []*face {
	var changed []*compiled
	for _, c := range d.apis {
		if c != nil && c.spread() {
			changed = append(changed, c)
		}
	}
	var spread []*face
	for _, c := range x.after(d, x.spread, changed) {
		for _, f := range c.faces {
			if f.spread {
				spread = append(spread, f)
			}
		}
	}
	return spread
}

// operations is how many operations the members of a scope have in it.
func operations(key string, members []*face) int {
	n := 0
	for _, f := range members {
		for _, p := range f.paths {
			if p.scope == key {
				n += len(p.operations)
			}
		}
	}
	return n
}

// touched are the scopes whose tables may change.
func (x *Index) touched(d Delta, spread []*face) map[string]bool {
	touched := map[string]bool{}
	touch := func(f *face) {
		for _, key := range f.scopes {
			touched[key] = true
		}
	}
	for id, c := range d.apis {
		for _, of := range []*compiled{x.apis[id], c} {
			if of == nil {
				continue
			}
			for _, f := range of.faces {
				touch(f)
				for _, other := range spread {
					if f.shadows(other) {
						touch(other)
					}
				}
			}
		}
	}
	return touched
}

// shadowed adds to the members of a scope the faces without an operation there that keep some of its requests from a
// member all the same: there is no falling through to a shorter base path or a less exact host.
func shadowed(members, spread []*face) []*face {
	all := slices.Clone(members)
	for _, f := range spread {
		if !slices.Contains(members, f) && slices.ContainsFunc(members, f.shadows) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *face) int {
		return cmp.Or(cmp.Compare(a.ID(), b.ID()), cmp.Compare(a.basePath(), b.basePath()))
	})
	return all
}

// owners are the APIs of faces that are sorted by them, each once.
func owners(faces []*face) []string {
	var ids []string
	for _, f := range faces {
		ids = append(ids, f.ID())
	}
	return slices.Compact(ids)
}

// shadows says that f owns paths which o's operations may match. Only faces whose base path is too short to say the
// scope need this: others are in the one scope their paths are in.
func (f *face) shadows(o *face) bool {
	return f.spread && o.spread && f != o && len(f.base) >= len(o.base) && slices.Equal(f.base[:len(o.base)], o.base) &&
		(answers(f.Hosts, o.Hosts) || answers(o.Hosts, f.Hosts))
}

// answers says whether one of the hosts is covered by the list.
func answers(list, hosts []string) bool {
	return len(list) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return model.HostCloseness(list, h) >= 0 })
}
