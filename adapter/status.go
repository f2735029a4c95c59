package adapter

import (
	"cmp"
	"context"
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
	ids    index
	states map[State]int  // how many APIs there are of each
	scopes map[string]int // operations of the scopes that have too many
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
	b.ids.add(r.id, r.path)
}

// at are the statuses of an id's APIs, by path.
func (b *board) at(id string) []APIStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []APIStatus
	for _, path := range b.ids.paths[id] {
		all = append(all, b.apis[path][id])
	}
	return all
}

// after are at most limit ids that come after one.
func (b *board) after(id string, limit int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ids.after(id, limit)
}

// count is how many APIs there are of each state.
func (b *board) count() map[State]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.states)
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
	b.ids.remove(r.id, r.path)
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
	names    index
}

func (b *projectBoard) put(s ProjectStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.projects == nil {
		b.projects = map[string]ProjectStatus{}
	}
	if old, there := b.projects[s.Path]; there && old.Name != s.Name {
		b.names.remove(old.Name, s.Path)
	}
	b.names.add(s.Name, s.Path)
	b.projects[s.Path] = s
}

func (b *projectBoard) without(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, there := b.projects[path]; there {
		b.names.remove(old.Name, path)
	}
	delete(b.projects, path)
}

// named are those of a name: of several, the one that is served first.
func (b *projectBoard) named(name string) []ProjectStatus {
	found := b.at(name)
	slices.SortStableFunc(found, func(x, y ProjectStatus) int { return cmp.Compare(rankOf(x.State), rankOf(y.State)) })
	return found
}

// at are those of a name, by path.
func (b *projectBoard) at(name string) []ProjectStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []ProjectStatus
	for _, path := range b.names.paths[name] {
		found = append(found, b.projects[path])
	}
	return found
}

// after are at most limit names that come after one.
func (b *projectBoard) after(name string, limit int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names.after(name, limit)
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

// stride is how many names are looked at before others get the lock, and before it is asked whether anybody still waits.
const stride = 1000

// APIs are those that wanted says yes to and whose id comes after one, by id, path and label: of at most limit ids, and
// then all that there is of each. A negative limit is none. It fails when ctx is done.
func (a *Adapter) APIs(ctx context.Context, after string, limit int, wanted func(APIStatus) bool) (apis []APIStatus, more bool, err error) {
	boards := a.known()
	for ids := 0; ctx.Err() == nil; {
		page := nextIDs(boards, after)
		for _, id := range page {
			found := slices.DeleteFunc(apisAt(boards, id), func(s APIStatus) bool { return !wanted(s) })
			if len(found) == 0 {
				continue
			}
			if ids == limit {
				return apis, true, nil
			}
			ids++
			apis = append(apis, found...)
		}
		if len(page) < stride {
			return apis, false, nil
		}
		after = page[len(page)-1]
	}
	return nil, false, ctx.Err()
}

// nextIDs are the ids of APIs of all labels that come after one, at most stride of them.
func nextIDs(boards []*label, after string) []string {
	var ids []string
	for _, l := range boards {
		ids = append(ids, l.board.after(after, stride)...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[:min(stride, len(ids))]
}

// APIsOf are those of a project, by id, path and label.
func (a *Adapter) APIsOf(project string) []APIStatus {
	var found []APIStatus
	boards := a.known()
	for _, s := range a.board.at(project) {
		for _, l := range boards {
			found = append(found, l.board.of(s.Path)...)
		}
	}
	found = slices.DeleteFunc(found, func(s APIStatus) bool { return s.Project != project })
	slices.SortFunc(found, func(x, y APIStatus) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Label, y.Label))
	})
	return found
}

// API is what there is of an API's id, by path and label.
func (a *Adapter) API(id string) []APIStatus { return apisAt(a.known(), id) }

func apisAt(boards []*label, id string) []APIStatus {
	var found []APIStatus
	for _, l := range boards {
		found = append(found, l.board.at(id)...)
	}
	slices.SortStableFunc(found, func(x, y APIStatus) int { return cmp.Compare(x.Path, y.Path) })
	return found
}

// LabelStatus is one label that is in use.
type LabelStatus struct {
	Name string
	APIs map[State]int // how many there are of each
}

// Labels are those in use, by name.
func (a *Adapter) Labels() []LabelStatus {
	var all []LabelStatus
	for _, l := range a.known() {
		all = append(all, LabelStatus{l.name, l.board.count()})
	}
	return all
}

// Gateways are those of all labels.
func (a *Adapter) Gateways() []publish.Gateway { return a.gateways() }

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
