package git

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// repository is a bare git repository, with a work tree of somebody who pushes to it.
type repository struct {
	t    *testing.T
	dir  string // of all
	bare string
	work string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, dir: t.TempDir()}
	r.bare, r.work = filepath.Join(r.dir, "apis.git"), filepath.Join(r.dir, "work")
	r.git(r.dir, "init", "-q", "--bare", "-b", "main", r.bare)
	r.git(r.dir, "clone", "-q", r.bare, r.work)
	r.git(r.work, "checkout", "-q", "-b", "main")
	return r
}

// git calls the real git.
func (r *repository) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write writes files, and removes those without content.
func (r *repository) write(files map[string]string) {
	r.t.Helper()
	for name, content := range files {
		path := filepath.Join(r.work, name)
		if content == "" {
			r.git(r.work, "rm", "-rq", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// commit commits files, pushes, and returns the commit.
func (r *repository) commit(files map[string]string) string {
	r.t.Helper()
	r.write(files)
	r.git(r.work, "add", "-A")
	r.git(r.work, "commit", "-q", "--allow-empty", "-m", "change")
	return r.push()
}

func (r *repository) push() string {
	r.t.Helper()
	r.git(r.work, "push", "-q", "--force", "origin", "HEAD:main")
	return r.git(r.work, "rev-parse", "HEAD")
}

// subject is a Source that runs until the test ends.
type subject struct {
	t *testing.T
	*Source
	options Options
	log     fixture.Log
	changes <-chan []string
	stop    func()
}

func newSubject(t *testing.T, o Options) *subject {
	t.Helper()
	s := &subject{t: t, options: o}
	if s.options.Dir == "" {
		s.options.Dir = t.TempDir()
	}
	if s.options.Branch == "" {
		s.options.Branch = "main"
	}
	if s.options.Poll == 0 {
		s.options.Poll = 10 * time.Millisecond
	}
	s.options.Backoff = 5 * time.Millisecond
	s.options.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	s.start()
	return s
}

// start runs it, as after a restart.
func (s *subject) start() {
	s.t.Helper()
	var err error
	if s.Source, err = New(s.options); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.changes = s.Watch(ctx)
	ended := false
	s.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		for range s.changes { // until it is closed
		}
	}
	s.t.Cleanup(func() { s.stop() })
}

// of starts a source of a repository over file://.
func (r *repository) of(o Options) *subject {
	r.t.Helper()
	o.URL = "file://" + r.bare
	return newSubject(r.t, o)
}

// serves waits until a commit is served.
func (s *subject) serves(commit string) {
	s.t.Helper()
	fixture.WaitFor(s.t, "commit "+commit+"\n"+s.log.String(), func() bool {
		now := s.Status()
		return now.Commit == commit && now.Err == nil && !now.At.IsZero()
	})
}

// fails waits until an attempt fails with all of these words.
func (s *subject) fails(words ...string) {
	s.t.Helper()
	fixture.WaitFor(s.t, strings.Join(words, " … ")+"\n"+s.log.String(), func() bool {
		err := s.Status().Err
		return err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) })
	})
}

// told waits until these projects have been named as changed, and nothing else.
func (s *subject) told(projects ...string) {
	s.t.Helper()
	timeout := time.After(fixture.Patience)
	want := map[string]bool{}
	for _, p := range projects {
		want[s.at(p)] = true
	}
	for len(want) > 0 {
		select {
		case paths := <-s.changes:
			for _, path := range paths {
				if !want[path] {
					s.t.Fatalf("told of %s, want %v", path, projects)
				}
				delete(want, path)
			}
		case <-timeout:
			s.t.Fatalf("not told of %v\n%s", slices.Collect(maps.Keys(want)), s.log.String())
		}
	}
}

// at is the path of a project; "" is the root of the repository.
func (s *subject) at(project string) string { return filepath.Join(s.dir, s.link, project) }

// has are the projects there are.
func (s *subject) has(projects ...string) {
	s.t.Helper()
	var want []string
	for _, p := range projects {
		want = append(want, s.at(p))
	}
	if got := s.Paths(); !slices.Equal(got, want) {
		s.t.Errorf("the projects are %v, want %v", got, want)
	}
}

// reads is what a file of a project has.
func (s *subject) reads(name, want string) {
	s.t.Helper()
	got, err := os.ReadFile(s.at(name))
	if err != nil || string(got) != want {
		s.t.Errorf("%s has %q, %v; want %q", name, got, err, want)
	}
}
