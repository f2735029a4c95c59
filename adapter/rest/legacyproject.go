package rest

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/project"
)

// legacyProject is a project as apictl sent it, in our layout.
type legacyProject struct {
	name    string
	archive []byte
	notes   []string // what of it has no effect
}

// apiYAML is what is read of an apictl project's api.yaml.
type apiYAML struct {
	Data struct {
		Name       string `yaml:"name"`
		Version    string `yaml:"version"`
		Context    string `yaml:"context"`
		Type       string `yaml:"type"`
		Throttling string `yaml:"apiThrottlingPolicy"`
		Endpoints  struct {
			Production yaml.Node `yaml:"production_endpoints"`
			Sandbox    yaml.Node `yaml:"sandbox_endpoints"`
			Security   yaml.Node `yaml:"endpoint_security"`
		} `yaml:"endpointConfig"`
		Operations []struct {
			Policies struct {
				Request, Response, Fault []yaml.Node
			} `yaml:"operationPolicies"`
		} `yaml:"operations"`
	} `yaml:"data"`
}

// convert makes a project of an apictl one: its OpenAPI definition, with name, version, base path and endpoints of its
// api.yaml. What cannot be served is refused where leaving it out would let somebody in or change an answer. A project in our
// own layout stays as it is.
func convert(archive []byte) (legacyProject, error) {
	files, err := project.OpenBytes(archive)
	if err != nil {
		return legacyProject{}, err
	}
	if is(files, "project.yaml") || is(files, "api_definitions") {
		name, err := ownName(files)
		return legacyProject{name: name, archive: archive}, err
	}
	files = topOf(files)
	text, err := firstOf(files, "api.yaml", "api.yml", "api.json")
	if err != nil {
		return legacyProject{}, errors.New("the archive is neither a project of ours nor one of apictl: it has no api.yaml at its top")
	}
	var a apiYAML
	if err := yaml.Unmarshal(text, &a); err != nil {
		return legacyProject{}, fmt.Errorf("api.yaml: %w", err)
	}
	definition, err := firstOf(files, "Definitions/swagger.yaml", "Definitions/swagger.yml", "Definitions/swagger.json")
	if err != nil {
		return legacyProject{}, errors.New("the archive has no Definitions/swagger.yaml; other kinds of APIs than HTTP are not served")
	}
	if err := a.check(files); err != nil {
		return legacyProject{}, err
	}
	return a.convert(files, definition)
}

// names are the bounds of the predecessor (compat.md §16).
var (
	legacyName    = regexp.MustCompile(`^[a-zA-Z0-9_~.-]{3,255}$`)
	legacyVersion = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,15}$`)
)

// check refuses what is not served, and must not be left out.
func (a *apiYAML) check(files fs.FS) error {
	d := a.Data
	switch {
	case !legacyName.MatchString(d.Name):
		return fmt.Errorf("api.yaml: data.name is %.64q, and must be 3 to 255 letters, digits and _ ~ . -", d.Name)
	case !legacyVersion.MatchString(d.Version):
		return fmt.Errorf("api.yaml: data.version is %.64q, and must be 1 to 15 letters, digits and _ . -", d.Version)
	case d.Type != "" && !strings.EqualFold(d.Type, "HTTP") && !strings.EqualFold(d.Type, "SOAPTOREST"):
		return fmt.Errorf("api.yaml: data.type is %.20s, and HTTP is served", d.Type)
	case d.Throttling != "" && !strings.EqualFold(d.Throttling, "Unlimited"):
		return fmt.Errorf("api.yaml: apiThrottlingPolicy %.64s would not be applied; write x-wso2-throttling-tier into the definition, and Unlimited here", d.Throttling)
	case is(files, "Client-certificates"):
		return errors.New("the folder Client-certificates would have no effect; leave it out if the API is not to be protected by client certificates")
	}
	for _, o := range d.Operations {
		if len(o.Policies.Request)+len(o.Policies.Response)+len(o.Policies.Fault) > 0 {
			return errors.New("api.yaml: operationPolicies would not be applied; leave them out if the API does without")
		}
	}
	return nil
}

func (a *apiYAML) convert(files fs.FS, definition []byte) (legacyProject, error) {
	d := a.Data
	p := legacyProject{name: strings.TrimLeft(d.Name, "_~.-") + "-" + d.Version}
	if !projectName.MatchString(p.name) {
		return p, fmt.Errorf("api.yaml: no project's name can be made of %.64q", d.Name)
	}
	about := map[string]any{"name": d.Name, "version": d.Version}
	if d.Context != "" {
		about["basePath"] = basePathOf(d.Context, d.Version)
	}
	for key, node := range map[string]*yaml.Node{"production": &d.Endpoints.Production, "sandbox": &d.Endpoints.Sandbox} {
		if urls := urlsOf(node); len(urls) > 0 {
			about[key] = urls
		}
	}
	file := "swagger.yaml"
	if first := bytes.TrimSpace(definition); len(first) > 0 && first[0] == '{' {
		file = "swagger.json"
	}
	manifest, err := yaml.Marshal(map[string]any{"name": p.name, "definitions": map[string]any{file: about}})
	if err != nil {
		return p, err
	}
	for what, there := range map[string]bool{
		"Endpoint-certificates": is(files, "Endpoint-certificates"), "endpoint_security": !d.Endpoints.Security.IsZero(),
		"deployment_environments.yaml": is(files, "deployment_environments.yaml"), "Docs": is(files, "Docs"), "Policies": is(files, "Policies"),
	} {
		if there {
			p.notes = append(p.notes, what+" has no effect")
		}
	}
	p.archive, err = pack(map[string][]byte{"project.yaml": manifest, "api_definitions/" + file: definition})
	return p, err
}

// basePathOf is the context with the version behind it, or in its place.
func basePathOf(context, version string) string {
	if strings.Contains(context, "{version}") {
		return strings.ReplaceAll(context, "{version}", version)
	}
	return strings.TrimSuffix(context, "/") + "/" + version
}

// urlsOf are the endpoints' URLs: of one, or of a list.
func urlsOf(n *yaml.Node) []string {
	type endpoint struct {
		URL string `yaml:"url"`
	}
	var one endpoint
	if n.Decode(&one) == nil && one.URL != "" {
		return []string{one.URL}
	}
	var several []endpoint
	var urls []string
	if n.Decode(&several) == nil {
		for _, e := range several {
			if e.URL != "" {
				urls = append(urls, e.URL)
			}
		}
	}
	return urls
}

func pack(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// ownName is what a project in our layout calls itself.
func ownName(files fs.FS) (string, error) {
	text, err := fs.ReadFile(files, "project.yaml")
	var manifest struct {
		Name string `yaml:"name"`
	}
	if err == nil {
		err = yaml.Unmarshal(text, &manifest)
	}
	if err != nil || !projectName.MatchString(manifest.Name) {
		return "", errors.New("project.yaml must say the project's name")
	}
	return manifest.Name, nil
}

func is(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}

// topOf is the one folder at the top, if a folder was packed.
func topOf(files fs.FS) fs.FS {
	entries, err := fs.ReadDir(files, ".")
	if err == nil && len(entries) == 1 && entries[0].IsDir() {
		if within, err := fs.Sub(files, entries[0].Name()); err == nil {
			return within
		}
	}
	return files
}

func firstOf(files fs.FS, names ...string) ([]byte, error) {
	for _, name := range names {
		text, err := fs.ReadFile(files, path.Clean(name))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, fs.ErrNotExist
}
