package adapter

import (
	"context"
	"errors"
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
