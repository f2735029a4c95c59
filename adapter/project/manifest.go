package project

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// The files of a project (design §3.3).
const (
	manifestFile      = "project.yaml"
	policiesFile      = "policies.yaml"
	definitionsFolder = "api_definitions"
	environmentFolder = "environments"
	backendCAFolder   = "certificates/backends"
)

// ownNames are what stands at a project's top.
var ownNames = []string{manifestFile, policiesFile, definitionsFolder, "certificates", "interceptors", environmentFolder}

// manifest is project.yaml with the chosen environment laid over it.
type manifest struct {
	name        string
	labels      []string
	hosts       []string
	definitions *node // an object of file name → settings; nil where there are none
	values      map[string]string
}

var (
	manifestKeys   = []string{"name", "labels", "hosts", "definitions"}
	definitionKeys = []string{"name", "version", "basePath", "hosts", "production", "sandbox", "clientCertificates", "default", "state"}
	plainName      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,254}$`)
)

// readManifest reads project.yaml and all of environments/, so that a mistake in another environment shows before its day
// comes; only the chosen one has an effect.
func (c *compiler) readManifest() manifest {
	root := c.optional(manifestFile)
	c.checkManifest(root, manifestFile, manifestKeys)
	var values *node
	for _, file := range c.environments() {
		over := c.optional(file)
		c.checkManifest(over, file, append(slices.Clone(manifestKeys), "values"))
		if strings.TrimSuffix(path.Base(file), ".yaml") == c.options.Environment {
			root, values = overlay(root, over), over.get("values")
		}
	}
	m := manifest{name: c.options.Name, labels: []string{"default"}, values: map[string]string{}}
	if !plainName.MatchString(m.name) {
		m.name = Slug(m.name) // a folder may be called anything
	}
	for _, v := range values.fields() {
		m.values[v.key] = v.scalar()
	}
	if root == nil || root.kind != object {
		return m
	}
	if n := root.get("name"); n.scalar() != "" {
		m.name = n.scalar()
	}
	if n := root.get("labels"); len(n.items()) > 0 {
		m.labels = c.uniqueStrings(n)
	}
	m.hosts = c.hosts(root.get("hosts"))
	if n := root.get("definitions"); n != nil && n.kind == object {
		m.definitions = n
	}
	return m
}

// hidesLabels says that for a problem of project.yaml or an environment nobody knows what labels the project is for.
func hidesLabels(p model.Problem) bool {
	return p.Severity == model.Refused && (p.Pointer == "" || strings.HasPrefix(p.Pointer, "/labels"))
}

// optional reads a document that may be absent: then it is nil.
func (c *compiler) optional(file string) *node {
	doc, err := c.documents.load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		c.add(file, err)
		return nil
	}
	if doc.root.kind == null {
		return nil
	}
	return doc.root
}

// environments are the files of environments/. The chosen one must be among them.
func (c *compiler) environments() []string {
	var files, names []string
	for _, name := range c.list(environmentFolder) {
		if path.Ext(name) == ".yaml" {
			files = append(files, path.Join(environmentFolder, name))
			names = append(names, strings.TrimSuffix(name, ".yaml"))
		}
	}
	if want := c.options.Environment; want != "" && !slices.Contains(names, want) {
		c.refuse(originOf(environmentFolder), "unknown-environment", "there is no %s/%s.yaml%s; add it, or choose another environment",
			environmentFolder, want, didYouMean(want, slices.Values(names)))
	}
	return files
}

func (c *compiler) checkManifest(n *node, file string, keys []string) {
	if !c.is(n, file, object) {
		return
	}
	c.onlyMembers(n, file, keys...)
	if v := n.get("name"); c.is(v, "name", text, number) && !plainName.MatchString(v.value) {
		c.refuse(v.at(), "bad-name", "%q cannot be a project's name; use letters, digits and . _ ~ -, a letter or digit first", v.value)
	}
	c.checkLabels(n.get("labels"))
	c.checkValues(n.get("values"))
	c.strings(n.get("hosts"), "hosts")
	definitions := n.get("definitions")
	c.is(definitions, "definitions", object)
	files := c.list(definitionsFolder) // sorted
	for _, d := range definitions.fields() {
		if _, there := slices.BinarySearch(files, d.key); !there {
			c.refuse(d.keyAt(), "unknown-definition", "there is no %s/%s%s", definitionsFolder, d.key, didYouMean(d.key, slices.Values(files)))
		}
		if !c.is(d, "what is said about "+d.key, object) {
			continue
		}
		c.onlyMembers(d, "a definition", definitionKeys...)
		c.checkDefinition(d)
	}
}

func (c *compiler) checkLabels(n *node) {
	for _, label := range c.strings(n, "labels") {
		if !model.ValidLabel(label) {
			c.refuse(n.at(), "bad-label", "%q cannot be a label; use up to 63 letters, digits and . _ -, a letter or digit first and last", label)
		}
	}
}

func (c *compiler) checkValues(n *node) {
	if !c.is(n, "values", object) {
		return
	}
	for _, v := range n.members {
		if !variableName.MatchString(v.key) {
			c.refuse(v.keyAt(), "bad-variable", "%q cannot be a variable; name it POSTERN_VAR_… in capitals, digits and \"_\"", v.key)
		}
		c.is(v, v.key, text, number, boolean)
	}
}

// checkDefinition checks the types of what project.yaml says about one definition, and names what this build does not
// act on. The values are checked where they are used.
func (c *compiler) checkDefinition(n *node) {
	for _, key := range []string{"name", "version"} {
		c.is(n.get(key), key, text, number)
	}
	c.is(n.get("basePath"), "basePath", text)
	c.is(n.get("state"), "state", text)
	for _, key := range []string{"hosts", "production", "sandbox", "clientCertificates"} {
		c.strings(n.get(key), key)
	}
	if v := n.get("clientCertificates"); len(v.items()) > 0 {
		c.warn(v.keyAt(), "not-served", "this build asks no client for a certificate; clientCertificates has no effect")
	}
	c.is(n.get("default"), "default", boolean)
}
