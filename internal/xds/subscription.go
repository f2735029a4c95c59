package xds

import (
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// subscription is what one stream wants of one type, and what its client has of it.
type subscription struct {
	typeURL string
	cache   *Cache
	watch   *watch
	stream  uint64 // whose it is

	wildcard bool
	names    map[string]struct{} // subscribed by name

	held     map[string]string // what the client was sent, or said it had: the cache's versions
	flights  map[string]flight // by nonce: sent, no verdict yet
	aloft    map[string]int    // by name: in how many flights
	rejected map[string]int    // by name: rejections in a row
}

// unsure stands for a version where nobody knows what the client has: it will be sent what the cache
// holds, or that it is gone. No resource has this version.
const unsure = ""

// flight is one response without a verdict.
type flight struct {
	items   []Item
	removed []string
}

func newSubscription(typeURL string, cache *Cache, wake chan<- struct{}, stream uint64) *subscription {
	return &subscription{
		typeURL: typeURL, cache: cache, watch: cache.watch(wake, stream), stream: stream,
		names: map[string]struct{}{}, held: map[string]string{}, flights: map[string]flight{},
		aloft: map[string]int{}, rejected: map[string]int{},
	}
}

// begin takes in a type's first request and returns the names to look at.
func (s *subscription) begin(r *discoveryv3.DeltaDiscoveryRequest) []string {
	for name, version := range r.InitialResourceVersions {
		s.held[name] = BaseVersion(version)
	}
	s.wildcard = Wild(r)
	look := map[string]struct{}{}
	for _, name := range r.ResourceNamesSubscribe {
		if name == Wildcard {
			continue
		}
		s.names[name], look[name] = struct{}{}, struct{}{}
		if _, has := s.held[name]; !has {
			s.held[name] = unsure
		}
	}
	if s.wildcard {
		for _, name := range s.cache.names(s.stream) {
			look[name] = struct{}{}
		}
	}
	maps.DeleteFunc(s.held, func(name, _ string) bool { return !s.wants(name) }) // it may drop those any time
	retains := s.cache.retains()
	for _, name := range s.vanished() {
		s.held[name] = unsure // why: if it comes back, nobody but the client says that it has it
		if !retains {
			look[name] = struct{}{}
		}
	}
	return sortedKeys(look)
}

// subscribe adds names and returns those to look at. The client may have dropped what it asks for,
// so that it is sent even if it was before.
func (s *subscription) subscribe(names []string) []string {
	var look []string
	for _, name := range names {
		if name == Wildcard {
			if s.wildcard { // it asks again for what it was sent
				for held := range s.held {
					s.held[held] = unsure
				}
			}
			s.wildcard = true
			look = append(look, s.cache.names(s.stream)...)
			for name := range s.aloft { // it may arrive, and be taken, after all
				if _, has := s.held[name]; !has {
					s.held[name] = unsure
					look = append(look, name)
				}
			}
			continue
		}
		s.names[name] = struct{}{}
		s.held[name] = unsure
		look = append(look, name)
	}
	slices.Sort(look)
	return slices.Compact(look)
}

// unsubscribe takes names away and returns those to look at: under a wildcard, a name given up is
// answered by its resource or its removal, for the client cannot know which it is.
func (s *subscription) unsubscribe(names []string) []string {
	var look []string
	for _, name := range names {
		if name == Wildcard {
			s.wildcard = false
			for held := range s.held {
				if _, ok := s.names[held]; !ok {
					delete(s.held, held)
				}
			}
			continue
		}
		if _, ok := s.names[name]; !ok {
			continue
		}
		delete(s.names, name)
		delete(s.rejected, name)
		if s.wildcard {
			s.held[name] = unsure
			look = append(look, name)
			continue
		}
		delete(s.held, name)
	}
	return look
}

func (s *subscription) wants(name string) bool {
	if s.wildcard {
		return true
	}
	_, ok := s.names[name]
	return ok
}

// vanished are the names of what the client has and the cache has not.
func (s *subscription) vanished() []string {
	held := sortedKeys(s.held)
	var gone []string
	for i, r := range s.cache.get(held, s.stream) {
		if r == nil {
			gone = append(gone, held[i])
		}
	}
	return gone
}

// difference is what lies between a client and the cache.
type difference struct {
	put     []*discoveryv3.Resource
	removed []string
	same    []Item   // the client confirmed this version before
	absent  []string // the client does not have it, nor should it
}

// collect compares the client with the cache, for these names.
func (s *subscription) collect(names []string) difference {
	slices.Sort(names)
	names = slices.Compact(names) // why: a response that names something twice is an error
	var d difference
	for i, r := range s.cache.get(names, s.stream) {
		name := names[i]
		held, has := s.held[name]
		switch {
		case r == nil && has:
			d.removed = append(d.removed, name) // also what is asked for by name and is not there
		case !s.wants(name):
		case r == nil:
			if s.aloft[name] == 0 {
				d.absent = append(d.absent, name)
			}
		case !has || held != r.Version:
			d.put = append(d.put, r)
		case s.aloft[name] == 0 && s.rejected[name] == 0:
			d.same = append(d.same, Item{name, held})
		}
	}
	return d
}

// takeOff records a response as sent and returns its resources as they go over the wire: those of
// which the client refused an earlier version get a new one.
func (s *subscription) takeOff(nonce string, put []*discoveryv3.Resource, removed []string) []*discoveryv3.Resource {
	f := flight{items: make([]Item, len(put)), removed: removed}
	wire := put
	for i, r := range put {
		f.items[i] = Item{r.Name, r.Version}
		s.held[r.Name] = r.Version
		s.aloft[r.Name]++
		if n := s.rejected[r.Name]; n > 0 {
			if &wire[0] == &put[0] {
				wire = slices.Clone(put)
			}
			wire[i] = &discoveryv3.Resource{Name: r.Name, Version: retryVersion(r.Version, n), Resource: r.Resource}
		}
	}
	for _, name := range removed {
		delete(s.held, name)
		s.aloft[name]++
	}
	s.flights[nonce] = f
	return wire
}

// land takes a response that got its verdict out of the air.
func (s *subscription) land(nonce string) (flight, bool) {
	f, ok := s.flights[nonce]
	if !ok {
		return flight{}, false
	}
	delete(s.flights, nonce)
	down := func(name string) {
		if s.aloft[name]--; s.aloft[name] == 0 {
			delete(s.aloft, name)
		}
	}
	for _, item := range f.items {
		down(item.Name)
	}
	for _, name := range f.removed {
		down(name)
	}
	return f, true
}

func (s *subscription) acked(f flight) {
	for _, item := range f.items {
		delete(s.rejected, item.Name)
	}
	for _, name := range f.removed {
		delete(s.rejected, name)
	}
}

// nacked notes a refusal and returns the names to be sent again, each by itself, which finds the bad
// ones. One that was alone is the bad one: it waits for the cache to change.
func (s *subscription) nacked(f flight) (again []string) {
	for _, item := range f.items {
		s.rejected[item.Name]++
		if len(f.items) > 1 && s.held[item.Name] == item.Version {
			s.held[item.Name] = unsure
			again = append(again, item.Name)
		}
	}
	for _, name := range f.removed {
		if _, has := s.held[name]; !has && len(f.items) > 0 { // why: what came with it was bad, and the client may have it still
			s.held[name] = unsure
			again = append(again, name)
		}
	}
	return again
}
