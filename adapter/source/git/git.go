// Package git has the projects of a branch of a git repository: it polls the branch, fetches a new commit shallowly,
// sees that it came after the one before, and unpacks its projects into folders. It does not read what is in them, and must
// not import the other packages of the adapter but source.
package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-gateway/postern/adapter/source"
)

// Options of a Source.
type Options struct {
	// URL is https://…, http://…, ssh://…, git@host:path or file:///path. The last needs the git program.
	URL    string
	Branch string
	// Path is the folder of the only project, a pattern for folders of projects (path.Match), or "": the root of the
	// repository, if it is a project, else each project's folder in it.
	Path string

	Poll  time.Duration // how often the branch is asked for
	Depth int           // commits that are fetched at once, at least 1
	// AllowRewrite serves a commit that did not come after the one before.
	AllowRewrite bool

	Username, Token string // of https; no name is "git"
	CA              string // of https: a PEM file; "" is the system's
	SSHKey          string // of ssh: the file of a private key
	KnownHosts      string // of ssh: the file with the server's key

	// Dir is where all sources keep what they fetched, each in a folder of its own.
	Dir string
	// Patience is how long Watch waits for a first commit where none was kept; 0 is as long as it takes.
	Patience time.Duration
	// Backoff is the first pause after a failure; it doubles up to five minutes, or Poll if that is longer.
	Backoff time.Duration // 1 s
	Log     *slog.Logger
}

// Source is a branch of a repository as a source of projects. It is for one Watch.
type Source struct {
	options Options
	name    string // URL#BRANCH, without what nobody may see
	dir     string
	link    string // in dir, to the commit that is served; its name is the repository's
	remote  remote
	log     *slog.Logger

	mu       sync.Mutex
	projects map[string]source.Project // by path
	status   Status

	refused refusal // the poller's alone
	content served  // of projects; the poller's alone
}

// Status is how a Source is.
type Status struct {
	Source string // "git URL#BRANCH"
	Commit string // that is served; "" is none
	// At is when the branch was last known to be at that commit; zero is not since the start.
	At time.Time
	// Err is why it is not known now, or why the branch's commit is not served; nil: it is served.
	Err error
	// Failures are how often in a row that went wrong, and Failed how often since the start.
	Failures, Failed int
}

// New makes a source, with what an earlier one has kept. It speaks to nobody yet.
func New(o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	o.Depth = max(o.Depth, 1)
	r, shown, err := remoteOf(o)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(o.URL + "\n" + o.Branch + "\n" + o.Path))
	repository := repositoryName(o.URL)
	s := &Source{
		options: o, name: shown + "#" + o.Branch, link: repository, remote: r,
		dir: filepath.Join(o.Dir, repository+"-"+hex.EncodeToString(sum[:4])),
	}
	s.log = o.Log.With("source", s.name)
	s.status.Source = "git " + s.name
	s.restore()
	return s, nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

// repositoryName is what a repository is called: the last part of its URL. A project at its root has that name, if it says none.
func repositoryName(url string) string {
	name := url[strings.LastIndexAny(strings.TrimRight(url, "/"), "/:")+1:]
	name = strings.TrimSuffix(strings.TrimRight(name, "/"), ".git")
	if !plainName.MatchString(name) || name == servedFile || commitID.MatchString(name) {
		return "repository"
	}
	return name
}

// Paths are the folders of the projects, sorted.
func (s *Source) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for path := range s.projects {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// Find is what is known of the project at a path.
func (s *Source) Find(path string) (source.Project, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, there := s.projects[path]
	return p, there
}

// Status is how it is now.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Watch polls the branch until ctx is done, then closes the channel. Where no commit was kept it waits for the first one
// before it returns, as long as Options.Patience: whoever was told of projects before must not be told that they are gone.
func (s *Source) Watch(ctx context.Context) <-chan []string {
	out := make(chan []string)
	changed := make(chan []string)
	pause := s.options.Poll
	if s.Status().Commit == "" {
		pause = s.await(ctx)
	} else {
		pause = 0 // what was kept may be out of date
	}
	go func() {
		defer close(changed)
		s.poll(ctx, pause, changed)
	}()
	go gather(ctx, changed, out)
	return out
}

// gather hands changes on, adding them up while nobody receives.
func gather(ctx context.Context, changed <-chan []string, out chan<- []string) {
	defer close(out)
	pending := map[string]bool{}
	for {
		var ready chan<- []string
		var paths []string
		if len(pending) > 0 {
			ready = out
			for path := range pending {
				paths = append(paths, path)
			}
			slices.Sort(paths)
		}
		select {
		case more, open := <-changed:
			if !open {
				return
			}
			for _, path := range more {
				pending[path] = true
			}
		case ready <- paths:
			clear(pending)
		case <-ctx.Done():
			for range changed { // until the poller has ended
			}
			return
		}
	}
}

// refusal is why the commit at the head of the branch is not served. It holds until the head is another, or what is served is.
type refusal struct {
	head, served string
	err          error
}

// errRefused marks what asking again does not change.
var errRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return &refusedError{fmt.Sprintf(format, args...)}
}

type refusedError struct{ words string }

func (e *refusedError) Error() string { return e.words }

func (e *refusedError) Is(target error) bool { return target == errRefused }
