package initproject

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	notVersion = regexp.MustCompile(`[^A-Za-z0-9._+~-]+`)
	startsWell = regexp.MustCompile(`^[A-Za-z0-9]`)
)

// version is what of info.version can be a version.
func version(s string) string {
	s = strings.Trim(notVersion.ReplaceAllString(s, "-"), "-")
	if !startsWell.MatchString(s) {
		s = "1" + s
	}
	return s[:min(len(s), 60)]
}

// separate gives every definition a name and version, and a base path, that no other has. A definition that says no
// base path, or the same as another, gets /name/version.
func separate(definitions []Definition) error {
	ids := map[string]bool{}
	for i := range definitions {
		d := &definitions[i]
		name := d.Name
		for n := 2; ids[d.Name+"/"+d.Version]; n++ {
			d.Name = name + "-" + strconv.Itoa(n)
		}
		ids[d.Name+"/"+d.Version] = true
	}
	wanted := map[string]int{}
	fixed := map[string]string{}
	for _, d := range definitions {
		wanted[d.BasePath]++
		if !d.pinned {
			continue
		}
		if other, taken := fixed[d.BasePath]; taken {
			return fmt.Errorf("%s and %s both say x-wso2-basePath: %s; change one of them first", other, d.Source, d.BasePath)
		}
		fixed[d.BasePath] = d.Source
	}
	for i := range definitions {
		d := &definitions[i]
		if d.pinned || d.BasePath != "/" && wanted[d.BasePath] == 1 {
			continue
		}
		d.BasePath = "/" + d.Name + "/" + strings.ReplaceAll(d.Version, "+", "_")
		if wanted[d.BasePath] > 0 { // somebody else's own
			d.BasePath += "-" + strconv.Itoa(i+1)
		}
	}
	return nil
}

// manifest is project.yaml.
func manifest(name string, definitions []Definition) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What the project says beside its definitions. Environments can say otherwise: environments/NAME.yaml.\n")
	fmt.Fprintf(&b, "name: %q\ndefinitions:\n", name)
	for _, d := range definitions {
		fmt.Fprintf(&b, "  %q:\n    name: %q\n    version: %q\n    basePath: %q\n", d.File, d.Name, d.Version, d.BasePath)
		if !d.Backend {
			fmt.Fprintf(&b, "    production: []   # add where requests go, such as http://127.0.0.1:8080\n")
		}
	}
	return b.Bytes()
}

// readme tells where to go on.
func readme(name string, definitions []Definition) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\nAPIs of this [Postern](https://github.com/postern-gateway/postern) project:\n\n", name)
	fmt.Fprintf(&b, "| API | base path | definition |\n|---|---|---|\n")
	for _, d := range definitions {
		fmt.Fprintf(&b, "| %s %s | `%s` | `%s/%s` |\n", d.Name, d.Version, d.BasePath, folder, d.File)
	}
	fmt.Fprintf(&b, "\n```sh\npostern validate .   # every mistake, with its place\npostern run . --dev  # serve it here\n```\n\n")
	fmt.Fprintf(&b, "`project.yaml` holds names, base paths and backends; throttle policies go into `policies.yaml`, what differs\n"+
		"between environments into `environments/NAME.yaml`. `postern schema` prints the JSON Schemas of these files.\n")
	return b.Bytes()
}
