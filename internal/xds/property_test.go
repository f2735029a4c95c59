package xds

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"pgregory.net/rapid"
)

// world is one cache and one client of it, without a wire between them: what is sent waits until the
// client looks at it, and what the client answers until the server does.
type world struct {
	t        *rapid.T
	server   *Server
	cache    *Cache
	bad      map[Item]bool     // the client refuses these
	told     map[string]string // by the events: what the client acknowledged
	versions int

	stream  *stream
	coming  []*discoveryv3.DeltaDiscoveryResponse
	going   []*discoveryv3.DeltaDiscoveryRequest
	typeURL string

	wildcard bool
	names    map[string]bool
	has      map[string]string
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, cache: NewCache(), bad: map[Item]bool{}, told: map[string]string{},
		typeURL: rapid.SampledFrom([]string{ownType, RouteType, ScopeType, ListenerType}).Draw(t, "type"),
		names:   map[string]bool{}, has: map[string]string{},
	}
	w.server = NewServer(ServerOptions{
		Find:   func(context.Context, Node, string) (*Cache, error) { return w.cache, nil },
		Notify: w.notify,
	})
	w.connect()
	return w
}

func (w *world) notify(e Event) {
	if e.Kind != Acked {
		return
	}
	for _, item := range e.Resources {
		w.told[item.Name] = item.Version
	}
	for _, name := range e.Removed {
		delete(w.told, name)
	}
}

// connect begins a new stream with what the client has.
func (w *world) connect() {
	if w.stream != nil {
		w.stream.close()
	}
	w.coming, w.going = nil, nil
	w.told = map[string]string{}
	w.stream = newStream(w.server, w.t.Context(), func(m *discoveryv3.DeltaDiscoveryResponse) error {
		w.coming = append(w.coming, m)
		return nil
	})
	w.wildcard = rapid.Bool().Draw(w.t, "wildcard")
	w.names = map[string]bool{}
	first := &discoveryv3.DeltaDiscoveryRequest{Node: Node{ID: "gw"}.Proto(), TypeUrl: w.typeURL, InitialResourceVersions: maps.Clone(w.has)}
	if w.wildcard {
		first.ResourceNamesSubscribe = []string{Wildcard}
	}
	for _, name := range w.draw("subscribed") {
		w.names[name] = true
		first.ResourceNamesSubscribe = append(first.ResourceNamesSubscribe, name)
	}
	if len(first.ResourceNamesSubscribe) == 0 {
		w.wildcard = !byName(w.typeURL)
	}
	w.forget()
	w.going = append(w.going, first)
}

// forget drops what the client does not want, as clients do.
func (w *world) forget() {
	for name := range w.has {
		if !w.wildcard && !w.names[name] {
			delete(w.has, name)
		}
	}
}

func (w *world) draw(label string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 5, rapid.ID).Draw(w.t, label)
}

func (w *world) put() { w.cache.Update(w.news("put"), nil) }

// news are new versions of some resources, of which the client refuses some.
func (w *world) news(label string) []*discoveryv3.Resource {
	var put []*discoveryv3.Resource
	for _, name := range w.draw(label) {
		w.versions++
		item := Item{name, fmt.Sprint("v", w.versions)}
		if rapid.IntRange(0, 3).Draw(w.t, "bad") == 0 {
			w.bad[item] = true
		}
		put = append(put, resource(item.Name, item.Version, nil))
	}
	return put
}

// stage stages something for those who are connected.
func (w *world) stage() {
	put, remove := w.news("staged"), w.draw("staged removals")
	w.cache.Stage(w.server.last(), put, slices.DeleteFunc(remove, func(name string) bool {
		return slices.ContainsFunc(put, func(r *discoveryv3.Resource) bool { return r.Name == name })
	}))
}

func (w *world) subscribe() {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL, ResourceNamesSubscribe: w.draw("more")}
	for _, name := range r.ResourceNamesSubscribe {
		w.names[name] = true
	}
	if rapid.Bool().Draw(w.t, "all") {
		w.wildcard = true
		r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, Wildcard)
	}
	w.going = append(w.going, r)
}

func (w *world) unsubscribe() {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL, ResourceNamesUnsubscribe: w.draw("fewer")}
	for _, name := range r.ResourceNamesUnsubscribe {
		delete(w.names, name)
	}
	if rapid.Bool().Draw(w.t, "none") {
		w.wildcard = false
		r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, Wildcard)
	}
	w.forget()
	w.going = append(w.going, r)
}

// serve lets the server take in one thing that waits for it.
func (w *world) serve() {
	select {
	case <-w.stream.wake:
		w.check(w.stream.changed())
		return
	default:
	}
	if len(w.going) > 0 {
		r := w.going[0]
		w.going = w.going[1:]
		w.check(w.stream.request(r))
	}
}

// receive lets the client take in one response: of those beside a bad one it applies some, or none.
func (w *world) receive() {
	if len(w.coming) == 0 {
		return
	}
	m := w.coming[0]
	w.coming = w.coming[1:]
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
	refused := slices.ContainsFunc(m.Resources, w.refuses)
	for _, name := range m.RemovedResources {
		delete(w.has, name)
	}
	for _, r := range m.Resources {
		if w.refuses(r) || refused && rapid.Bool().Draw(w.t, "skipped") {
			continue
		}
		w.has[r.Name] = r.Version
	}
	w.forget()
	if refused {
		answer.ErrorDetail = &rpcstatus.Status{Message: "bad"}
	}
	w.going = append(w.going, answer)
}

func (w *world) refuses(r *discoveryv3.Resource) bool {
	return w.bad[Item{r.Name, BaseVersion(r.Version)}]
}

func (w *world) check(err error) {
	if err != nil {
		w.t.Fatal(err)
	}
}

// settle lets both go on until nothing waits, and compares.
func (w *world) settle() {
	for rounds := 0; len(w.going)+len(w.coming)+len(w.stream.wake) > 0; rounds++ {
		if rounds > 10_000 {
			w.t.Fatal("they never come to rest")
		}
		w.serve()
		w.receive()
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		r := w.cache.get([]string{name}, w.stream.id)[0]
		has := BaseVersion(w.has[name])
		switch {
		case !w.wildcard && !w.names[name]:
		case r == nil && has != "":
			w.t.Fatalf("%s is gone, the client has %s", name, has)
		case r != nil && w.bad[Item{name, r.Version}]:
			if w.told[name] == r.Version {
				w.t.Fatalf("%s@%s was refused, and reported as acknowledged", name, r.Version)
			}
		case r != nil && has != r.Version:
			w.t.Fatalf("%s is %s, the client has %q", name, r.Version, has)
		case r != nil && w.told[name] != r.Version:
			w.t.Fatalf("%s@%s is there, and was never reported", name, r.Version)
		}
	}
	if n := len(w.stream.subs[0].flights) + len(w.stream.subs[0].aloft); n != 0 {
		w.t.Fatalf("%d responses or names still in the air", n)
	}
}

// TestClientAndCacheAgree: whatever happens in whatever order, in the end the client has what it wants of
// what there is, except what it refuses, and the events have said so.
func TestClientAndCacheAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"put":         func(*rapid.T) { w.put() },
			"remove":      func(*rapid.T) { w.cache.Update(nil, w.draw("remove")) },
			"stage":       func(*rapid.T) { w.stage() },
			"commit":      func(*rapid.T) { w.cache.Commit(w.draw("committed")) },
			"unstage":     func(*rapid.T) { w.cache.Unstage(w.draw("unstaged")) },
			"subscribe":   func(*rapid.T) { w.subscribe() },
			"unsubscribe": func(*rapid.T) { w.unsubscribe() },
			"serve":       func(*rapid.T) { w.serve() },
			"receive":     func(*rapid.T) { w.receive() },
			"reconnect":   func(*rapid.T) { w.connect() },
		})
		w.settle()
	})
}
