package git

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

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
		s.options.Poll = 50 * time.Millisecond // why not more often: each is a process of git
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
func of(t *testing.T, r *fixture.Repository, o Options) *subject {
	t.Helper()
	o.URL = "file://" + r.Bare
	return newSubject(t, o)
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
