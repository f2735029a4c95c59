// Package project compiles a project's files into the gateway's model, or says everything that is wrong with them: file,
// line, column, JSON pointer, code. It is pure: it reads the file system it is given and nothing else. It must not import
// gRPC, Envoy's types or adapter/translate.
package project

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// Options are what a project is compiled with besides its files.
type Options struct {
	Name        string                           // the project's, if project.yaml gives none
	Environment string                           // the file in environments/ that is laid over project.yaml; "" is none
	Lookup      func(name string) (string, bool) // POSTERN_VAR_… of the process; nil is none
	Settings    model.Settings

	OwnAddresses  []string // "host:port" of the gateway's listeners, which are no backends
	AllowBackends []string // hosts, host:port or CIDR that are backends all the same

	// Cache spares what has not changed since it was given last; nil: nothing is known from before. What comes of a
	// project does not depend on it.
	Cache *Cache
}

// Compile turns a project's files into its model. If one of the problems refuses the project (model.Refusing), the
// model has no APIs, and no labels where those cannot be read: whose it is must not be guessed. The same input gives the
// same output.
func Compile(files fs.FS, o Options) (model.Project, []model.Problem) {
	c := &compiler{shared: &shared{options: o, documents: newDocuments(files)}}
	c.manifest = c.readManifest()
	if slices.ContainsFunc(c.problems, hidesLabels) {
		c.manifest.labels = nil
	}
	c.variables = variables{lookup: o.Lookup, values: c.manifest.values, asked: map[string]answer{}}
	c.policies = c.readPolicies()
	c.ca = c.backendCA()
	c.strangers()

	out := model.Project{Name: c.manifest.name, Labels: c.manifest.labels}
	apis := c.definitions()
	c.warnUnused(c.policies)
	c.conflicts(apis)
	problems := sorted(c.problems)
	if !model.Refusing(problems) {
		out.APIs = apis
	}
	return out, problems
}

// shared is what all definitions of a project are compiled with.
type shared struct {
	options   Options
	documents *documents
	variables variables
	manifest  manifest
	policies  policies
	ca        string // PEM of certificates/backends; "" leaves TLS backends to the system's CAs
}

// compiler reads what a project has beside its definitions.
type compiler struct {
	report
	*shared
}

// definitions compiles each file of api_definitions/, side by side, in the order of their names.
func (c *compiler) definitions() []model.API {
	var files []string
	for _, name := range c.list(definitionsFolder) {
		switch path.Ext(name) {
		case ".yaml", ".yml", ".json":
			files = append(files, path.Join(definitionsFolder, name))
		case ".proto", ".graphql", ".graphqls", ".gql", ".wsdl":
			c.refuse(originOf(path.Join(definitionsFolder, name)), "not-served", "this build serves OpenAPI definitions only; move the file out of %s", definitionsFolder)
		}
	}
	if len(files) == 0 {
		c.refuse(originOf(definitionsFolder), "no-definitions", "there is no OpenAPI definition; put one into %s/, as .yaml or .json", definitionsFolder)
	}
	o := c.options.Cache
	if o == nil {
		o = &Cache{}
	}
	return c.gather(o.compile(c.shared, files))
}

// gather collects the problems of all definitions, and leaves out the files that are none but are referred to.
func (c *compiler) gather(all []*outcome) []model.API {
	var out []model.API
	for _, o := range all {
		c.problems = append(c.problems, o.problems...)
		if !o.fragment {
			out = append(out, o.api)
			continue
		}
		if !c.documents.fetch(o.file).referred.Load() {
			c.refuse(o.at, "not-a-definition", "neither openapi: nor swagger: says what this is%s, and no definition refers to it; add what it is, or remove it", o.meant)
		}
	}
	return out
}

// list names the files of a folder, sorted; a folder that is not there has none. Names that start with "." are for
// editors and version control.
func (c *compiler) list(folder string) []string {
	entries, err := fs.ReadDir(c.documents.files, folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.add(folder, unreadable(folder, err))
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !hidden(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") }

// strangers points at names of the top folder that look like misspelt ones, which would have no effect.
func (c *compiler) strangers() {
	entries, _ := fs.ReadDir(c.documents.files, ".") // what cannot be read is said by those who need it
	for _, e := range entries {
		if hidden(e.Name()) || slices.Contains(ownNames, e.Name()) {
			continue
		}
		if e.Name() == "grpc_definitions" {
			c.refuse(originOf(e.Name()), "not-served", "this build serves OpenAPI definitions only; remove %s", e.Name())
		} else if near := closest(e.Name(), slices.Values(ownNames)); near != "" {
			c.warn(originOf(e.Name()), "unknown-file", "%s has no effect (did you mean %q?)", e.Name(), near)
		}
	}
}

// backendCA reads certificates/backends/*.pem: the CAs of TLS backends, all in one bundle.
func (c *compiler) backendCA() string {
	var bundle strings.Builder
	for _, name := range c.list(backendCAFolder) {
		if path.Ext(name) != ".pem" {
			continue
		}
		file := path.Join(backendCAFolder, name)
		data, err := readFile(c.documents.files, file, maxDocumentBytes)
		if err != nil {
			c.add(file, err)
			continue
		}
		if err := appendCertificates(&bundle, data); err != nil {
			c.refuse(originOf(file), "bad-certificate", "%v", err)
		}
	}
	return bundle.String()
}

// appendCertificates adds the certificates in data to bundle. Its error is a sentence for the author.
func appendCertificates(bundle *strings.Builder, data []byte) error {
	found := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("the file holds a %s; leave certificates only, and keys where they are used", strings.ToLower(block.Type))
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("a certificate in the file cannot be read: %w", err)
		}
		found = true
		if err := pem.Encode(bundle, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("there is no certificate in PEM form in the file; remove it, or put the CA of the backends there")
	}
	return nil
}

func originOf(file string) model.Origin { return model.Origin{File: file} }
