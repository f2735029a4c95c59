package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

const extensionsHead = `# Extensions of a definition

Keys beginning with ` + "`x-`" + ` that Postern reads in an OpenAPI or Swagger document. The ` + "`x-wso2-`" + ` ones are inherited from WSO2 API
Microgateway and Choreo Connect; see [migration](../migration-from-wso2.md). At several levels the inner one wins: operation, then path, then
API (the root of the document).

A key that is unknown, misplaced or of the wrong type is reported with its place. One that this build does not serve is an
error where ignoring it would weaken security or change an answer, and a warning otherwise.

## Served

| key | at | shape | what it does |
|---|---|---|---|
`

const extensionsTail = `
## Known, and not served by this build

| key | ignoring it is | because |
|---|---|---|
`

// meanings are the one thing about an extension that its code does not say in words. A key without a meaning, or a
// meaning without a key, is an error.
var meanings = map[string]string{
	"x-wso2-basePath":               "The public base path; beats every other source. `{version}` stands for `info.version`, `{basePath}` for the `basePath` of Swagger 2.",
	"x-wso2-production-endpoints":   "The backends: an endpoint object (`urls`, `type`, `advanceEndpointConfig`), or `#/x-wso2-endpoints/NAME`. Without it, the absolute `servers` URLs.",
	"x-wso2-sandbox-endpoints":      "The backends for sandbox keys. Read and checked; production serves until there are sandbox keys, with a warning.",
	"x-wso2-endpoints":              "Named endpoint objects, for references: a list of maps of one key each.",
	"x-wso2-cors":                   "What browsers of other origins may do; replaces the gateway's own `cors`. See [CORS](../guides/cors.md).",
	"x-wso2-throttling-tier":        "A tier of `policies.yaml`. At the API: one counter for the operations without a tier of their own. See [limits](../guides/limits.md).",
	"x-throttling-tier":             "The same, as API Manager exports it; the other key wins where both stand.",
	"x-wso2-disable-security":       "`true`: nobody is asked for a credential, and what the client sends travels to the backend unchanged.",
	"x-auth-type":                   "`None` is the same as `x-wso2-disable-security: true`; every other value means secured.",
	"x-wso2-auth-header":            "The header that carries the token instead of `Authorization`.",
	"x-wso2-application-security":   "`security-types` choose among the schemes; replaces OpenAPI's `security` at its level.",
	"x-wso2-transports":             "`http`, `https`: the listeners the API is published on.",
	"x-wso2-http2-backend-enabled":  "`true`: HTTP/2 to the backends, h2c for `http://`, negotiated for `https://`.",
	"x-postern-scopes":              "`all` (the default) or `any` of the scopes of a security requirement are needed.",
	"x-postern-token":               "`{in: header\\|cookie\\|query, name}`: where the token is, instead of the `Authorization` header.",
	"x-postern-state":               "`deployed`, `prototyped`, `blocked` (503) or `retired` (410); `state` in `project.yaml` goes before it, and what closes the API closes all operations. See [life of an API](../guides/lifecycle.md).",
	"x-postern-deprecated":          "`true`, or the date since when: answers carry `Deprecation` (RFC 9745). `false` takes back what an outer level says, and `deprecated: true` beside it.",
	"x-postern-deprecation-link":    "The URL of a page about the deprecation: answers carry it as `Link` with `rel=\"deprecation\"`, if the operation is deprecated or has a sunset.",
	"x-postern-sunset":              "A date, `2027-01-31` (its midnight in UTC) or `2027-01-31T12:00:00Z`: answers carry `Sunset` (RFC 8594), and are 410 from then on.",
	"x-postern-limits":              "Policies of `policies.yaml` that hold beside the tier.",
	"x-postern-forward-credentials": "`true`: the token that was checked stays in the request to the backend.",
	"x-postern-identity-headers":    "`{claim: header}`: claims handed to the backend, beside `x-postern-subject`, `-scopes` and `-client`.",
}

type extension struct {
	levels, kinds []string
	unserved      string
	refused       bool
}

// extensions makes the page from the table that the code works by.
func extensions(b *bytes.Buffer) error {
	found, err := readExtensions()
	if err != nil {
		return err
	}
	for key := range meanings {
		if e, ok := found[key]; !ok || e.unserved != "" {
			return fmt.Errorf("%s has a meaning here, and adapter/project does not serve it", key)
		}
	}
	b.WriteString(extensionsHead)
	for _, key := range slices.Sorted(maps.Keys(found)) {
		e := found[key]
		if e.unserved != "" {
			continue
		}
		if meanings[key] == "" {
			return fmt.Errorf("%s has no meaning in internal/docgen", key)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, strings.Join(e.levels, ", "), strings.Join(e.kinds, " or "), meanings[key])
	}
	b.WriteString(extensionsTail)
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if e := found[key]; e.unserved != "" {
			harm := "a warning"
			if e.refused {
				harm = "an error"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", key, harm, e.unserved)
		}
	}
	return nil
}

// readExtensions reads the variable "extensions" of adapter/project.
func readExtensions() (map[string]extension, error) {
	words := map[string]string{
		"atAPI": "API", "atPath": "path", "atOperation": "operation", "everywhere": "API, path, operation",
		"text": "text", "object": "object", "list": "list", "boolean": "true or false", "number": "number",
	}
	found := map[string]extension{}
	err := sources(func(_ string, syntax *ast.File) {
		ast.Inspect(syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Names) != 1 || spec.Names[0].Name != "extensions" || len(spec.Values) != 1 {
				return true
			}
			table, ok := spec.Values[0].(*ast.CompositeLit)
			if !ok {
				return true
			}
			for _, element := range table.Elts {
				pair, ok := element.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				if value, ok := pair.Value.(*ast.CompositeLit); ok {
					named := fields(value)
					refused, _ := named["refused"].(*ast.Ident)
					found[literal(pair.Key)] = extension{
						levels: names(named["levels"], words), kinds: names(named["kinds"], words),
						unserved: literal(named["unserved"]), refused: refused != nil && refused.Name == "true",
					}
				}
			}
			return false
		})
	}, "adapter/project")
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no extension was found: has the table in adapter/project changed?")
	}
	return found, err
}

// names are the identifiers in an expression such as atAPI | atPath or []kind{text, object}, in words.
func names(e ast.Expr, words map[string]string) []string {
	var found []string
	if e == nil {
		return nil
	}
	ast.Inspect(e, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && words[id.Name] != "" {
			found = append(found, words[id.Name])
		}
		return true
	})
	return found
}
