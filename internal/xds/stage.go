package xds

import (
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// staged is what the streams up to one of them see in place of what is committed.
type staged struct {
	resource *discoveryv3.Resource // nil: it is gone
	upTo     uint64
}

// Stage puts and removes resources for the streams up to one of them (Event.Stream) and for nobody else: who connects
// later sees what is committed, until Commit. It replaces what was staged of these names before. It never waits for a
// client. The resources must not be changed afterwards.
func (c *Cache) Stage(upTo uint64, put []*discoveryv3.Resource, remove []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.staged == nil {
		c.staged = make(map[string]staged, len(put)+len(remove))
	}
	changed := make([]string, 0, len(put)+len(remove))
	for _, r := range put {
		c.staged[r.Name] = staged{r, upTo}
		changed = append(changed, r.Name)
	}
	for _, name := range remove {
		c.staged[name] = staged{nil, upTo}
		changed = append(changed, name)
	}
	c.mark(changed, func(stream uint64) bool { return stream <= upTo })
	c.tidy()
}

// Commit makes what is staged of these names what everybody sees. Only the streams that did not see it are told.
func (c *Cache) Commit(names []string) {
	c.end(names, func(stream, upTo uint64) bool { return stream > upTo }, func(name string, s staged) {
		if s.resource == nil {
			delete(c.resources, name)
			return
		}
		c.resources[name] = s.resource
	})
}

// Unstage drops what is staged of these names. The streams that saw it are told what is committed.
func (c *Cache) Unstage(names []string) {
	c.end(names, func(stream, upTo uint64) bool { return stream <= upTo }, func(string, staged) {})
}

// end ends the staging of these names and tells those it concerns.
func (c *Cache) end(names []string, concerns func(stream, upTo uint64) bool, ended func(string, staged)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := map[uint64][]string{} // why by stream: mostly all were staged for the same
	for _, name := range names {
		if s, ok := c.staged[name]; ok {
			delete(c.staged, name)
			ended(name, s)
			told[s.upTo] = append(told[s.upTo], name)
		}
	}
	for _, upTo := range slices.Sorted(maps.Keys(told)) {
		c.mark(told[upTo], func(stream uint64) bool { return concerns(stream, upTo) })
	}
	c.tidy()
}

// tidy lets go of a map that was large once. c.mu is held.
func (c *Cache) tidy() {
	if len(c.staged) == 0 {
		c.staged = nil
	}
}
