package xds

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// shelf is a Store in memory.
type shelf struct {
	mu    sync.Mutex
	types map[string]map[string]*discoveryv3.Resource
	put   chan struct{}

	confirmed time.Time
}

func newShelf() *shelf {
	return &shelf{types: map[string]map[string]*discoveryv3.Resource{}, put: make(chan struct{}, 100)}
}

func (s *shelf) Load(typeURL string) ([]*discoveryv3.Resource, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, known := s.types[typeURL]
	return slices.SortedFunc(maps.Values(of), func(a, b *discoveryv3.Resource) int { return strings.Compare(a.Name, b.Name) }), known, nil
}

func (s *shelf) Put(typeURL string, put []*discoveryv3.Resource, remove []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.types[typeURL] == nil {
		s.types[typeURL] = map[string]*discoveryv3.Resource{}
	}
	for _, name := range remove {
		delete(s.types[typeURL], name)
	}
	for _, r := range put {
		s.types[typeURL][r.Name] = r
	}
	s.put <- struct{}{}
}

func (s *shelf) Drop(typeURL string, names []string) { s.Put(typeURL, nil, names) }

func (s *shelf) Confirm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = time.Now()
}

func (s *shelf) SavedAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// expect waits until the shelf holds these, "name@version".
func (s *shelf) expect(t *testing.T, want ...string) {
	t.Helper()
	for {
		resources, known, _ := s.Load(ownType)
		var got []string
		for _, r := range resources {
			got = append(got, r.Name+"@"+r.Version)
		}
		if known && slices.Equal(got, want) {
			return
		}
		select {
		case <-s.put:
		case <-time.After(patience):
			t.Fatalf("the store holds %q, want %q", got, want)
		}
	}
}

func TestClientGoesOnFromItsStore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := newShelf()
	r.put(ownType, Item{"a", "1"}, Item{"b", "1"})
	f := followWith(t, "", ClientOptions{Store: store, Addresses: []string{r.address}})
	f.expect("+a@1 +b@1 complete")
	store.expect(t, "a@1", "b@1")
	r.put(ownType, Item{"b", "2"})
	f.expect("+b@2 complete")
	r.remove(ownType, "a")
	f.expect("-a complete")
	store.expect(t, "b@2")
	f.stop()

	away := followWith(t, "", ClientOptions{Store: store, Addresses: []string{"127.0.0.1:1"}})
	away.expect("+b@2 complete") // nobody is there
	away.stop()

	r.put(ownType, Item{"c", "1"})
	again := followWith(t, "", ClientOptions{Store: store, Addresses: []string{r.address}})
	again.expect("+b@2 complete")
	again.expect("+c@1 complete") // b is not sent again
}

// TestClientDropsWhatItRefusesOfItsStore: another build may have stored it.
func TestClientDropsWhatItRefusesOfItsStore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"new", "1"})
	store := newShelf()
	store.Put(ownType, resources(Item{"bad", "1"}, Item{"good", "1"}, Item{"new", "1"}), nil)
	f := followWith(t, "bad", ClientOptions{Store: store, Addresses: []string{r.address}})
	f.expect("+good@1 ")
	f.expect("+new@1 ")
	f.expect("complete")
	f.expect("-good complete")
	store.expect(t, "new@1")
}

// TestHalfASetIsNotStored: a client that is killed during its first fill must not take half of it for everything.
func TestHalfASetIsNotStored(t *testing.T) {
	t.Parallel()
	store := newShelf()
	c := &client{
		options: ClientOptions{Store: store, Apply: func(Update) error { return nil }, Log: silentLog},
		types:   map[string]*followed{ownType: {versions: map[string]string{}, unstored: map[string]*discoveryv3.Resource{}}},
	}
	give := func(mark string, removed []string, items ...Item) {
		c.take(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: ownType, SystemVersionInfo: mark, Resources: resources(items...), RemovedResources: removed})
	}
	give(partial, nil, Item{"a", "1"}, Item{"b", "1"})
	if _, known, _ := store.Load(ownType); known {
		t.Fatal("half of it is stored")
	}
	give(partial, []string{"b"}, Item{"c", "1"})
	give("", nil, Item{"d", "1"})
	store.expect(t, "a@1", "c@1", "d@1")
}
