package adapter

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/xdstest"
)

// TestAnyEditsEndWell: whatever is edited, in the end every API is served as its source has it, or there is a
// reason that holds: the gateway refuses it, or something that is served has its place.
func TestAnyEditsEndWell(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := &chaos{site: newSite(t), random: rand.New(rand.NewPCG(seed, 0)), wants: map[ref]want{}}
			folders := []string{"p0", "p1", "p2"}
			for _, f := range folders {
				c.edit(f)
			}
			c.start(nil, folders...)
			gw := c.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison})
			for round := range 12 {
				if round%5 == 4 {
					gw.Close()
				}
				for range 1 + c.random.IntN(4) {
					c.edit(folders[c.random.IntN(3)])
				}
				if round%5 == 4 {
					gw = c.gateway("gw", xds.RoleEnvoy, xdstest.Options{Refuse: refusePoison, Have: gw.State()})
				}
				c.rest(fmt.Sprintf("seed %d round %d", seed, round))
			}
		})
	}
}

// want is what a definition says.
type want struct {
	base   string
	poison bool
	edit   int
}

type chaos struct {
	*site
	random *rand.Rand
	wants  map[ref]want // by folder and API
	edits  int
}

// edit writes, rewrites or removes some API of a project.
func (c *chaos) edit(folder string) {
	name := fmt.Sprint("api", c.random.IntN(4))
	r := ref{c.path(folder), name + "/1.0.0"}
	c.edits++
	if _, ok := c.wants[r]; ok && c.random.IntN(4) == 0 {
		n := 0
		for other := range c.wants {
			if other.path == r.path {
				n++
			}
		}
		if n > 1 { // a project without definitions is a broken one
			delete(c.wants, r)
			c.remove(filepath.Join(folder, "api_definitions", name+".yaml"))
			return
		}
	}
	w := want{base: fmt.Sprintf("/s%d/%d", c.random.IntN(2), c.random.IntN(3)), poison: c.random.IntN(4) == 0, edit: c.edits}
	for other, o := range c.wants {
		if other != r && other.path == r.path && o.base == w.base { // refused with its whole project
			w.base = fmt.Sprintf("/own/%s/%s", folder, name)
		}
	}
	c.wants[r] = w
	paths := []string{"/x", fmt.Sprint("/edit", w.edit)}
	if w.poison {
		paths = append(paths, "/poison")
	}
	c.api(folder, name, w.base, paths...)
}

// rest waits until everything is as it should be.
func (c *chaos) rest(when string) {
	c.t.Helper()
	var why string
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if why = c.wrong(); why == "" {
			return
		}
		if time.Now().After(deadline) {
			var files []string
			for r, w := range c.wants {
				files = append(files, fmt.Sprintf("%s %s %+v", filepath.Base(r.path), r.id, w))
			}
			log := c.log.String()
			c.t.Fatalf("%s: %s\nwanted:\n%s\nstatus:\n%+v\nlog:\n%s", when, why, strings.Join(files, "\n"), c.Status(), log[max(0, len(log)-4000):])
		}
	}
}

// revisions are what the files say now.
func (c *chaos) revisions() map[ref]string {
	all := map[ref]string{}
	for _, compiled := range c.compileAll(c.options.Folders, memories(nil).of) {
		for i, api := range compiled.project.APIs {
			all[ref{compiled.path, api.ID()}] = short(compiled.revisions[i])
		}
	}
	return all
}

// wrong says what is not as it should be.
func (c *chaos) wrong() string {
	status := c.Status()
	found := map[ref]APIStatus{}
	served := map[string]string{}
	for _, s := range status.APIs {
		found[ref{s.Path, s.ID}] = s
		if s.Revision == "" {
			continue
		}
		for _, key := range []string{"id " + s.ID, "base " + s.BasePath} {
			if other, twice := served[key]; twice {
				return fmt.Sprintf("%s is served for %s and %s", key, other, s.Path)
			}
			served[key] = s.Path
		}
	}
	revisions := c.revisions()
	for r, w := range c.wants {
		s, ok := found[r]
		switch {
		case !ok:
			return fmt.Sprintf("nothing is known of %v", r)
		case s.State == Live && (w.poison || s.Revision != revisions[r]):
			return fmt.Sprintf("%v is live as %s", r, s.Revision)
		case s.State == Live || w.poison:
		case served["id "+r.id] != "" && served["id "+r.id] != r.path:
		case served["base "+w.base] != "" && s.BasePath != w.base:
		case served["base "+w.base] != "" && s.State == Rejected:
		default:
			return fmt.Sprintf("%v is %s for no reason: %s", r, s.State, s.Words)
		}
	}
	if len(found) != len(c.wants) {
		return fmt.Sprintf("%d APIs are known, %d wanted", len(found), len(c.wants))
	}
	if !c.Serving() {
		return "not serving"
	}
	return ""
}
