package adapter

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
)

// State is what became of what a source wants.
type State string

// The states of an API and of a project.
const (
	Live     State = "live"     // what the source has is served
	Rejected State = "rejected" // nothing is served
	Stale    State = "stale"    // an earlier revision is served
)

// APIStatus is one API, as its source has it and as it is served.
type APIStatus struct {
	ID       string // name/version
	Label    string // of the gateways that serve it; an API of several labels is here several times
	Project  string
	Path     string // the folder or archive
	BasePath string
	API      *model.API // as it is served; nil is nothing
	State    State
	// Revision is what is served, in eight hex digits of its digest; "" is nothing.
	Revision string
	// Words say why it is not live.
	Words string
}

// ProjectStatus is one folder or archive.
type ProjectStatus struct {
	Path, Name string
	Labels     []string
	State      State
	Problems   []model.Problem
	// Words say why nothing of it is served here though nothing is wrong with it: it is for other labels.
	Words string
}

// Status is everything at one moment, sorted.
type Status struct {
	APIs     []APIStatus
	Projects []ProjectStatus
	Gateways []publish.Gateway
}

// board is what a loop shows to others.
type board struct {
	mu     sync.Mutex
	apis   map[string]map[string]APIStatus // by path and id
	states map[State]int                   // how many APIs there are of each
	scopes map[string]int                  // operations of the scopes that have too many
}

func (b *board) api(r ref, s APIStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.apis == nil {
		b.apis, b.states = map[string]map[string]APIStatus{}, map[State]int{}
	}
	if b.apis[r.path] == nil {
		b.apis[r.path] = map[string]APIStatus{}
	}
	if old, there := b.apis[r.path][r.id]; there {
		b.states[old.State]--
	}
	b.states[s.State]++
	b.apis[r.path][r.id] = s
}

// get is an API's status.
func (b *board) get(r ref) (APIStatus, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, there := b.apis[r.path][r.id]
	return s, there
}

// of are the statuses of a path's APIs.
func (b *board) of(path string) []APIStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.apis[path]))
}

func (b *board) without(r ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, there := b.apis[r.path][r.id]; there {
		b.states[old.State]--
	}
	if delete(b.apis[r.path], r.id); len(b.apis[r.path]) == 0 {
		delete(b.apis, r.path)
	}
}

// ManyOperations is how many of them in one route scope are no reason for a hint yet (design §4.1).
const ManyOperations = 200

// sizes notes how many operations scopes have now.
func (b *board) sizes(operations map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for scope, n := range operations {
		if n <= ManyOperations {
			delete(b.scopes, scope)
			continue
		}
		if b.scopes == nil {
			b.scopes = map[string]int{}
		}
		b.scopes[scope] = n
	}
}

// all are the APIs' statuses.
func (b *board) all() []APIStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []APIStatus
	for _, apis := range b.apis {
		all = slices.AppendSeq(all, maps.Values(apis))
	}
	return all
}

// projectBoard is what the desk shows to others.
type projectBoard struct {
	mu       sync.Mutex
	projects map[string]ProjectStatus // by path
}

func (b *projectBoard) put(s ProjectStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.projects == nil {
		b.projects = map[string]ProjectStatus{}
	}
	b.projects[s.Path] = s
}

func (b *projectBoard) without(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.projects, path)
}

// named are those of a name: of several, the one that is served first.
func (b *projectBoard) named(name string) []ProjectStatus {
	found := slices.DeleteFunc(b.all(), func(s ProjectStatus) bool { return s.Name != name })
	slices.SortFunc(found, func(x, y ProjectStatus) int {
		return cmp.Or(cmp.Compare(rankOf(x.State), rankOf(y.State)), cmp.Compare(x.Path, y.Path))
	})
	return found
}

func rankOf(s State) int { return slices.Index([]State{Live, Stale, Rejected}, s) }

func (b *projectBoard) all() []ProjectStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.projects))
}

// Status says what there is, and what became of it.
func (a *Adapter) Status() Status {
	s := Status{Projects: a.board.all(), Gateways: a.gateways()}
	serves := map[string]bool{} // paths
	for _, l := range a.known() {
		for _, api := range l.board.all() {
			serves[api.Path] = serves[api.Path] || api.API != nil
			s.APIs = append(s.APIs, api)
		}
	}
	for i, p := range s.Projects {
		if p.State == Rejected && serves[p.Path] {
			s.Projects[i].State = Stale
		}
	}
	slices.SortFunc(s.APIs, func(a, b APIStatus) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Label, b.Label))
	})
	slices.SortFunc(s.Projects, func(a, b ProjectStatus) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(s.Gateways, func(a, b publish.Gateway) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Label, b.Label))
	})
	return s
}

// Serving says that an Envoy is connected and every gateway has everything that is committed.
func (a *Adapter) Serving() bool {
	if !a.started.Load() {
		return false
	}
	envoys := 0
	for _, l := range a.known() {
		n, all := l.publisher.Served()
		if !all {
			return false
		}
		envoys += n
	}
	return envoys > 0
}

// Started says that everything there is has been compiled, and that gateways are answered.
func (a *Adapter) Started() bool { return a.started.Load() }
