package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter/store"
)

// Store keeps what was pushed; store.File is one.
type Store interface {
	Begin(ctx context.Context, c store.Candidate) (store.Rollout, error)
	Acknowledge(ctx context.Context, rollout string, acks ...store.Ack) error
	Commit(ctx context.Context, rollout string, outcome json.RawMessage) (store.Revision, error)
	Discard(ctx context.Context, rollout string, outcome json.RawMessage) error
	Expire(ctx context.Context, now time.Time) ([]store.Rollout, error)
	Rollout(ctx context.Context, id string) (store.Rollout, error)
	Projects(ctx context.Context, after string, limit int) (projects []store.Project, more bool, err error)
	Project(ctx context.Context, name string) (store.Project, error)
	Revisions(ctx context.Context, name string) ([]store.Revision, error)
	Archive(ctx context.Context, digest string) ([]byte, error)
	Backup(ctx context.Context, w io.Writer) error
	Keeping
}

// pushes is what all pushes share.
type pushes struct {
	store      Store // nil: there are none
	owner      string
	took       *prometheus.HistogramVec // by outcome
	background sync.WaitGroup           // pushes that nobody waits for
	refreshing chan struct{}            // one for each project that may be brought up to date at a time
	// order is held while the parts of a push are handed to the labels, so that all labels get them in one order.
	order sync.Mutex

	mu       sync.Mutex
	projects map[string]*pushedProject  // by name
	active   map[string]*push           // by the rollout's id
	owed     map[string]json.RawMessage // by the rollout's id: ends that the store has not taken yet
	due      map[string]time.Time       // by path: when a project comes out otherwise by itself
	life     context.Context            // nil: not yet; done: no longer
}

// pushedProject is what is kept of a project between its pushes. Who has the turn may touch it.
type pushedProject struct {
	turn   chan struct{} // of capacity one
	memory *memory
	labels []string // where it is served, sorted
	users  int      // who have the turn, or wait for it; pushes.mu is theirs
}

// pushPath is what stands for a folder where a project was pushed.
func pushPath(name string) string { return pushPrefix + name }

const pushPrefix = "push:"

// pushedName is the project's at such a path.
func pushedName(path string) (name string, pushed bool) { return strings.CutPrefix(path, pushPrefix) }

func newPushes(s Store) *pushes {
	host, _ := os.Hostname()
	return &pushes{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_project_push_duration_seconds",
			Help: "From a push of a project to its answer, by outcome: committed, unchanged (everybody has it already), dry-run, " +
				"or why it came to nothing (invalid, conflict, outdated, breaking, refused, probe-failed, silent, busy, unknown, unavailable, forbidden).",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60},
		}, []string{"outcome"}),
		refreshing: make(chan struct{}, 4),
		store:      s, owner: fmt.Sprintf("%s/%d", host, os.Getpid()),
		projects: map[string]*pushedProject{}, active: map[string]*push{}, owed: map[string]json.RawMessage{}, due: map[string]time.Time{},
	}
}

// open lets pushes begin, until ctx is done.
func (p *pushes) open(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life = ctx
}

// running is the context that ends with the adapter; nil: it has not started.
func (p *pushes) running() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

func (p *pushes) project(name string) *pushedProject {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.projectLocked(name)
}

func (p *pushes) projectLocked(name string) *pushedProject {
	if p.projects[name] == nil {
		p.projects[name] = &pushedProject{turn: make(chan struct{}, 1), memory: &memory{}}
	}
	return p.projects[name]
}

// enter waits for a project's turn: its pushes come one after the other.
func (p *pushes) enter(ctx context.Context, name string) (*pushedProject, error) {
	p.mu.Lock()
	one := p.projectLocked(name)
	one.users++
	p.mu.Unlock()
	select {
	case one.turn <- struct{}{}:
		return one, nil
	case <-ctx.Done():
		p.drop(name, one)
		return nil, ctx.Err()
	}
}

// leave ends the turn.
func (p *pushes) leave(name string, one *pushedProject) {
	<-one.turn
	p.drop(name, one)
}

// drop keeps nothing of a project that is served nowhere and that nobody pushes.
func (p *pushes) drop(name string, one *pushedProject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.users--; one.users == 0 && len(one.labels) == 0 {
		delete(p.projects, name)
	}
}

func (p *pushes) track(id string, one *push) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active[id] = one
}

// forget leaves it to the store to tell of a rollout, if that knows how it ended.
func (p *pushes) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, owed := p.owed[id]; !owed {
		delete(p.active, id)
	}
}

// discard has the store end a rollout that came to nothing. Where it does not take that, as on a full disk, it is told again
// before the next push begins: until then it keeps what the rollout has claimed.
func (p *pushes) discard(ctx context.Context, id string, conclusion json.RawMessage) error {
	err := p.store.Discard(ctx, id, conclusion)
	if errors.Is(err, store.ErrLost) {
		err = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.owed[id] = conclusion
	} else if _, owed := p.owed[id]; owed {
		delete(p.owed, id)
		delete(p.active, id)
	}
	return err
}

// settle has the store take the ends that it did not take before.
func (p *pushes) settle(ctx context.Context) (err error) {
	p.mu.Lock()
	owed := maps.Clone(p.owed)
	p.mu.Unlock()
	for id, conclusion := range owed {
		err = cmp.Or(p.discard(ctx, id, conclusion), err)
	}
	return err
}

// observe counts an answer.
func (p *pushes) observe(one *push, err error) {
	outcome, failed := "committed", new(PushError)
	switch out := one.outcome(); {
	case errors.As(err, &failed):
		outcome = string(failed.Reason)
	case err != nil:
		outcome = "forbidden"
	case out.Unchanged:
		outcome = "unchanged"
	case one.DryRun:
		outcome = "dry-run"
	}
	p.took.WithLabelValues(outcome).Observe(time.Since(one.began).Seconds())
}

// errNoStore is told to who pushes to an adapter that cannot keep anything.
var errNoStore = &PushError{Reason: Unavailable, Words: "this adapter has no store, and takes no pushes"}

// loadPushed compiles what was committed before the adapter started, and has what was under way then discarded.
func (a *Adapter) loadPushed(ctx context.Context) ([]compiled, error) {
	p := a.pushes
	if p.store == nil {
		return nil, nil
	}
	// why so late: this process alone has the store, so that whoever began a rollout before is gone
	lost, err := p.store.Expire(ctx, time.Now().AddDate(100, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	for _, r := range lost {
		a.log.Warn("a push was under way when the adapter ended; it is discarded", "project", r.Project, "rollout", r.ID, "author", r.Author)
	}
	var paths []string
	for after, more := "", true; more; {
		var page []store.Project
		if page, more, err = p.store.Projects(ctx, after, 1000); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		for _, one := range page {
			paths = append(paths, pushPath(one.Name))
			after = one.Name
		}
	}
	return a.compileAll(paths, func(path string) *memory {
		name, _ := pushedName(path)
		return p.project(name).memory
	}), nil
}

// handOver leaves to the pushes what was delivered of them at the start.
func (d *desk) handOver() {
	for path, labels := range d.homes {
		if name, pushed := pushedName(path); pushed {
			d.pushes.project(name).labels = labels
			delete(d.homes, path)
		}
	}
	for path, due := range d.due {
		if _, pushed := pushedName(path); pushed {
			d.pushes.remind(path, due)
			delete(d.due, path)
		}
	}
}

// remind notes when a pushed project comes out otherwise by itself; zero is never.
func (p *pushes) remind(path string, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.due, path); !due.IsZero() {
		p.due[path] = due
	}
}

// overdue are the paths of pushed projects that come out otherwise by now. Each is named once.
func (p *pushes) overdue(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var paths []string
	for path, due := range p.due {
		if !due.After(now) {
			paths = append(paths, path)
			delete(p.due, path)
		}
	}
	return paths
}

// refreshPushed brings a pushed project up to date with the time, or into the place that another source has left.
func (a *Adapter) refreshPushed(name string) {
	ctx := a.pushes.running()
	if ctx == nil {
		return
	}
	select {
	case a.pushes.refreshing <- struct{}{}:
		defer func() { <-a.pushes.refreshing }()
	case <-ctx.Done():
		return
	}
	current, err := a.pushes.store.Project(ctx, name)
	if err != nil || current.Current.Digest == "" {
		return // it is gone meanwhile
	}
	one, err := a.preparePush(ctx, Push{Project: name, Revision: current.Current.Number}, refreshing)
	if err == nil {
		defer one.end()
		_, err = one.carry()
	}
	if err != nil {
		a.log.Error("a pushed project cannot be brought up to date; what is served of it stays", "project", name, "err", err)
		a.pushes.remind(pushPath(name), time.Now().Add(time.Minute))
	}
}

// storeError says in a push's words what the store has against it.
func storeError(err error) *PushError {
	claimed, busy, stale := new(store.ClaimedError), new(store.BusyError), new(store.StaleError)
	switch {
	case errors.As(err, &claimed):
		return &PushError{Reason: Conflict, Words: err.Error()}
	case errors.As(err, &busy):
		return &PushError{Reason: Busy, Words: err.Error()}
	case errors.As(err, &stale):
		return &PushError{Reason: Outdated, Words: err.Error()}
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return &PushError{Reason: Busy, Words: "there was not time enough; nothing was told to a gateway"}
	case errors.Is(err, store.ErrUnknown):
		return &PushError{Reason: Unknown, Words: err.Error()}
	}
	return &PushError{Reason: Unavailable, Words: "the store: " + err.Error()}
}
