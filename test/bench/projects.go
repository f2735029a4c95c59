package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fleet is a number of APIs made for a row, in projects of ten.
type fleet struct {
	apis       int
	operations int      // of each API
	backends   []string // host:port, used in turn
	above      string   // what all base paths begin with, "/api"
	secured    bool     // else operations ask for no token
}

const perProject = 10

// path is the request path of an API's operation.
func (f fleet) path(api, operation int) string {
	return fmt.Sprintf("%s/thing%03d/1", f.base(api), operation)
}

func (f fleet) base(api int) string { return fmt.Sprintf("%s/api%05d/1.0.0", f.above, api) }

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

// definition is an API in OpenAPI 3; extra are names of operations beside the fleet's.
func (f fleet) definition(api int, extra ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "openapi: 3.0.3\ninfo: {title: api%05d, version: 1.0.0}\nx-wso2-basePath: %s\n", api, f.base(api))
	fmt.Fprintf(&b, "x-wso2-production-endpoints: {urls: [\"http://%s\"]}\n", f.backends[api%len(f.backends)])
	if !f.secured {
		b.WriteString("x-wso2-disable-security: true\n")
	}
	b.WriteString("paths:\n")
	for i := range f.operations {
		operation(&b, fmt.Sprintf("thing%03d", i))
	}
	for _, name := range extra {
		operation(&b, name)
	}
	return b.String()
}

func operation(b *strings.Builder, name string) {
	fmt.Fprintf(b, "  /%s/{id}:\n    get:\n      operationId: get_%s\n      parameters: [{name: id, in: path, required: true, schema: {type: string}}]\n"+
		"      responses: {\"200\": {description: The thing.}}\n", name, name)
}
