package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// mostChecks is how many requests a change may come to, which take each Envoy some tenths of a second: of many APIs each
// is asked for some of its operations only, one at least.
const mostChecks = 2000

// planProbes asks, of each API of the delta whose route tables change, for one request to each operation. The problems
// warn of operations that no request leads to, because another API has their paths.
func (x *Index) planProbes(d Delta) (Changes, []model.Problem) {
	var changes Changes
	var problems []model.Problem
	touched := map[string]bool{}
	for _, r := range d.Routes.Put {
		for _, id := range r.APIs {
			touched[id] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(d.apis)) {
		c := d.apis[id]
		if c == nil {
			continue
		}
		checks, shadowed := x.checks(d, c)
		checks = checks[:min(len(checks), max(1, mostChecks/len(d.apis)))]
		problems = append(problems, shadowed...)
		for _, f := range c.faces {
			problems = append(problems, x.taken(d, f)...)
		}
		if touched[id] && len(checks) > 0 && x.settings.Probe != "" {
			changes.Put = append(changes.Put, resource(id, &posternv1.Probe{Api: id, Checks: checks}, id))
		}
	}
	return changes, problems
}

// checks are a request for each operation of an API that any leads to.
func (x *Index) checks(d Delta, c *compiled) ([]*posternv1.Check, []model.Problem) {
	var checks []*posternv1.Check
	var problems []model.Problem
	for _, f := range c.faces {
		lost := map[*face][]*operation{} // by who has their paths
		for _, p := range f.paths {
			host, path, shadow := x.sample(d, f, p)
			if path == "" {
				if shadow != nil {
					lost[shadow] = append(lost[shadow], p.operations...)
				}
				continue
			}
			for _, o := range p.operations {
				checks = append(checks, &posternv1.Check{
					Operation: o.ID(), Method: o.Method, Host: host, Path: path, Policy: c.policy.Name, Clusters: o.clusters(),
				})
			}
		}
		for shadow, operations := range lost {
			problems = append(problems, unreachable(f, shadow, operations))
		}
	}
	slices.SortFunc(problems, func(a, b model.Problem) int { return strings.Compare(a.Message, b.Message) })
	return checks, problems
}

func unreachable(f, shadow *face, operations []*operation) model.Problem {
	return model.Problem{
		Origin: operations[0].Origin, Severity: model.Warning, Code: "shadowed-operation",
		Message: fmt.Sprintf("no request leads to %s of %s below %s%s: all paths below %s are those of %s (project %s, %s); remove it, or change a base path",
			operations[0].ID(), f.ID(), cmp.Or(f.basePath(), "/"), more(operations), shadow.basePath(), shadow.ID(), shadow.Project, shadow.Origin),
	}
}

// taken warns of operations of APIs that are served already, whose last paths an API of the delta takes with a new base
// path below theirs. Of those of the delta each warns of its own.
func (x *Index) taken(d Delta, f *face) []model.Problem {
	if old := x.apis[f.ID()]; old != nil && slices.Equal(old.Hosts, f.Hosts) && slices.ContainsFunc(old.faces, func(o *face) bool { return o.basePath() == f.basePath() }) {
		return nil // it had them before
	}
	var problems []model.Problem
	for n := range f.base {
		base := strings.TrimSuffix("/"+strings.Join(f.base[:n], "/"), "/")
		for _, host := range append([]string{anyHost}, f.Hosts...) {
			for _, o := range x.after(d, x.claims[host+base], nil) {
				if lost := x.lost(d, o.at(base), f); len(lost) > 0 {
					problems = append(problems, model.Problem{
						Origin: f.Origin, Severity: model.Warning, Code: "shadowed-operation",
						Message: fmt.Sprintf("%s takes all paths below %s, and no request leads to %s of %s any longer%s (project %s, %s): change a base path, or remove that operation",
							f.ID(), f.basePath(), lost[0].ID(), o.ID(), more(lost), o.Project, lost[0].Origin),
					})
				}
			}
		}
	}
	return problems
}

// lost are the operations of a face that no request leads to because of another.
func (x *Index) lost(d Delta, f, to *face) []*operation {
	var lost []*operation
	for _, p := range f.paths {
		if _, path, shadow := x.sample(d, f, p); path == "" && shadow == to {
			lost = append(lost, p.operations...)
		}
	}
	return lost
}

func more(operations []*operation) string {
	if len(operations) < 2 {
		return ""
	}
	return fmt.Sprintf(" (nor to %d more)", len(operations)-1)
}

// sample is a request that leads to a path's operations, its host and its path; no path if there is none, with the API
// that takes them all, if one does.
func (x *Index) sample(d Delta, f *face, p *path) (host, path string, shadow *face) {
	for _, host := range sampleHosts(f) {
		for segments := range samples(f, p) {
			path := "/" + strings.Join(segments, "/")
			if normal, ok := model.NormalizePath(path, x.settings.KeepEscapedSlashes); !ok || normal != path || !f.leads(p, segments[len(f.base):]) {
				continue
			}
			other := x.shadow(d, f, host, segments)
			if other == nil {
				return host, path, nil
			}
			shadow = other
		}
	}
	return "", "", shadow
}

// sampleHosts are names the API answers on: of each host it names, one; if it names none, some that others do not.
func sampleHosts(f *face) []string {
	if len(f.Hosts) == 0 {
		return []string{"probe.invalid", "probe.example"} // RFC 2606: nobody's
	}
	var hosts []string
	for _, h := range f.Hosts {
		suffix, wildcard := strings.CutPrefix(h, "*")
		if wildcard {
			h = "probe" + suffix
			hosts = append(hosts, "postern-probe"+suffix)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// samples are paths a template matches, cut at their slashes, the base path's segments first. Which of them lead to it
// depends on what else there is.
func samples(f *face, p *path) func(yield func([]string) bool) {
	deepest := 0
	for _, other := range f.paths {
		deepest = max(deepest, len(other.template.Segments))
	}
	return func(yield func([]string) bool) {
		for _, value := range []string{"probe", "7", "Q"} {
			segments := slices.Clone(f.base)
			for _, s := range p.template.Segments {
				segments = append(segments, strings.Join(s.Texts, value))
			}
			rests := []int{0}
			if p.template.Rest { // deeper than what others with as many segments match
				rests = []int{1, 0, deepest + 1}
			}
			for _, n := range rests {
				if !yield(append(slices.Clone(segments), slices.Repeat([]string{value}, n)...)) {
					return
				}
			}
		}
	}
}

// leads says whether, of the API's own paths, it is this one that serves the segments below the base path.
func (f *face) leads(p *path, segments []string) bool {
	for _, other := range f.paths { // the first that matches does
		if other.template.Match(segments) {
			return other == p
		}
	}
	return false
}

// shadow is who serves a path on a host instead of f: one with a longer base path, or with the same and a closer host. nil:
// nobody does.
func (x *Index) shadow(d Delta, f *face, host string, segments []string) *face {
	own := model.HostCloseness(f.Hosts, host)
	for n := len(segments); n >= len(f.base); n-- {
		base := ""
		if n > 0 {
			base = "/" + strings.Join(segments[:n], "/")
		}
		for _, name := range covering(host) {
			claim := name + base
			for _, o := range x.after(d, x.claims[claim], d.claims[claim]) {
				if n > len(f.base) || model.HostCloseness(o.Hosts, host) > own {
					return o.at(base)
				}
			}
		}
	}
	return nil
}

// at is the face an API has at a base path it claims.
func (c *compiled) at(base string) *face {
	return c.faces[slices.IndexFunc(c.faces, func(f *face) bool { return f.basePath() == base })]
}

// covering are all the ways to claim a host.
func covering(host string) []string {
	names := []string{anyHost, host}
	for i := range len(host) {
		if host[i] == '.' {
			names = append(names, "*"+host[i:])
		}
	}
	return names
}
