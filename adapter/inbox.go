package adapter

import (
	"maps"
	"slices"
	"sync"
)

// inbox holds projects until a loop has time for them: of each the latest. Whoever puts one there never waits.
type inbox struct {
	ready chan struct{} // of capacity one

	mu      sync.Mutex
	waiting map[string]compiled // by path
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1), waiting: map[string]compiled{}} }

func (b *inbox) put(projects []compiled) {
	if len(projects) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range projects {
		b.waiting[c.path] = c
	}
	select {
	case b.ready <- struct{}{}:
	default: // it is signalled already
	}
}

// take empties the inbox; sorted by path, so that equal changes are taken in one order.
func (b *inbox) take() []compiled {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []compiled
	for _, path := range slices.Sorted(maps.Keys(b.waiting)) {
		all = append(all, b.waiting[path])
	}
	clear(b.waiting)
	return all
}
