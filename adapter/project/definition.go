package project

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// definition compiles one OpenAPI document into one API.
type definition struct {
	report
	*shared
	file     string
	root     *node
	said     *node // what project.yaml says about it; nil for nothing
	swagger2 bool

	// What several operations share is read once, by the node it stands at.
	backends       map[*node]*model.Backend
	required       map[*node][]model.Alternative
	named          map[string]*node // x-wso2-endpoints
	withoutBackend int
	undeclared     undeclared
	uses           map[string]bool // names of policies
	warnedSandbox  bool
	// fragment: the document does not say that it is a definition, so others must refer to it.
	fragment bool
}

func newDefinition(s *shared, file string) *definition {
	return &definition{
		shared:   s,
		file:     file,
		said:     s.manifest.definitions.get(path.Base(file)),
		backends: map[*node]*model.Backend{},
		required: map[*node][]model.Alternative{},
		named:    map[string]*node{},
		uses:     map[string]bool{},
	}
}

// api is the level of the document's root.
func (d *definition) api() leveled { return leveled{atAPI, d.root} }

// compile reads the document from top to bottom; what is wrong is in the report.
func (d *definition) compile() model.API {
	doc, err := d.documents.load(d.file)
	if err != nil {
		d.add(d.file, err)
		return model.API{}
	}
	d.root = doc.root
	if !d.version() {
		return model.API{}
	}
	d.lint(d.root, atAPI)

	name, version := d.identity()
	api := model.API{
		Project:  d.manifest.name,
		Name:     name,
		Version:  version,
		Title:    d.root.get("info").get("title").scalar(),
		BasePath: d.basePath(version),
		Hosts:    d.hosts(d.said.get("hosts")),
		State:    d.apiState(),
		Limits:   uniqueLimits(d.limits(d.api(), model.PerAPI)),
		Origin:   model.Origin{File: d.file, Line: d.root.line, Column: d.root.column},
	}
	api.Aliases = d.aliases(api.BasePath, version)
	if len(api.Hosts) == 0 {
		api.Hosts = d.manifest.hosts
	}
	api.Tier, _ = d.tier(d.api(), model.PerAPI)
	d.transports()
	d.namedEndpoints()
	api.Operations = d.operations(api.State)
	api.CORS = d.cors(methodsOf(api.Operations))
	d.judge()
	return api
}

// version says whether the document is of a kind this build reads.
func (d *definition) version() bool {
	if d.root.kind != object {
		d.refuse(d.root.at(), "not-a-definition", "%s stands where a definition should: an object that begins with openapi: 3.0.x or 3.1.x, or with swagger: 2.0", d.root.kind)
		return false
	}
	openapi, swagger := d.root.get("openapi"), d.root.get("swagger")
	switch v := openapi.scalar(); {
	case openapi != nil && (majorMinor(v, "3.0") || majorMinor(v, "3.1")):
		return true
	case openapi != nil && v == "":
		d.refuse(openapi.keyAt(), "unknown-version", "openapi: does not say which version this is; write 3.0.x or 3.1.x")
	case openapi != nil:
		d.refuse(openapi.at(), "unknown-version", "OpenAPI %s is not known; write 3.0.x or 3.1.x", v)
	case majorMinor(swagger.scalar(), "2.0"):
		d.swagger2 = true
		return true
	case swagger != nil:
		d.refuse(swagger.at(), "unknown-version", "Swagger %s is not known; write 2.0", swagger.scalar())
	case d.root.get("asyncapi") != nil:
		d.refuse(d.root.get("asyncapi").keyAt(), "not-served", "this build serves OpenAPI definitions only; move the file out of %s", definitionsFolder)
	default:
		d.fragment = true
	}
	return false
}

// meant guesses what a document that does not say what it is has said instead.
func (d *definition) meant() string {
	for _, key := range []string{"openapi", "swagger"} {
		if near := closest(key, d.root.keys()); near != "" {
			return fmt.Sprintf(" (is %q meant to be %s?)", near, key)
		}
	}
	return ""
}

func majorMinor(version, want string) bool {
	return version == want || strings.HasPrefix(version, want+".")
}

// methods are the operations that OpenAPI knows.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// operations reads all paths; they are sorted by path, then method.
func (d *definition) operations(state model.Lifecycle) []model.Operation {
	var out []model.Operation
	var all []routed
	paths := d.root.get("paths")
	if paths != nil && paths.kind != null && !d.is(paths, "paths", object) {
		return nil
	}
	first := model.Origin{}
	for _, m := range paths.fields() {
		if strings.HasPrefix(m.key, "x-") {
			continue
		}
		err := checkPath(m.key)
		if err != nil {
			d.refuse(m.keyAt(), "bad-path", "the path %q cannot be served: %v", m.key, err)
		}
		item := d.pathItem(m)
		if item == nil {
			continue
		}
		for _, method := range methods {
			n := item.get(method)
			if !d.is(n, method, object) {
				continue
			}
			before := d.withoutBackend
			o := d.operation(strings.ToUpper(method), m.key, place{api: d.root, path: item, operation: n}, state)
			out = append(out, o)
			if d.withoutBackend == 1 && before == 0 {
				first = n.keyAt()
			}
			if err == nil {
				all = append(all, routed{template: model.ParseTemplate(m.key), method: o.Method, path: m.key, at: o.Origin})
			}
		}
		if err == nil {
			d.pathParameters(m, item)
		}
	}
	d.checkOperations(paths, all, first)
	d.warnUndeclared()
	slices.SortFunc(out, func(a, b model.Operation) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	return out
}

// checkOperations refuses what is wrong with all operations together.
func (d *definition) checkOperations(paths *node, all []routed, withoutBackend model.Origin) {
	switch {
	case len(paths.fields()) == 0:
		d.refuse(d.near(d.root, "paths"), "no-operations", "the definition has no paths, so there is nothing to serve; add some")
		return
	case len(all) == 0 && !model.Refusing(d.problems):
		d.refuse(paths.keyAt(), "no-operations", "none of the paths has an operation; add get:, post: or another")
	case len(all) > maxOperations:
		d.refuse(paths.keyAt(), "too-many-operations", "%d operations are more than the %d of one API; split the definition", len(all), maxOperations)
		return
	}
	if d.withoutBackend > 0 {
		d.refuse(withoutBackend, "no-backend", "nothing says where the requests of this operation%s go; add an absolute URL to servers, %s to the definition, or production: [URL] to %s",
			others(d.withoutBackend-1), productionKey, d.saidHere())
	}
	d.ambiguities(all)
}

func others(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " and of one more"
	}
	return " and of " + strconv.Itoa(n) + " more"
}

// pathItem is what stands at a path, its $ref followed: what is written beside a $ref counts too.
func (d *definition) pathItem(m *node) *node {
	if !d.is(m, "a path", object) {
		return nil
	}
	target, err := d.documents.deref(m)
	if err != nil {
		d.add(d.file, err)
		return nil
	}
	if target != m {
		if !d.is(target, "a path", object) {
			return nil
		}
		m = overlay(target, m)
	}
	d.lint(m, atPath)
	known := append([]string{"$ref", "summary", "description", "servers", "parameters"}, methods...)
	for _, f := range m.members {
		switch lower := strings.ToLower(f.key); {
		case strings.HasPrefix(f.key, "x-") || slices.Contains(known, f.key):
		case slices.Contains(methods, lower): // an operation that is meant, and would not be served
			d.refuse(f.keyAt(), "bad-method", "methods are written in lower case; write %s", lower)
		default:
			d.warn(f.keyAt(), "unknown-member", "a path has no %q%s; it has no effect", f.key, didYouMean(f.key, slices.Values(known)))
		}
	}
	return m
}

// operation reads one, of an API in a state.
func (d *definition) operation(method, path string, p place, state model.Lifecycle) model.Operation {
	d.lint(p.operation, atOperation)
	o := model.Operation{
		Method:   method,
		Path:     path,
		Security: d.security(p),
		Sandbox:  d.sandbox(p),
		Limits:   d.operationLimits(p),
		State:    d.operationState(p, state),
		Lifespan: d.lifespan(p),
		Origin:   p.operation.keyAt(),
	}
	closed := model.API{State: state}.StateOf(o).Status() != 0
	o.Production = d.production(p, closed)
	o.Tier, o.Untiered = d.operationTier(p)
	return o
}

// transports checks x-wso2-transports: this build has the plain listener only.
func (d *definition) transports() {
	n := d.api().at("x-wso2-transports")
	if n == nil {
		return
	}
	var http bool
	for _, item := range d.words(n, n.key) {
		switch item.value {
		case "http":
			http = true
		case "https":
		default:
			d.warn(item.at(), "unknown-value", "%q is not a transport%s; write http or https", item.value, didYouMean(item.value, slices.Values([]string{"http", "https"})))
		}
	}
	if !http {
		d.refuse(n.keyAt(), "not-served", "this build has no https listener, and the API is not to be served over http; add http, or serve it with a build that has one")
	}
}

// methodsOf are the methods of operations, sorted, each once.
func methodsOf(operations []model.Operation) []string {
	seen := map[string]bool{}
	for _, o := range operations {
		seen[o.Method] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// near is where n's member stands, else n itself.
func (d *definition) near(n *node, key string) model.Origin {
	switch m := n.get(key); {
	case m != nil:
		return m.at()
	case n != nil:
		return n.keyAt()
	}
	return model.Origin{File: d.file, Line: 1, Column: 1}
}
