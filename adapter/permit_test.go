package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestWhoMayNotPushLearnsNothing: neither what revision there is, nor what is wrong with an earlier one.
func TestWhoMayNotPushLearnsNothing(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "secret", Archive: one(t, "pets", "/pets", "/pet")})
	p.push(Push{Project: "gone", Archive: one(t, "dogs", "/dogs", "/dog")})
	p.push(Push{Project: "gone"})
	p.options.OwnAddresses = []string{"127.0.0.1:9"} // so that its backend is refused by now
	p.pushes.project("secret").memory = &memory{}
	forbidden := errors.New("forbidden")
	for name, push := range map[string]Push{
		"another revision":       {Project: "secret", Archive: one(t, "x", "/x", "/x"), IfRevision: 7},
		"nothing before":         {Project: "secret", Archive: one(t, "x", "/x", "/x"), IfNone: true},
		"an unknown revision":    {Project: "secret", Revision: 9},
		"an invalid revision":    {Project: "secret", Revision: 1},
		"an undeployed revision": {Project: "gone", Revision: 1},
		"undeploy":               {Project: "secret"},
	} {
		push.Allowed = func(labels []string) error {
			if len(labels) == 0 {
				t.Errorf("%s: asked about no labels", name)
			}
			return forbidden
		}
		if _, err := p.Push(context.Background(), push); !errors.Is(err, forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNamesAndPlacesAreClaimedApart: an API's name and version may be spelled like another one's host and base path.
func TestNamesAndPlacesAreClaimedApart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun()
	p.push(Push{Project: "a", Archive: one(t, "pets", "/a", "/pet")})
	p.push(Push{Project: "b", Archive: archive(t, map[string]string{
		"project.yaml":           "definitions: {b.yaml: {basePath: /1.0.0, hosts: [pets]}}\n",
		"api_definitions/b.yaml": definition("other", "/1.0.0", "/x"),
	})})
}

// TestAnotherSourcesProjectIsNotEverybodys: neither what a folder's project has, nor where it is.
func TestAnotherSourcesProjectIsNotEverybodys(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("secret", "pets", "/pets", "/pet")
	p.labels("secret", "partner")
	p.begun("secret")
	p.untilState("secret", "pets/1.0.0", Live)
	forbidden := errors.New("forbidden")
	var asked []string
	push := Push{Project: "secret", Archive: one(t, "x", "/x", "/x"), Allowed: func(labels []string) error {
		if asked = labels; slices.Equal(labels, []string{"default"}) {
			return nil
		}
		return forbidden
	}}
	if report, err := p.Diff(context.Background(), push); !errors.Is(err, forbidden) || !slices.Equal(asked, []string{"partner"}) {
		t.Errorf("asked about %q: %+v, %v", asked, report, err)
	}
	if _, err := p.Push(context.Background(), push); !errors.Is(err, forbidden) || !slices.Equal(asked, []string{"partner"}) {
		t.Errorf("asked about %q: %v", asked, err)
	}
	push.Allowed = nil
	p.refused(push, Conflict)
}

// TestABrokenProjectStaysThatOfItsLabels: a project.yaml that cannot be read does not show the project to others.
func TestABrokenProjectStaysThatOfItsLabels(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("served", "pets", "/pets", "/pet")
	p.labels("served", "partner")
	p.api("never", "dogs", "/dogs", "/dog")
	p.write("never/project.yaml", "labels: partner\n")
	p.begun("served", "never")
	p.untilState("served", "pets/1.0.0", Live)
	labels := func(name string) string {
		for _, s := range p.Status().Projects {
			if s.Name == name && s.State != Live {
				return fmt.Sprint(s.Labels)
			}
		}
		return "not broken"
	}
	for _, broken := range []string{"labels: [partner", "labels: partner\n", "[]\n", "labels: ['a b']\n", "labels: [default]\nfoo: bar\n"} {
		p.labels("served", "partner")
		p.until("the project is mended", func() bool { return labels("served") == "not broken" })
		p.write("served/project.yaml", broken)
		p.until(broken, func() bool { return labels("served") == "[partner]" })
	}
	if got := labels("never"); got != "[]" {
		t.Errorf("a project whose labels nobody knows is for %s", got)
	}
}
