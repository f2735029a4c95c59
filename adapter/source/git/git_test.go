package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"

	"github.com/postern-gateway/postern/adapter/source"
)

var _ source.Source = (*Source)(nil)

func TestNewCommitsAreServed(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"shop/project.yaml": "1", "books/api_definitions/a.yaml": "1", "docs/readme": "1", "readme": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	s.has("books", "shop")
	s.reads("shop/project.yaml", "1")
	if _, err := os.Stat(s.at("docs")); err == nil {
		t.Error("what is no project is unpacked")
	}
	p, there := s.Find(s.at("shop"))
	if want := (source.Project{Path: s.at("shop"), Source: "git file://" + r.Bare + "#main", Commit: first}); !there || p != want {
		t.Errorf("the project is %+v, want %+v", p, want)
	}

	s.serves(r.Commit(map[string]string{"shop/project.yaml": "2"}))
	s.told("shop")
	s.reads("shop/project.yaml", "2")
	s.serves(r.Commit(map[string]string{"readme": "2"}))
	s.serves(r.Commit(map[string]string{"new/project.yaml": "1", "books": ""}))
	s.told("books", "new") // and of no other: the commit before changed no project
	s.has("new", "shop")
	if _, there := s.Find(s.at("books")); there {
		t.Error("a project that went is still there")
	}

	for range 20 { // more than are fetched at once
		r.Write(map[string]string{"shop/project.yaml": fmt.Sprint(time.Now().UnixNano())})
		r.Git(r.Work, "commit", "-qam", "one of many")
	}
	s.serves(r.Commit(map[string]string{"shop/project.yaml": "last"}))
	s.told("shop")
	s.reads("shop/project.yaml", "last")
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 4 { // two commits, the link, the file
		t.Errorf("on disk there are %v, %v", entries, err)
	}
}

func TestMergesComeAfterBoth(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	s.has("")
	if filepath.Base(s.Paths()[0]) != "apis" {
		t.Errorf("a project at the root is at %s; want the repository's name", s.Paths()[0])
	}
	r.Git(r.Work, "checkout", "-qb", "side")
	for i := range 30 {
		r.Write(map[string]string{"side.yaml": fmt.Sprint(i)})
		r.Git(r.Work, "add", "-A")
		r.Git(r.Work, "commit", "-qm", "side")
	}
	r.Git(r.Work, "checkout", "-q", "main")
	s.serves(r.Commit(map[string]string{"project.yaml": "2"}))
	r.Git(r.Work, "merge", "-q", "--no-edit", "side")
	s.serves(r.Push())
	s.reads("side.yaml", "29")
}

func TestWhatPathNames(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	head := r.Commit(map[string]string{
		"projects/a/project.yaml": "1", "projects/b/api_definitions/b.yaml": "1", "projects/c/readme": "1", "projects/.d/project.yaml": "1",
		"other/readme": "1",
	})
	for path, want := range map[string][]string{
		"projects/*": {"projects/a", "projects/b"}, "projects": {"projects/a", "projects/b"}, "projects/": {"projects/a", "projects/b"},
		"*/a": {"projects/a"}, "projects/[bc]": {"projects/b"}, "other": {"other"}, "projects/.d": {"projects/.d"},
	} {
		s := of(t, r, Options{Path: path})
		s.serves(head)
		s.has(want...)
	}
	for _, path := range []string{"", "nowhere", "no*", "projects/c/*"} {
		s := of(t, r, Options{Path: path, Patience: time.Millisecond})
		s.fails("commit " + head + " has no project")
		s.has()
	}
}

func TestRewrittenHistoryIsRefused(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	base := r.Commit(map[string]string{"project.yaml": "1"})
	good := r.Commit(map[string]string{"project.yaml": "2"})
	s := of(t, r, Options{})
	s.serves(good)

	r.Git(r.Work, "reset", "-q", "--hard", base)
	back := r.Push()
	s.fails("the history of main was rewritten: its commit "+back+" does not come after "+good, "remove "+filepath.Join(s.dir, "served.json"), "allowRewrite: true")
	other := r.Commit(map[string]string{"project.yaml": "3"})
	s.fails(other)
	r.Git(r.Work, "checkout", "-q", "--orphan", "anew")
	r.Git(r.Work, "commit", "-qm", "nothing in common")
	orphan := r.Push()
	s.fails(orphan)
	s.reads("project.yaml", "2")
	if now := s.Status(); now.Commit != good {
		t.Errorf("%s is served", now.Commit)
	}
	r.Git(r.Bare, "gc", "--prune=now", "-q")
	r.Git(r.Work, "commit", "-q", "--allow-empty", "-m", "the server has forgotten what is served")
	s.fails(r.Push())

	s.stop()
	s.start() // after a restart
	s.fails("was rewritten")
	s.reads("project.yaml", "2")
	if err := os.Remove(s.servedFile()); err != nil {
		t.Fatal(err)
	}
	head := r.Git(r.Work, "rev-parse", "HEAD")
	s.serves(head)
	s.reads("project.yaml", "3")

	r.Git(r.Work, "checkout", "-q", "main")
	r.Git(r.Work, "reset", "-q", "--hard", good)
	r.Push()
	s.fails("was rewritten")
	s.stop()
	s.options.AllowRewrite = true
	s.start()
	s.serves(good)
	s.reads("project.yaml", "2")
}

// TestLongHistories: what came long after is still seen to come after; what is too long to see is refused.
func TestLongHistories(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	many := func(n int) string {
		t.Helper()
		var b strings.Builder
		b.WriteString("feature done\n")
		for i := range n {
			fmt.Fprintf(&b, "commit refs/heads/main\ncommitter ann <ann@example.com> %d +0000\ndata 1\nx\n", 1_700_000_000+i)
			if i == 0 {
				b.WriteString("from refs/heads/main^0\n")
			}
			fmt.Fprintf(&b, "M 100644 inline counter\ndata <<E\n%d\nE\n", i)
		}
		b.WriteString("done\n")
		file := filepath.Join(r.Dir, "stream")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		r.Git(r.Bare, "-c", "alias.import=!git fast-import --quiet <"+file, "import")
		return r.Git(r.Bare, "rev-parse", "main")
	}
	s.serves(many(3000))
	head := many(9000)
	s.fails("its commit "+head+" does not come within 8192 commits after ", "to serve it all the same")
}

func TestTheHistoryHealsByItself(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	base := r.Commit(map[string]string{"project.yaml": "1"})
	good := r.Commit(map[string]string{"project.yaml": "2"})
	s := of(t, r, Options{})
	s.serves(good)
	r.Git(r.Work, "reset", "-q", "--hard", base)
	r.Push()
	s.fails("was rewritten")
	r.Git(r.Work, "reset", "-q", "--hard", good)
	s.serves(r.Push())
}

func TestBranchDeletedAndRepositoryAway(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	r.Git(r.Work, "push", "-q", "origin", "HEAD:other")
	r.Git(r.Bare, "update-ref", "-d", "refs/heads/main")
	s.fails("there is no branch main; there are: other")
	s.reads("project.yaml", "1")
	s.serves(r.Commit(map[string]string{"project.yaml": "2"}))

	if err := os.Rename(r.Bare, r.Bare+".away"); err != nil {
		t.Fatal(err)
	}
	s.fails("no such file")
	s.stop()
	s.start() // a restart while it is away
	s.has("")
	s.reads("project.yaml", "2")
	s.fails("no such file")
	if !strings.Contains(s.log.String(), "serves from disk") {
		t.Errorf("nothing is said of it:\n%s", s.log.String())
	}
	if err := os.Rename(r.Bare+".away", r.Bare); err != nil {
		t.Fatal(err)
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "3"}))
	s.told("")
}

func TestWhatIsOnDiskIsChecked(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	r.Write(map[string]string{"a.sh": "1", "sub/b": "1", "sub-c": "1"})
	if err := os.Chmod(filepath.Join(r.Work, "a.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	head := r.Commit(map[string]string{"project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(head)
	s.stop()
	s.start()
	if !strings.Contains(s.log.String(), "serves from disk") {
		t.Fatalf("what is on disk is not served:\n%s", s.log.String())
	}
	s.stop()
	if err := os.WriteFile(s.at("project.yaml"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if log := s.log.String(); !strings.Contains(log, "is not what commit "+head+" has") {
		t.Errorf("what is on disk is believed:\n%s", log)
	}
	s.serves(head)
	s.reads("project.yaml", "1")
	s.stop()
	if err := os.WriteFile(s.servedFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.options.Patience = time.Millisecond
	s.start()
	s.fails("served.json is damaged; remove it")
}

// TestKilledInBetween: what is done by one step after the other holds after each.
func TestKilledInBetween(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	second := r.Commit(map[string]string{"project.yaml": "2"})
	s.serves(second)
	s.stop()

	if err := s.point(first); err != nil { // the file was written, the link not yet
		t.Fatal(err)
	}
	for _, left := range []string{"pack-1.tmp", "served.json-1.tmp", ".postern-1.tmp", "tree-1.tmp/a", strings.Repeat("a", 40) + "/b"} {
		if err := os.MkdirAll(filepath.Join(s.dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	s.reads("project.yaml", "2")
	s.serves(second)
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 3 { // the commit, the link, the file
		t.Errorf("left behind: %v, %v", entries, err)
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "3"}))
	s.stop()

	text, err := os.ReadFile(s.servedFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.at("")); err != nil { // only the link
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, r.Git(r.Work, "rev-parse", "HEAD"))); err != nil { // somebody was tidy
		t.Fatal(err)
	}
	s.start()
	s.serves(r.Git(r.Work, "rev-parse", "HEAD"))
	s.reads("project.yaml", "3")
	if now, err := os.ReadFile(s.servedFile()); err != nil || string(now) != string(text) {
		t.Errorf("%s is %s, %v", s.servedFile(), now, err)
	}
}

// TestChangesAreToldThoughTheLinkFailedFirst: the file names a commit before the link leads to it, and is nothing to compare that
// commit with: what has changed is what differs from what is served.
func TestChangesAreToldThoughTheLinkFailedFirst(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"a/project.yaml": "1", "b/project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	inTheWay := filepath.Join(s.dir, s.link+".tmp")
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	second := r.Commit(map[string]string{"a/project.yaml": "2"})
	s.fails("directory not empty")
	if now := s.Status().Commit; now != first {
		t.Errorf("%s is served, want %s", now, first)
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	s.serves(second)
	s.told("a")
	s.reads("a/project.yaml", "2")
}

// TestHostileProjects: what is wrong with one project concerns no other.
func TestHostileProjects(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"good/project.yaml": "1", "bad/project.yaml": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	n := 1
	for words, do := range map[string]func(){
		`"link" is a link`: func() { _ = os.Symlink("/etc/passwd", filepath.Join(r.Work, "bad/link")) },
		`"lfs.bin" is kept in Git LFS`: func() {
			r.Write(map[string]string{"bad/lfs.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"})
		},
		`"big" is larger than 16 MiB`: func() { r.Write(map[string]string{"bad/big": strings.Repeat("0", 16<<20+1)}) },
		`is no plain name`:            func() { r.Write(map[string]string{`bad/a\..\b`: "1"}) },
		`"sub" is a submodule`: func() {
			r.Git(r.Work, "update-index", "--add", "--cacheinfo", "160000,"+first+",bad/sub")
			r.Write(map[string]string{"bad/sub/.git": "gitdir: nowhere\n"})
		},
	} {
		do()
		n++
		good := fmt.Sprint(n)
		r.Write(map[string]string{"good/project.yaml": good})
		if strings.Contains(words, "submodule") {
			r.Git(r.Work, "add", "good")
		} else {
			r.Git(r.Work, "add", "-A")
		}
		r.Git(r.Work, "commit", "-qm", "change")
		head := r.Push()
		s.serves(head)
		s.told("bad", "good")
		s.reads("good/project.yaml", good)
		p, there := s.Find(s.at("bad"))
		if !there || p.Err == nil || !strings.Contains(p.Err.Error(), words) || !strings.Contains(p.Err.Error(), head) {
			t.Errorf("%s: the project is %+v", words, p)
		}
		if _, err := os.Stat(s.at("bad")); err == nil {
			t.Errorf("%s: unpacked", words)
		}
		r.Git(r.Work, "reset", "-q", "--hard", "HEAD")
		_ = os.RemoveAll(filepath.Join(r.Work, "bad"))
		s.serves(r.Commit(map[string]string{"bad/project.yaml": good}))
		s.told("bad")
		s.reads("bad/project.yaml", good)
	}
}

func TestACommitWithoutProjectsIsRefused(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"a/project.yaml": "1", "readme": "1"})
	s := of(t, r, Options{})
	s.serves(first)
	head := r.Commit(map[string]string{"a": ""})
	s.fails("commit " + head + " has no project")
	s.has("a")
	s.serves(r.Commit(map[string]string{"b/project.yaml": "1"}))
	s.told("a", "b")
}

func TestWatchWaitsForTheFirstCommit(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	ready := make(chan *subject)
	go func() {
		s := of(t, r, Options{})
		ready <- s
	}()
	select {
	case <-ready:
		t.Error("it does not wait")
	case <-time.After(100 * time.Millisecond):
	}
	head := r.Commit(map[string]string{"project.yaml": "1"})
	s := <-ready
	if s.Status().Commit != head {
		t.Errorf("%+v", s.Status())
	}
	s = newSubject(t, Options{URL: "file:///nowhere/apis.git", Patience: 10 * time.Millisecond})
	s.fails("no such file")

	s, err := &subject{}, error(nil)
	if s.Source, err = New(Options{URL: "file:///nowhere/apis.git", Branch: "main", Dir: t.TempDir(), Poll: time.Hour, Log: s.log.Logger()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	for range s.Watch(ctx) { // ends with ctx, though nothing ever came
		t.Error("told of something")
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := &Source{options: Options{Poll: 30 * time.Second, Backoff: time.Second}}
	failed := fmt.Errorf("away")
	for _, test := range []struct {
		now  Status
		want time.Duration
	}{
		{Status{}, 30 * time.Second},
		{Status{Err: failed, Failures: 1}, time.Second},
		{Status{Err: failed, Failures: 4}, 8 * time.Second},
		{Status{Err: failed, Failures: 1000}, 5 * time.Minute},
		{Status{Err: refuse("x"), Failures: 1000}, 30 * time.Second},
	} {
		for range 100 {
			if got := s.pause(test.now); got < test.want*9/10 || got > test.want*11/10+time.Nanosecond {
				t.Errorf("%+v: %s, want about %s", test.now, got, test.want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://git.example.com/shop/apis.git": "apis", "https://git.example.com/shop/apis/": "apis", "git@host:apis.git": "apis",
		"https://h/..": "repository", "https://h/a%20b": "repository", "https://h/served.json": "repository", "https://h/.git": "repository",
		"https://h/0123456789012345678901234567890123456789": "repository",
	} {
		if got := repositoryName(url); got != want {
			t.Errorf("%s is called %q, want %q", url, got, want)
		}
	}
}
