package project

import (
	"regexp"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// origin is what a browser sends (RFC 6454 §6.2), any part of it a "*".
var origin = regexp.MustCompile(`^[a-z*][a-z0-9+.*-]*://[^/\s?#@]+$`)

// cors reads x-wso2-cors; nil leaves the API to the gateway-wide default.
func (d *definition) cors(methods []string) *model.CORS {
	n := d.api().at("x-wso2-cors")
	if n == nil {
		return nil
	}
	d.onlyMembersWarn(n, n.key, "corsConfigurationEnabled", "accessControlAllowCredentials", "accessControlAllowHeaders",
		"accessControlAllowMethods", "accessControlAllowOrigins", "accessControlExposeHeaders")
	out := &model.CORS{Enabled: true}
	if v := n.get("corsConfigurationEnabled"); d.takes(v, "corsConfigurationEnabled", boolean) && !v.isTrue() {
		return &model.CORS{}
	}
	if v := n.get("accessControlAllowCredentials"); d.takes(v, "accessControlAllowCredentials", boolean) {
		out.Credentials = v.isTrue()
	}
	out.Origins = d.origins(n)
	out.Methods = d.corsMethods(n.get("accessControlAllowMethods"), methods)
	out.Expose = d.headerNames(n.get("accessControlExposeHeaders"), nil)
	out.Headers = d.headerNames(n.get("accessControlAllowHeaders"), d.credentialHeaders())
	if out.Credentials && slices.Contains(out.Origins, "*") {
		d.refuse(n.get("accessControlAllowCredentials").keyAt(), "cors-any-origin",
			"any site could act with a user's cookies: name the origins, or set accessControlAllowCredentials: false")
	}
	return out
}

func (d *definition) origins(n *node) []string {
	origins := d.words(n.get("accessControlAllowOrigins"), "accessControlAllowOrigins")
	if len(origins) == 0 {
		d.warn(n.keyAt(), "cors-no-origin", `accessControlAllowOrigins names no origin, so browsers let no other site in; add one, or "*"`)
	}
	var out []string
	for _, item := range origins {
		o := strings.ToLower(item.value)
		if o != "*" && o != "null" && !origin.MatchString(o) {
			d.warn(item.at(), "unknown-value", "%q is not an origin and matches no browser's; write one such as https://shop.example.com, without a path", item.value)
			continue
		}
		out = append(out, o)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// corsMethods are those the author names, else those the API has.
func (d *definition) corsMethods(n *node, methods []string) []string {
	if n == nil {
		return methods
	}
	return d.tokens(n, strings.ToUpper)
}

func (d *definition) headerNames(n *node, otherwise []string) []string {
	if n == nil {
		return otherwise
	}
	return d.tokens(n, strings.ToLower)
}

// tokens are the words of a list that can be a method or a header's name, sorted, each once.
func (d *definition) tokens(n *node, spell func(string) string) []string {
	var out []string
	for _, item := range d.words(n, n.key) {
		if !httpToken.MatchString(item.value) {
			d.warn(item.at(), "unknown-value", "%q can be neither a method nor a header's name; it has no effect", item.value)
			continue
		}
		out = append(out, spell(item.value))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// credentialHeaders are what a caller of this API sends at least, for authors who name no headers.
func (d *definition) credentialHeaders() []string {
	out := []string{"authorization", "content-type"}
	if n := d.api().at("x-wso2-auth-header"); n != nil {
		out = append(out, strings.ToLower(n.value))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
