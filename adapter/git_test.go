package adapter

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/adapter/source/git"
	"github.com/postern-gateway/postern/test/fixture"
)

// branch is a source of a repository over file://.
func (p *site) branch(r *fixture.Repository, path string) *git.Source {
	p.t.Helper()
	s, err := git.New(git.Options{
		URL: "file://" + r.Bare, Branch: "main", Path: path, Poll: 50 * time.Millisecond, Backoff: 10 * time.Millisecond,
		Dir: p.path("git"), Log: p.log.Logger(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// pathOf is where a source has the project of a folder of its repository.
func pathOf(s source.Source, folder string) string {
	for _, path := range s.Paths() {
		if strings.HasSuffix(path, "/"+folder) {
			return path
		}
	}
	return ""
}

func (p *site) untilGit(path func() string, id string, want State) APIStatus {
	p.t.Helper()
	var found APIStatus
	p.until(id+" is "+string(want), func() bool {
		for _, s := range p.Status().APIs {
			if s.ID == id && s.Path == path() {
				found = s
				return s.State == want
			}
		}
		return false
	})
	return found
}

func TestProjectsComeAndGoWithABranch(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	r := fixture.NewRepository(t)
	r.Commit(map[string]string{
		"shop/api_definitions/pets.yaml":   definition("pets", "/pets", "/a"),
		"other/api_definitions/books.yaml": definition("books", "/books", "/a"),
	})
	s := p.branch(r, "")
	p.start(func(o *Options) { o.Sources = []source.Source{s}; o.Label = "default" })
	shop := func() string { return pathOf(s, "shop") }
	other := func() string { return pathOf(s, "other") }
	p.untilGit(shop, "pets/1.0.0", Live)
	before := p.untilGit(other, "books/1.0.0", Live)

	// A broken project stays as it was, and concerns no other.
	head := r.Commit(map[string]string{
		"shop/api_definitions/pets.yaml":   "openapi: 3.0.3\n",
		"other/api_definitions/books.yaml": definition("books", "/books", "/a", "/b"),
	})
	p.untilGit(shop, "pets/1.0.0", Stale)
	p.until("books are new", func() bool { return p.untilGit(other, "books/1.0.0", Live).Revision != before.Revision })
	r.Write(map[string]string{"shop/api_definitions/pets.yaml": definition("pets", "/pets", "/a")})
	r.Git(r.Work, "update-index", "--add", "--cacheinfo", "160000,"+head+",shop/sub")
	r.Git(r.Work, "add", "shop/api_definitions")
	r.Git(r.Work, "commit", "-qm", "submodule")
	r.Push()
	p.until("the submodule is refused", func() bool {
		return strings.Contains(p.untilGit(shop, "pets/1.0.0", Stale).Words, `"sub" is a submodule; put its files into the repository`)
	})
	r.Git(r.Work, "rm", "-q", "--cached", "shop/sub")
	r.Git(r.Work, "commit", "-qm", "no submodule")
	r.Push()
	p.untilGit(shop, "pets/1.0.0", Live)

	gone := shop()
	r.Commit(map[string]string{"shop": "", "more/api_definitions/cats.yaml": definition("cats", "/cats", "/a")})
	p.untilGit(func() string { return pathOf(s, "more") }, "cats/1.0.0", Live)
	p.until("the shop is gone", func() bool {
		now := p.Status()
		for _, a := range now.APIs {
			if a.Path == gone {
				return false
			}
		}
		for _, project := range now.Projects {
			if project.Path == gone {
				return false
			}
		}
		return true
	})
	p.untilGit(other, "books/1.0.0", Live)
}

func TestOneProjectHasOneSource(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.api("shop", "pets", "/pets", "/a")
	one, two := fixture.NewRepository(t), fixture.NewRepository(t)
	one.Commit(map[string]string{"shop/api_definitions/dogs.yaml": definition("dogs", "/dogs", "/a"), "b/project.yaml": "name: books\n", "b/api_definitions/b.yaml": definition("books", "/books", "/a")})
	two.Commit(map[string]string{"books/api_definitions/c.yaml": definition("comics", "/comics", "/a")})
	first, second := p.branch(one, ""), p.branch(two, "")
	p.start(func(o *Options) {
		// why: which of two branches comes first at the start is said by their order, once both were fetched
		o.Sources = []source.Source{first, second}
		o.Label = "default"
	}, "shop")
	p.untilState("shop", "pets/1.0.0", Live)
	conflict := func(s source.Source, folder, name string, others ...string) {
		t.Helper()
		p.until(folder+" is in conflict over "+name, func() bool {
			for _, project := range p.Status().Projects {
				if project.Path == pathOf(s, folder) && len(project.Problems) == 1 && project.Problems[0].Code == "source-conflict" {
					words := project.Problems[0].Message
					for _, other := range append(others, "git file://", "#main", name) {
						if !strings.Contains(words, other) {
							t.Fatalf("%q does not name %s", words, other)
						}
					}
					return true
				}
			}
			return false
		})
	}
	conflict(first, "shop", "shop", "folder "+p.path("shop"), one.Bare)
	p.untilGit(func() string { return pathOf(first, "b") }, "books/1.0.0", Live)
	conflict(second, "books", "books", one.Bare, two.Bare)

	one.Commit(map[string]string{"b/project.yaml": "name: novels\n"})
	p.untilGit(func() string { return pathOf(second, "books") }, "comics/1.0.0", Live)
	one.Commit(map[string]string{"shop/project.yaml": "name: kennel\n"})
	p.untilGit(func() string { return pathOf(first, "shop") }, "dogs/1.0.0", Live)
	p.untilState("shop", "pets/1.0.0", Live)
}
