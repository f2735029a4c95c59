package translate

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Culprit is what a gateway's words are about, as its author wrote it.
type Culprit struct {
	API       string // "name/version"
	Operation string // "GET /pet/{petId}"; "" is the API as a whole
	Origin    model.Origin
}

// Blame says what a gateway is about that refused a resource of a delta, or of what is committed: the type's URL, the
// resource's name and the gateway's words. Of the APIs the resource is made from, those of the delta come before all others;
// they are narrowed down to the operations that use the resource, or that the words name, where there are such. What no API
// is behind has no culprit. The culprits are sorted by API and operation.
func (x *Index) Blame(d Delta, typeURL, name, words string) []Culprit {
	apis := x.behind(d, typeURL, name)
	var culprits []Culprit
	switch typeURL {
	case clusterType:
		culprits = among(apis, func(_ *face, _ *path, o *operation) bool { return slices.Contains(o.clusters(), name) })
	case routeType:
		culprits = among(apis, x.malformed)
	case posternv1.ProbeType:
		words = elsewhere.ReplaceAllString(words, "")
	}
	if len(culprits) == 0 {
		culprits = named(apis, words)
	}
	if len(culprits) == 0 {
		for _, c := range apis {
			culprits = append(culprits, c.whole())
		}
	}
	slices.SortFunc(culprits, func(a, b Culprit) int {
		return cmp.Or(cmp.Compare(a.API, b.API), cmp.Compare(a.Operation, b.Operation))
	})
	return culprits
}

// elsewhere is what a prober says of where a request went: to what is not at fault.
var elsewhere = regexp.MustCompile(`led to \S+ \S+ of \S+`)

// Type URLs of what APIs are behind.
var (
	clusterType = typeURL(&clusterv3.Cluster{})
	routeType   = typeURL(&routev3.RouteConfiguration{})
	scopeType   = typeURL(&routev3.ScopedRouteConfiguration{})
)

func typeURL(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

// behind are the APIs of the delta that a resource is made from; else those that are committed.
func (x *Index) behind(d Delta, typeURL, name string) []*compiled {
	var joining []*compiled
	var group map[string]bool
	switch typeURL {
	case clusterType:
		joining, group = d.clusters[name], x.clusters[name]
	case routeType, scopeType:
		key := strings.TrimPrefix(name, "/") // scopeName
		joining, group = d.scopes[key], x.scopes[key]
	case posternv1.ProbeType:
		if c := cmp.Or(d.apis[name], x.apis[name]); c != nil {
			joining = append(joining, c)
		}
	case posternv1.PolicyType, posternv1.LimitsType:
		own := func(c *compiled) bool { return c != nil && (c.policy.Name == name || c.limits.Name == name) }
		if joining = having(d.apis, own); len(joining) == 0 {
			return having(x.apis, own)
		}
	}
	if len(joining) > 0 {
		return joining
	}
	return x.after(Delta{}, group, nil)
}

func having(apis map[string]*compiled, own func(*compiled) bool) []*compiled {
	var found []*compiled
	for _, c := range apis {
		if own(c) {
			found = append(found, c)
		}
	}
	return found
}

// named are what words are about, by the first kind of name that occurs in them: of an operation its own, the expression
// for its path, its path, its cluster; then that of an API.
func named(apis []*compiled, words string) []Culprit {
	for _, names := range []func(f *face, p *path, o *operation) []string{
		func(_ *face, _ *path, o *operation) []string { return []string{o.ID()} },
		func(f *face, p *path, _ *operation) []string {
			regex := pathRegex(f, p)
			return []string{regex, strings.ReplaceAll(regex, `\`, `\\`)} // why both: in dumps it is quoted
		},
		func(f *face, _ *path, o *operation) []string { return []string{f.basePath() + o.Path} },
		func(_ *face, _ *path, o *operation) []string { return o.clusters() },
		func(f *face, _ *path, _ *operation) []string { return []string{f.ID()} },
	} {
		found := among(apis, func(f *face, p *path, o *operation) bool {
			return slices.ContainsFunc(names(f, p, o), func(name string) bool { return occurs(words, name) })
		})
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// among are the operations that are meant. An API all of whose operations are is named as a whole: a list of them would
// say no more.
func among(apis []*compiled, meant func(*face, *path, *operation) bool) []Culprit {
	var culprits []Culprit
	for _, c := range apis {
		var operations []Culprit
		told := map[string]bool{}
		for _, f := range c.faces {
			for _, p := range f.paths {
				for _, o := range p.operations {
					if id := o.ID(); !told[id] && meant(f, p, o) {
						told[id] = true
						operations = append(operations, Culprit{API: c.ID(), Operation: id, Origin: o.Origin})
					}
				}
			}
		}
		if n := len(operations); n > 1 && n == len(c.Operations) {
			operations = []Culprit{c.whole()}
		}
		culprits = append(culprits, operations...)
	}
	return culprits
}

func (c *compiled) whole() Culprit { return Culprit{API: c.ID(), Origin: c.Origin} }

// malformed says that a route of the operation breaks a constraint of Envoy's API: Envoy says which constraint, and not
// which route.
func (x *Index) malformed(f *face, _ *path, o *operation) bool {
	v := newVirtualHost(x.settings, "", anyHost, []*face{f})
	return slices.ContainsFunc(v.operationRoutes(f, o, nil, true), func(r *routev3.Route) bool { return r.Validate() != nil })
}

// clusters are those an operation's requests may go to.
func (o *operation) clusters() []string {
	var names []string
	for _, b := range o.backends {
		names = append(names, b.cluster)
	}
	return names
}

// occurs says whether a name stands in words, and not as a part of a longer one.
func occurs(words, name string) bool {
	for from := 0; ; from++ {
		i := strings.Index(words[from:], name)
		if i < 0 || name == "" {
			return false
		}
		from += i
		if !continues(words[:from], true) && !continues(words[from+len(name):], false) {
			return true
		}
	}
}

// continues says whether the text beside a name could belong to it.
func continues(beside string, before bool) bool {
	if beside == "" {
		return false
	}
	c := beside[0]
	switch {
	case before:
		c = beside[len(beside)-1]
	case c == '.' && len(beside) > 1: // else it ends a sentence
		c = beside[1]
	}
	return c == '/' || c == '{' || c == '-' || c == '_' || c >= 0x80 ||
		'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
