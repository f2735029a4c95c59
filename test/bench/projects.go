package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fleet is a number of APIs made for a row, in projects of ten. Their operations are those of collections, five each:
// what most definitions look like.
type fleet struct {
	apis       int
	operations int      // of each API
	backends   []string // host:port, used in turn
	above      string   // what all base paths begin with, "/api"
	anonymous  bool     // nobody is asked for a token; else what a definition says that says nothing: everybody is
	wide       bool     // instead of collections, each operation at a path template of its own
}

const perProject = 10

// collection is what is done with one.
var collection = []struct{ method, path string }{
	{"get", ""}, {"post", ""}, {"get", "/{id}"}, {"put", "/{id}"}, {"delete", "/{id}"},
}

// operation is an API's i-th.
func (f fleet) operation(i int) (method, path string) {
	if f.wide {
		return "get", fmt.Sprintf("/thing%03d/{id}", i)
	}
	o := collection[i%len(collection)]
	return o.method, fmt.Sprintf("/thing%03d%s", i/len(collection), o.path)
}

func (f fleet) base(api int) string { return fmt.Sprintf("%s/api%05d/1.0.0", f.above, api) }

// first is the request path of an API's first operation that is a GET, last that of its last.
func (f fleet) first(api int) string { return f.request(api, 0, 1) }
func (f fleet) last(api int) string  { return f.request(api, f.operations-1, -1) }

func (f fleet) request(api, from, step int) string {
	for i := from; ; i += step {
		if method, path := f.operation(i); method == "get" {
			return f.base(api) + strings.ReplaceAll(path, "{id}", "1")
		}
	}
}

// write puts the projects into a folder and returns their own folders.
func (f fleet) write(dir string) ([]string, error) {
	var projects []string
	for api := range f.apis {
		file := f.file(dir, api)
		if api%perProject == 0 {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return nil, err
			}
			projects = append(projects, filepath.Dir(filepath.Dir(file)))
		}
		if err := os.WriteFile(file, []byte(f.definition(api)), 0o644); err != nil {
			return nil, err
		}
	}
	return projects, nil
}

// file is where an API's definition lies.
func (f fleet) file(dir string, api int) string {
	return filepath.Join(dir, fmt.Sprintf("project%04d", api/perProject), "api_definitions", fmt.Sprintf("api%05d.yaml", api))
}

// definition is an API in OpenAPI 3; extra are the paths of further GETs.
func (f fleet) definition(api int, extra ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "openapi: 3.0.3\ninfo: {title: api%05d, version: 1.0.0}\nx-wso2-basePath: %s\n", api, f.base(api))
	fmt.Fprintf(&b, "x-wso2-production-endpoints: {urls: [\"http://%s\"]}\n", f.backends[api%len(f.backends)])
	if f.anonymous {
		b.WriteString("x-wso2-disable-security: true\n")
	}
	b.WriteString("paths:\n")
	before := ""
	for i := range f.operations + len(extra) {
		method, path := "get", ""
		if i < f.operations {
			method, path = f.operation(i)
		} else {
			path = extra[i-f.operations]
		}
		if path != before {
			fmt.Fprintf(&b, "  %s:\n", path)
			if strings.Contains(path, "{id}") {
				b.WriteString("    parameters: [{name: id, in: path, required: true, schema: {type: string}}]\n")
			}
			before = path
		}
		fmt.Fprintf(&b, "    %s:\n      operationId: %s%d\n      responses: {\"200\": {description: The thing.}}\n", method, method, i)
	}
	return b.String()
}
