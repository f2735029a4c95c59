package project

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi3"

	"github.com/postern-gateway/postern/adapter/model"
)

// judge has kin-openapi read the whole definition, following every $ref, and reports what it cannot read. What the
// gateway acts on is read from the nodes all the same: they know their places, and match names by case, which
// encoding/json does not.
func (d *definition) judge() {
	err := d.kinReads()
	if err == nil {
		return
	}
	before := len(d.problems)
	walkRefs(d.root, false, func(ref *node) {
		if _, err := d.documents.follow(ref); err != nil {
			d.add(d.file, err)
		}
	})
	if len(d.problems) == before {
		d.conforms()
	}
	if !model.Refusing(d.problems) {
		d.unreadableParts()
	}
	if !model.Refusing(d.problems) { // else the same mistake may be told already, with its place
		d.refuse(d.root.at(), "bad-definition", "this is not a definition that can be read: %s", plain(err))
	}
}

func (d *definition) kinReads() error {
	doc, err := d.documents.load(d.file)
	if err != nil {
		return err
	}
	_, err = openapi(doc.json, d.file, d.swagger2, false, d.documents.asJSON)
	return err
}

// unreadableParts has kin-openapi read the parts of a definition one by one, to find the places that it refuses.
func (d *definition) unreadableParts() {
	for _, item := range d.root.get("paths").fields() {
		if d.swagger2 {
			unreadablePart[openapi2.PathItem](d, item)
		} else {
			unreadablePart[openapi3.PathItem](d, item)
		}
	}
	unreadablePart[openapi3.Info](d, d.root.get("info"))
	unreadablePart[openapi3.Tags](d, d.root.get("tags"))
	unreadablePart[openapi3.SecurityRequirements](d, d.root.get("security"))
	if d.swagger2 {
		unreadableMembers[openapi2.SchemaRef](d, d.root.get("definitions"))
		unreadableMembers[openapi2.Parameter](d, d.root.get("parameters"))
		unreadableMembers[openapi2.Response](d, d.root.get("responses"))
		unreadableMembers[openapi2.SecurityScheme](d, d.root.get("securityDefinitions"))
		return
	}
	unreadablePart[openapi3.Servers](d, d.root.get("servers"))
	components := d.root.get("components")
	unreadableMembers[openapi3.SchemaRef](d, components.get("schemas"))
	unreadableMembers[openapi3.ParameterRef](d, components.get("parameters"))
	unreadableMembers[openapi3.ResponseRef](d, components.get("responses"))
	unreadableMembers[openapi3.RequestBodyRef](d, components.get("requestBodies"))
	unreadableMembers[openapi3.HeaderRef](d, components.get("headers"))
	unreadableMembers[openapi3.SecuritySchemeRef](d, components.get("securitySchemes"))
}

func unreadableMembers[T any](d *definition, n *node) {
	for _, m := range n.fields() {
		unreadablePart[T](d, m)
	}
}

func unreadablePart[T any](d *definition, n *node) {
	if n == nil || d.refusedBelow(n) {
		return
	}
	var part T
	if err := json.Unmarshal(appendJSON(nil, n), &part); err != nil {
		d.refuse(n.keyAt(), "bad-definition", "this part of the definition cannot be read: %s", plain(err))
	}
}

// refusedBelow says whether something at n, or inside it, was refused already: then that is the mistake.
func (d *definition) refusedBelow(n *node) bool {
	pointer := n.pointer()
	return slices.ContainsFunc(d.problems, func(p model.Problem) bool {
		return p.Severity == model.Refused && p.File == n.file && (p.Pointer == pointer || strings.HasPrefix(p.Pointer, pointer+"/"))
	})
}

// mismatch is how encoding/json says that a value is of the wrong type.
var mismatch = regexp.MustCompile(`cannot unmarshal (\w+) into (?:Go )?(?:(?:struct )?field (\S+)|value) of type \S+`)

// plain is kin-openapi's error in the author's words: without Go's types, and said once though it tries JSON and YAML.
func plain(err error) string {
	words := err.Error()
	if _, after, ok := strings.Cut(words, "json error: "); ok {
		words, _, _ = strings.Cut(after, ", yaml error: ")
	}
	words = strings.TrimPrefix(words, "json: ")
	kinds := map[string]string{"array": "a list", "object": "an object", "string": "a string", "number": "a number", "bool": "true or false"}
	return mismatch.ReplaceAllStringFunc(words, func(s string) string {
		m := mismatch.FindStringSubmatch(s)
		return cmp.Or(m[2], "this") + " cannot be " + cmp.Or(kinds[m[1]], m[1])
	})
}
