package source

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
)

// Source is where projects come from, beside pushes: folders and archives that are there, or what a git branch has. All
// methods may be called at any time, by anybody.
type Source interface {
	// Watch tells of changes as the function Watch does: it misses nothing of what is read after it returned, which it
	// does when there is something to read. It is called once.
	Watch(ctx context.Context) <-chan []string
	// Paths are the projects of now, in an order that stays: where two have one name, the first has it.
	Paths() []string
	// Find is what is known of the project at a path that Paths or Watch named. One that is not found is gone for good,
	// and nothing of it is to be served any longer.
	Find(path string) (Project, bool)
}

// Project is one project of a source.
type Project struct {
	// Path names it for as long as it is there, and is the folder or archive with its files.
	Path string
	// Source is where it comes from, for people: "folder PATH" or "git URL#BRANCH".
	Source string
	// Commit is what the files were at there; "" where there are none.
	Commit string
	// Err is why the files are not to be read; nil: they are, as far as the source knows.
	Err error
}

// Folders are project folders and archives on this machine. They stay its projects even while they are not there.
func Folders(o Options) Source { return folders{o} }

type folders struct{ Options }

func (f folders) Watch(ctx context.Context) <-chan []string { return Watch(ctx, f.Options) }

func (f folders) Paths() []string {
	return slices.Compact(slices.Sorted(slices.Values(f.Options.Paths)))
}

func (f folders) Find(path string) (Project, bool) {
	if !slices.Contains(f.Options.Paths, path) {
		return Project{}, false
	}
	shown := path
	if absolute, err := filepath.Abs(path); err == nil {
		shown = absolute // why: "." says nothing to who asks from elsewhere
	}
	return Project{Path: path, Source: "folder " + shown}, true
}

// All is several sources as one: what the first have comes first.
func All(sources ...Source) Source { return all(sources) }

type all []Source

func (a all) Watch(ctx context.Context) <-chan []string {
	out := make(chan []string)
	changes := make([]<-chan []string, len(a))
	var ready, group sync.WaitGroup
	for i, s := range a {
		ready.Go(func() { changes[i] = s.Watch(ctx) }) // side by side: one may take its time
	}
	ready.Wait()
	for _, c := range changes {
		group.Go(func() { forward(ctx, c, out) })
	}
	go func() {
		defer close(out)
		group.Wait()
	}()
	return out
}

// forward hands changes on until they end.
func forward(ctx context.Context, changes <-chan []string, out chan<- []string) {
	for paths := range changes {
		select {
		case out <- paths:
		case <-ctx.Done(): // the rest is of no use to anybody
		}
	}
}

func (a all) Paths() []string {
	var paths []string
	for _, s := range a {
		paths = append(paths, s.Paths()...)
	}
	return paths
}

func (a all) Find(path string) (Project, bool) {
	for _, s := range a {
		if p, there := s.Find(path); there {
			return p, true
		}
	}
	return Project{}, false
}
