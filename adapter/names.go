package adapter

import (
	"slices"
	"sync"
)

// register knows which source has a project's name: the first that asked, until it no longer does.
type register struct {
	mu      sync.Mutex
	owners  map[string]string   // by name: a path
	names   map[string]string   // by path: the name it has
	waiting map[string][]string // by name: paths that asked in vain
}

func newRegister() *register {
	return &register{owners: map[string]string{}, names: map[string]string{}, waiting: map[string][]string{}}
}

// claim gives a name to a path in place of the one it has, and returns the paths that wanted that one; or it returns who
// has the name.
func (r *register) claim(name, path string) (holder string, next []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner := r.owners[name]; owner != "" && owner != path {
		return owner, nil
	}
	if r.names[path] != name {
		next = r.free(path)
	}
	r.owners[name], r.names[path] = path, name
	return "", next
}

// wait has a path asked for again when a name becomes free.
func (r *register) wait(name, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.waiting[name], path) {
		r.waiting[name] = append(r.waiting[name], path)
	}
}

// forget has a path that is gone wait for nothing.
func (r *register) forget(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, waiting := range r.waiting {
		waiting = slices.DeleteFunc(waiting, func(other string) bool { return other == path })
		if r.waiting[name] = waiting; len(waiting) == 0 {
			delete(r.waiting, name)
		}
	}
}

// release takes from a path the name it has, and returns the paths that wanted it.
func (r *register) release(path string) (next []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free(path)
}

func (r *register) free(path string) (next []string) {
	name := r.names[path]
	next = r.waiting[name]
	delete(r.names, path)
	delete(r.owners, name)
	delete(r.waiting, name)
	return next
}

// describe says for people where the project at a path comes from.
func (a *Adapter) describe(path string) string {
	if _, pushed := pushedName(path); pushed {
		return "a push"
	}
	if p, there := a.sources.Find(path); there {
		return p.Source
	}
	return "folder " + path
}

// releaseName frees the name that a path has, and has those looked at again that wanted it.
func (a *Adapter) releaseName(path string) { a.revisit(a.names.release(path)) }

// revisit has paths compiled again, by the desk.
func (a *Adapter) revisit(paths []string) {
	if len(paths) == 0 {
		return
	}
	a.again.mu.Lock()
	defer a.again.mu.Unlock()
	a.again.paths = append(a.again.paths, paths...)
	select {
	case a.again.ready <- struct{}{}:
	default: // it is signalled already
	}
}

// again are paths that wait for the desk.
type again struct {
	ready chan struct{} // of capacity one

	mu    sync.Mutex
	paths []string
}

func (w *again) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := w.paths
	w.paths = nil
	return paths
}

// nameOf is the name that a path has; "" is none.
func (r *register) nameOf(path string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[path]
}

// owner is the path that has a name; "" is none.
func (r *register) owner(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owners[name]
}
