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
	State      State
	Problems   []model.Problem
}

// Status is everything at one moment, sorted.
type Status struct {
	APIs     []APIStatus
	Projects []ProjectStatus
	Gateways []publish.Gateway
}

// board is what the loop shows to others.
type board struct {
	mu       sync.Mutex
	apis     map[ref]APIStatus
	projects map[string]ProjectStatus
}

func (b *board) api(r ref, s APIStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.apis == nil {
		b.apis = map[ref]APIStatus{}
	}
	b.apis[r] = s
}

func (b *board) without(r ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apis, r)
}

func (b *board) project(s ProjectStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.projects == nil {
		b.projects = map[string]ProjectStatus{}
	}
	b.projects[s.Path] = s
}

// Status says what there is, and what became of it.
func (a *Adapter) Status() Status {
	b := &a.board
	b.mu.Lock()
	s := Status{
		APIs:     slices.Collect(maps.Values(b.apis)),
		Projects: slices.Collect(maps.Values(b.projects)),
	}
	b.mu.Unlock()
	s.Gateways = a.publisher.Gateways()
	slices.SortFunc(s.APIs, func(a, b APIStatus) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path)) })
	slices.SortFunc(s.Projects, func(a, b ProjectStatus) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

// Serving says that an Envoy is connected and every gateway has everything that is committed.
func (a *Adapter) Serving() bool { return a.started.Load() && a.publisher.Serving() }
