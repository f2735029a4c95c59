package xds

import (
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Cache holds the resources of one type for one label: those that are committed, and in place of some of them what is
// staged. The zero value is not usable: NewCache.
type Cache struct {
	mu        sync.RWMutex
	resources map[string]*discoveryv3.Resource
	staged    map[string]staged // by name; nil: nothing is
	watches   map[*watch]struct{}
	retain    bool
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{resources: map[string]*discoveryv3.Resource{}, watches: map[*watch]struct{}{}}
}

// Update puts and removes resources and wakes the streams that watch, which are told the changed
// names only. A resource whose version the cache holds already is no change. It never waits for a
// client. The resources must not be changed afterwards.
func (c *Cache) Update(put []*discoveryv3.Resource, remove []string) {
	changed := make([]string, 0, len(put)+len(remove))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range remove {
		if _, ok := c.resources[name]; ok {
			delete(c.resources, name)
			changed = append(changed, name)
		}
	}
	for _, r := range put {
		if old, ok := c.resources[r.Name]; !ok || old.Version != r.Version {
			c.resources[r.Name] = r
			changed = append(changed, r.Name)
		}
	}
	c.mark(changed, everybody)
}

// Retain keeps clients that connect with resources this cache does not have from being told to
// drop them, until it is called with false: then they are told. It is for resources that are
// named by their content, where an old one does no harm and a missing one does.
func (c *Cache) Retain(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retain = on
	if on {
		return
	}
	for w := range c.watches {
		w.purge()
	}
}

// Len is the number of resources.
func (c *Cache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.resources)
}

// get returns what a stream sees of these names, nil for those that are not there.
func (c *Cache) get(names []string, stream uint64) []*discoveryv3.Resource {
	found := make([]*discoveryv3.Resource, len(names))
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i, name := range names {
		found[i] = c.resources[name]
		if s, ok := c.staged[name]; ok && stream <= s.upTo {
			found[i] = s.resource
		}
	}
	return found
}

// names are those of all that a stream sees.
func (c *Cache) names(stream uint64) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := make([]string, 0, len(c.resources))
	for name := range c.resources {
		if s, ok := c.staged[name]; !ok || stream > s.upTo {
			names = append(names, name)
		}
	}
	for name, s := range c.staged {
		if stream <= s.upTo && s.resource != nil {
			names = append(names, name)
		}
	}
	return names
}

func (c *Cache) retains() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.retain
}

// watch registers a stream: from now on every change marks its names and wakes it.
func (c *Cache) watch(wake chan<- struct{}, stream uint64) *watch {
	w := &watch{wake: wake, stream: stream}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches[w] = struct{}{}
	return w
}

func (c *Cache) unwatch(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watches, w)
}

// everybody is who a change of what is committed concerns.
func everybody(uint64) bool { return true }

// mark tells the streams that a change concerns. c.mu is held.
func (c *Cache) mark(names []string, concerns func(stream uint64) bool) {
	if len(names) == 0 {
		return
	}
	for w := range c.watches {
		if concerns(w.stream) {
			w.mark(names)
		}
	}
}

// watch collects what changed since its stream looked last. However slow the stream, it holds each
// name once.
type watch struct {
	wake   chan<- struct{} // of capacity one
	stream uint64

	mu      sync.Mutex
	changed map[string]struct{}
	foreign bool // drop what the cache never had
}

func (w *watch) mark(names []string) {
	w.mu.Lock()
	if w.changed == nil {
		w.changed = make(map[string]struct{}, len(names))
	}
	for _, name := range names {
		w.changed[name] = struct{}{}
	}
	w.mu.Unlock()
	w.signal()
}

func (w *watch) purge() {
	w.mu.Lock()
	w.foreign = true
	w.mu.Unlock()
	w.signal()
}

func (w *watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// take empties the watch.
func (w *watch) take() (names []string, foreign bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names = make([]string, 0, len(w.changed))
	for name := range w.changed {
		names = append(names, name)
	}
	w.changed, foreign, w.foreign = nil, w.foreign, false
	return names, foreign
}
