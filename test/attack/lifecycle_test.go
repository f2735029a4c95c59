package attack

import (
	"fmt"
	"strings"
	"testing"
)

// TestPathsOfTheDefaultVersion sends what TestPaths sends to the base path without a version.
func TestPathsOfTheDefaultVersion(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, p := range paths {
		p = strings.NewReplacer("/a/1", "/a", "%2f1", "", "%2F1", "", "/%31", "").Replace(p)
		for _, who := range []caller{g.nobody, g.reader} {
			g.attack(p, who)
		}
	}
}

// TestPathsOfTheRetired sends them to operations that are retired, by their state or by their date, under both base
// paths: no spelling of a path leads to a backend, whose every hit is one that no operation has.
func TestPathsOfTheRetired(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, p := range paths {
		p = strings.NewReplacer("admin", "gone", "ADMIN", "GONE", "Admin", "Gone", "%41dmin", "%47one", "%61dmin", "%67one", "%61%64%6d%69%6e", "%67%6f%6e%65").Replace(p)
		g.attack(p, g.nobody)
		g.attack(strings.Replace(p, "/a/1", "/a", 1), g.nobody)
	}
}

// attack sends a path with every method that leads somewhere.
func (g *target) attack(path string, who caller) {
	g.t.Helper()
	for _, method := range []string{"GET", "POST", "HEAD"} {
		statuses := g.raw(request(method, path, who))
		name := fmt.Sprintf("%s %q as %q: %v", method, path, who.subject, statuses)
		g.unharmed(name, statuses)
		g.judge(name, who)
	}
}
