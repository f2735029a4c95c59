package project

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

const (
	stateKey           = "x-postern-state"
	deprecatedKey      = "x-postern-deprecated"
	deprecationLinkKey = "x-postern-deprecation-link"
	sunsetKey          = "x-postern-sunset"
)

// apiState is what project.yaml says, else x-postern-state at the document's root: who operates a gateway blocks an API
// without touching its definition.
func (d *definition) apiState() model.Lifecycle {
	for _, n := range []*node{d.said.get("state"), d.api().at(stateKey)} {
		if n.text() != "" {
			return d.lifecycle(n)
		}
	}
	return model.Deployed
}

// operationState is what the operation or its path says for itself, "" if they say nothing. What closes the API closes
// all of it.
func (d *definition) operationState(p place, api model.Lifecycle) model.Lifecycle {
	n, l := p.inner(stateKey)
	if n == nil || l == atAPI {
		return ""
	}
	own := d.lifecycle(n)
	if api.Status() != 0 && (own == model.Deployed || own == model.Prototyped) {
		d.warn(n.keyAt(), "no-effect", "the API is %s, and so is every operation; %s has no effect here", api, stateKey)
	}
	return own
}

func (d *definition) lifecycle(n *node) model.Lifecycle {
	words := make([]string, len(model.Lifecycles))
	for i, l := range model.Lifecycles {
		words[i] = string(l)
	}
	if !slices.Contains(words, n.value) {
		d.refuse(n.at(), "unknown-state", "%q is not a state%s; write %s", n.value, didYouMean(n.value, slices.Values(words)), strings.Join(words, ", "))
	}
	return model.Lifecycle(n.value)
}

// lifespan is what consumers are told about an operation's end.
func (d *definition) lifespan(p place) model.Lifespan {
	var out model.Lifespan
	said, at := p.inner(deprecatedKey)
	out.Deprecated = p.operation.get("deprecated").isTrue() && (said == nil || at != atOperation)
	switch {
	case said.isTrue():
		out.Deprecated = true
	case said.text() != "":
		out.Since = d.date(said)
		out.Deprecated = true
	}
	sunset, _ := p.inner(sunsetKey)
	if sunset != nil {
		out.Sunset = d.date(sunset)
	}
	if !out.Since.IsZero() && !out.Sunset.IsZero() && out.Sunset.Before(out.Since) {
		d.warn(sunset.keyAt(), "sunset-before-deprecation",
			"what ends on %s cannot be deprecated only on %s (RFC 9745 §4); correct one of the dates", shown(sunset), shown(said))
	}
	if n, _ := p.inner(deprecationLinkKey); n != nil && (out.Deprecated || !out.Sunset.IsZero()) {
		out.Link = d.link(n)
	}
	return out
}

// date reads a day, which begins at midnight UTC, or a moment (RFC 3339), to the second.
func (d *definition) date(n *node) time.Time {
	t, err := time.Parse(time.DateOnly, n.value)
	if err != nil {
		t, err = time.Parse(time.RFC3339, strings.ToUpper(n.value)) // why: it may be "2027-01-31t00:00:00z" (RFC 3339 §5.6)
	}
	if t = t.UTC().Truncate(time.Second); err != nil || t.Unix() < 0 || t.Year() > 9999 {
		d.refuse(n.at(), "bad-date", "%q is not a date; write one as \"2027-01-31\", or with a time as \"2027-01-31T12:00:00Z\"", n.value)
		return time.Time{}
	}
	return t
}

// link reads the URL of a page for people.
func (d *definition) link(n *node) string {
	u, err := url.Parse(n.value)
	plain := !strings.ContainsFunc(n.value, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`<>"\^{|}`+"`", c) })
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || !plain {
		d.refuse(n.at(), "bad-link", "%s is not the URL of a page; write https://host/path", shown(n))
		return ""
	}
	return n.value
}

// aliases are the base paths the API is served at besides its own: that without the version, if it is the default one.
func (d *definition) aliases(base, version string) []string {
	n := d.said.get("default")
	if !n.isTrue() || !versionName.MatchString(version) { // the latter is refused where it stands
		return nil
	}
	segments := strings.Split(strings.Trim(base, "/"), "/")
	i := slices.Index(segments, version)
	if i < 0 || slices.Contains(segments[i+1:], version) {
		d.refuse(n.keyAt(), "bad-default", "the default version is served without the version in its base path, and %q is not one whole segment of %s; "+
			"write a basePath such as /%s/{version}, or remove default", version, base, firstWord(segments))
		return nil
	}
	return []string{"/" + strings.Join(slices.Delete(segments, i, i+1), "/")}
}

// firstWord is what a base path begins with, for an example.
func firstWord(segments []string) string { return cmp.Or(segments[0], "shop") }

// Ended warns of what is over at a moment, one warning an API: Compile knows no clock.
func Ended(apis []model.API, now time.Time) []model.Problem {
	var problems []model.Problem
	for _, api := range apis {
		var over []model.Operation
		for _, o := range api.Operations {
			if sunset := o.Lifespan.Sunset; !sunset.IsZero() && !sunset.After(now) {
				over = append(over, o)
			}
		}
		if len(over) == 0 {
			continue
		}
		problems = append(problems, model.Problem{
			Origin: over[0].Origin, Severity: model.Warning, Code: "sunset-passed",
			Message: fmt.Sprintf("the sunset of this operation%s has passed, on %s: it is answered with 410; remove the operation, or correct the date",
				others(len(over)-1), over[0].Lifespan.Sunset.Format(time.RFC3339)),
		})
	}
	return problems
}
