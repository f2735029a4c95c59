package project

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

var (
	versionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,59}$`)
	basePathOK  = regexp.MustCompile(`^/[a-zA-Z0-9~/_.-]*$`)
	notSlug     = regexp.MustCompile(`[^a-z0-9]+`)
)

// Slug makes a name of a title: "Swagger Petstore" becomes "swagger-petstore". It is "" if nothing of it can stay.
func Slug(title string) string {
	return strings.Trim(notSlug.ReplaceAllString(strings.ToLower(title), "-"), "-")
}

// ValidName says whether a project, an API can have this name.
func ValidName(name string) bool { return plainName.MatchString(name) }

// identity is the API's name and version: from project.yaml, else info.title and info.version.
func (d *definition) identity() (name, version string) {
	info := d.root.get("info")
	named, versioned := d.said.get("name").scalar() != "", d.said.get("version").scalar() != ""
	switch {
	case named && versioned:
	case info == nil || info.kind == null:
		d.refuse(d.near(d.root, "info"), "missing-info", "info is missing, which says the API's name and version; write title and version into it, or say name and version in %s", d.saidHere())
		return "", ""
	case !d.is(info, "info", object):
		return "", ""
	}
	if n := d.said.get("name"); n.scalar() != "" {
		name = n.scalar()
		if !plainName.MatchString(name) {
			d.refuse(n.at(), "bad-name", "%q cannot be an API's name; use letters, digits and . _ ~ -, a letter or digit first", name)
		}
	} else if title := info.get("title"); title == nil {
		d.refuse(info.keyAt(), "missing-name", "title is missing, which the API's name is made of; write one, or give the definition a name in %s", d.saidHere())
	} else if name = Slug(title.scalar()); name == "" {
		d.refuse(title.at(), "missing-name", "no name can be made of info.title; give the definition a name in %s", d.saidHere())
	}
	if n := d.said.get("version"); n.scalar() != "" {
		version = n.scalar()
		if !versionName.MatchString(version) {
			d.refuse(n.at(), "bad-version", "%q cannot be a version; use up to 60 letters, digits and . _ + ~ -, a letter or digit first", version)
		}
		return name, version
	}
	if info.get("version") == nil {
		d.refuse(info.keyAt(), "bad-version", "version is missing; write one, such as \"1.0.0\", or give the definition a version in %s", d.saidHere())
		return name, ""
	}
	if version = info.get("version").scalar(); !versionName.MatchString(version) {
		d.refuse(d.near(info, "version"), "bad-version",
			"info.version %q cannot be a version (letters, digits and . _ + ~ -); correct it, or give the definition a version in %s", version, d.saidHere())
	}
	return name, version
}

// saidHere tells where project.yaml speaks of this definition.
func (d *definition) saidHere() string {
	return manifestFile + " under definitions: " + path.Base(d.file)
}

// basePath is the first of x-wso2-basePath, project.yaml, the path of the first server (Swagger 2.0: basePath) and "/".
func (d *definition) basePath(version string) string {
	n := d.api().at("x-wso2-basePath")
	if n == nil {
		if said := d.said.get("basePath"); said.text() != "" {
			n = said
		}
	}
	if n != nil {
		expanded := strings.ReplaceAll(n.value, "{version}", version)
		if swagger := d.root.get("basePath").text(); d.swagger2 {
			expanded = strings.ReplaceAll(expanded, "{basePath}", strings.TrimSuffix(swagger, "/"))
		}
		return d.checkBasePath(n, expanded)
	}
	if d.swagger2 {
		if n = d.root.get("basePath"); n.text() != "" {
			return d.checkBasePath(n, n.value)
		}
		return "/"
	}
	servers := d.root.get("servers").items()
	if len(servers) == 0 {
		return "/"
	}
	n = servers[0].get("url")
	address, ok := d.serverURL(servers[0])
	if !ok || address == "" {
		return "/"
	}
	u, err := url.Parse(address)
	if err != nil {
		return "/" // a broken URL is refused where it serves as a backend
	}
	switch {
	case u.Path == "" && u.Host != "":
		return "/"
	case u.Host == "" && !strings.HasPrefix(u.Path, "/"):
		d.refuse(n.at(), "bad-base-path", "the server %s is neither a URL nor a path; write https://host/path or /path", shown(n))
		return "/"
	}
	return d.checkBasePath(n, u.EscapedPath())
}

// checkBasePath returns the path without a slash at its end, or refuses it.
func (d *definition) checkBasePath(n *node, base string) string {
	segments := strings.Split(strings.Trim(base, "/"), "/")
	switch {
	case !strings.HasPrefix(base, "/") && base != "":
		d.refuse(n.at(), "bad-base-path", "the base path %q must start with \"/\"", n.value)
	case !basePathOK.MatchString("/" + strings.TrimPrefix(base, "/")):
		d.refuse(n.at(), "bad-base-path", "the base path %q may hold letters, digits and ~ / _ . - only; choose another with basePath in %s", n.value, d.saidHere())
	case strings.Contains(base, "//"):
		d.refuse(n.at(), "bad-base-path", "the base path %q has an empty segment; remove the second \"/\"", n.value)
	case dotSegment(segments):
		d.refuse(n.at(), "bad-base-path", "the base path %q has a \".\" or \"..\" segment, which no request's path still has when it is routed", n.value)
	}
	return "/" + strings.Trim(base, "/")
}

func dotSegment(segments []string) bool {
	for _, s := range segments {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}
