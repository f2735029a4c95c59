package relay

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"pgregory.net/rapid"

	"github.com/postern-gateway/postern/internal/xds"
)

// versions of a type's resources, by name.
type versions map[string]string

// memory is a store without a disk.
type memory map[string]versions

func (m memory) Put(typeURL string, put []*discoveryv3.Resource, remove []string) {
	if m[typeURL] == nil {
		m[typeURL] = versions{}
	}
	for _, name := range remove {
		delete(m[typeURL], name)
	}
	for _, r := range put {
		m[typeURL][r.GetName()] = r.GetVersion()
	}
}

func (m memory) Load(typeURL string) (resources []*discoveryv3.Resource, known bool, err error) {
	of, known := m[typeURL]
	for name, version := range of {
		resources = append(resources, &discoveryv3.Resource{Name: name, Version: version})
	}
	return resources, known, nil
}

func (m memory) SavedAt() time.Time { return time.Time{} }

func (m memory) Confirm() {}

// world is an Envoy, an adapter, and the ledger that reads what they say to each other. Clusters stand for what Envoy asks
// for as a whole, tables for what it asks for by name.
type world struct {
	store  memory
	ledger *ledger
	book   *book
	local  bool

	wanted    map[string]versions  // what the adapter would have
	held      map[string]versions  // what it believes that Envoy has; nil: Envoy has not asked yet
	repeated  map[string]int       // names that Envoy refused
	inside    map[string]versions  // Envoy
	subs      map[string]bool      // tables that Envoy wants
	given     map[string]bool      // tables that it has given up on this stream
	bad       map[string]bool      // versions that Envoy refuses
	sent      map[string]*response // by nonce
	responses []*response          // under way
	requests  []*request

	versions, nonces int
}

var kinds = []string{xds.ClusterType, xds.RouteType}

func newWorld() *world {
	w := &world{
		store: memory{}, wanted: map[string]versions{}, repeated: map[string]int{}, bad: map[string]bool{}, subs: map[string]bool{},
		inside: map[string]versions{}, sent: map[string]*response{},
	}
	for _, k := range kinds {
		w.wanted[k], w.inside[k] = versions{}, versions{}
	}
	w.ledger, _ = newLedger(w.store)
	w.connect(false)
	return w
}

// connect begins a stream; what was under way is lost.
func (w *world) connect(local bool) {
	w.local, w.responses, w.requests, w.held = local, nil, nil, map[string]versions{}
	w.book, w.given = w.ledger.begin(local), map[string]bool{}
	for _, k := range kinds {
		r := &request{TypeUrl: k, InitialResourceVersions: maps.Clone(w.inside[k])}
		if k == xds.RouteType {
			r.ResourceNamesSubscribe = slices.Sorted(maps.Keys(w.subs))
			if len(w.subs) == 0 {
				continue
			}
		}
		w.requests = append(w.requests, r)
	}
}

// change makes the adapter want another version of a resource, or none.
func (w *world) change(typeURL, name string, gone, bad bool) {
	if gone {
		delete(w.wanted[typeURL], name)
		return
	}
	w.versions++
	version := strconv.Itoa(w.versions)
	w.bad[version] = bad
	w.wanted[typeURL][name] = version
}

// push sends what differs, at most n resources at a time.
func (w *world) push(typeURL string, n int) bool {
	held, ok := w.held[typeURL]
	if !ok {
		return false
	}
	m := &response{TypeUrl: typeURL}
	for _, name := range slices.Sorted(maps.Keys(w.wanted[typeURL])) {
		version := w.wanted[typeURL][name]
		if held[name] == version || typeURL == xds.RouteType && !w.subscribed(name) {
			continue
		}
		held[name] = version
		if n := w.repeated[name]; n > 0 {
			version += "~" + strconv.Itoa(n)
		}
		m.Resources = append(m.Resources, &discoveryv3.Resource{Name: name, Version: version})
		if len(m.Resources) == n {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		if _, ok := w.wanted[typeURL][name]; !ok {
			delete(held, name)
			m.RemovedResources = append(m.RemovedResources, name)
		}
	}
	if len(m.Resources)+len(m.RemovedResources) == 0 {
		return false
	}
	w.send(m)
	return true
}

// subscribed is whether the adapter knows that Envoy wants a table.
func (w *world) subscribed(name string) bool {
	_, ok := w.held["subscribed"][name]
	return ok
}

func (w *world) send(m *response) {
	w.nonces++
	m.Nonce = strconv.Itoa(w.nonces)
	w.book.response(m)
	w.responses = append(w.responses, m)
	w.sent[m.Nonce] = m
}

// take has Envoy take in the next response.
func (w *world) take() bool {
	if len(w.responses) == 0 {
		return false
	}
	m := w.responses[0]
	w.responses = w.responses[1:]
	answer := &request{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
	w.requests = append(w.requests, answer)
	for _, r := range m.Resources {
		if w.bad[xds.BaseVersion(r.Version)] {
			answer.ErrorDetail = &rpcstatus.Status{Message: "bad"}
			return true
		}
	}
	for _, name := range m.RemovedResources {
		delete(w.inside[m.TypeUrl], name)
	}
	for _, r := range m.Resources {
		if m.TypeUrl == xds.ClusterType || w.subs[r.Name] {
			w.inside[m.TypeUrl][r.Name] = r.Version
		}
	}
	return true
}

// hear brings Envoy's next request to the relay, and what it says for it to the adapter.
func (w *world) hear() bool {
	if len(w.requests) == 0 {
		return false
	}
	said := w.requests[0]
	w.requests = w.requests[1:]
	r := w.book.request(said)
	if w.local {
		w.serveLocally(r)
		return true
	}
	held, known := w.held[r.TypeUrl]
	if !known {
		w.first(r)
		return true
	}
	if r.ErrorDetail != nil {
		w.refused(r.TypeUrl, w.sent[r.ResponseNonce])
	}
	for _, name := range r.ResourceNamesSubscribe {
		w.held["subscribed"][name] = "yes"
		held[name] = "unsure"
		delete(w.given, name)
	}
	for _, name := range r.ResourceNamesUnsubscribe {
		delete(w.held["subscribed"], name)
		delete(held, name)
		w.given[name] = true
	}
	return true
}

// refused has the adapter take back what is bad, and send the rest of a response again.
func (w *world) refused(typeURL string, m *response) {
	for _, r := range m.Resources {
		w.repeated[r.Name]++
		w.held[typeURL][r.Name] = "unsure"
		if w.bad[w.wanted[typeURL][r.Name]] {
			delete(w.wanted[typeURL], r.Name)
			if has, ok := w.inside[typeURL][r.Name]; ok {
				w.wanted[typeURL][r.Name] = xds.BaseVersion(has)
			}
		}
	}
	for _, name := range m.RemovedResources {
		w.held[typeURL][name] = "unsure"
	}
}

// first answers a type's first request in two responses, the first of which says that there is more.
func (w *world) first(r *request) {
	held := versions{}
	for name, version := range r.InitialResourceVersions {
		held[name] = xds.BaseVersion(version)
	}
	w.held[r.TypeUrl] = held
	if r.TypeUrl == xds.RouteType {
		w.held["subscribed"] = versions{}
		for _, name := range r.ResourceNamesSubscribe {
			w.held["subscribed"][name] = "yes"
			if _, ok := held[name]; !ok {
				held[name] = "unsure"
			}
		}
		return
	}
	one, two := &response{TypeUrl: r.TypeUrl, SystemVersionInfo: "partial"}, &response{TypeUrl: r.TypeUrl}
	for i, name := range slices.Sorted(maps.Keys(w.wanted[r.TypeUrl])) {
		version := w.wanted[r.TypeUrl][name]
		if held[name] == version {
			continue
		}
		m := one
		if i%2 == 1 {
			m = two
		}
		held[name] = version
		m.Resources = append(m.Resources, &discoveryv3.Resource{Name: name, Version: version})
	}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		if _, ok := w.wanted[r.TypeUrl][name]; !ok {
			delete(held, name)
			one.RemovedResources = append(one.RemovedResources, name)
		}
	}
	w.send(one)
	w.send(two)
}

// serveLocally gives Envoy what is kept and it has not.
func (w *world) serveLocally(r *request) {
	for name, version := range w.store[r.TypeUrl] {
		has, ok := r.InitialResourceVersions[name]
		switch {
		case ok && xds.BaseVersion(has) != version:
			panic(fmt.Sprintf("the local server would replace %s@%s by %s", name, has, version))
		case !ok && (r.TypeUrl == xds.ClusterType || slices.Contains(r.ResourceNamesSubscribe, name)) && r.ResponseNonce == "":
			if _, ok := w.inside[r.TypeUrl][name]; !ok {
				w.inside[r.TypeUrl][name] = version
			}
		}
	}
}

// settle lets everything under way arrive.
func (w *world) settle() {
	for {
		moved := w.hear() || w.take()
		for _, k := range kinds {
			moved = w.push(k, 3) || moved
		}
		if !moved {
			return
		}
	}
}

// check compares the store with Envoy, when nothing is under way.
func (w *world) check(t *rapid.T) {
	has := func(k string) versions {
		out := versions{}
		for name, version := range w.inside[k] {
			out[name] = xds.BaseVersion(version)
		}
		return out
	}
	if got, want := w.store[xds.ClusterType], has(xds.ClusterType); !w.local && !maps.Equal(got, want) {
		t.Fatalf("clusters: the store has %v, Envoy %v", got, want)
	}
	tables := has(xds.RouteType)
	for name := range w.subs {
		if got, want := w.store[xds.RouteType][name], tables[name]; !w.local && got != want {
			t.Fatalf("table %s: the store has %q, Envoy %q", name, got, want)
		}
	}
	if !w.local && len(w.inside[xds.ClusterType]) > 0 && len(w.inside[xds.RouteType]) > 0 {
		w.connect(false) // after which nothing is left that only a lost word says is not wanted
		w.settle()
		for name := range w.store[xds.RouteType] {
			if !w.subs[name] {
				t.Fatalf("table %s is kept, and Envoy does not want it", name)
			}
		}
	}
	for name := range w.given {
		if version, ok := w.store[xds.RouteType][name]; ok {
			t.Fatalf("table %s@%s is kept, and Envoy has left it", name, version)
		}
	}
	for k, of := range w.store {
		for name, version := range of {
			if w.bad[version] {
				t.Fatalf("%s %s@%s was refused, and is kept", k, name, version)
			}
		}
	}
}

// TestLedger: whatever is lost on the way, what is kept is what Envoy has.
func TestLedger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				w.change(rapid.SampledFrom(kinds).Draw(t, "type"), names.Draw(t, "name"), rapid.IntRange(0, 3).Draw(t, "gone") == 0, rapid.IntRange(0, 5).Draw(t, "bad") == 0)
			},
			"push": func(t *rapid.T) {
				w.push(rapid.SampledFrom(kinds).Draw(t, "type"), rapid.IntRange(1, 3).Draw(t, "at most"))
			},
			"take": func(*rapid.T) { w.take() },
			"hear": func(*rapid.T) { w.hear() },
			"subscribe": func(t *rapid.T) {
				name := names.Draw(t, "name")
				w.subs[name] = true
				w.requests = append(w.requests, &request{TypeUrl: xds.RouteType, ResourceNamesSubscribe: []string{name}})
			},
			"unsubscribe": func(t *rapid.T) {
				name := names.Draw(t, "name")
				if w.subs[name] {
					delete(w.subs, name)
					delete(w.inside[xds.RouteType], name)
					w.requests = append(w.requests, &request{TypeUrl: xds.RouteType, ResourceNamesUnsubscribe: []string{name}})
				}
			},
			"break": func(t *rapid.T) { w.connect(rapid.Bool().Draw(t, "local")) },
			"restart": func(t *rapid.T) {
				w.subs = map[string]bool{}
				for _, k := range kinds {
					w.inside[k] = versions{}
				}
				w.connect(rapid.Bool().Draw(t, "local"))
			},
			"settle": func(t *rapid.T) { w.settle(); w.check(t) },
		})
		w.settle()
		w.check(t)
	})
}

// TestPartOfAFillIsNotServed: with a listener and without scopes an Envoy would say that there are no APIs.
func TestPartOfAFillIsNotServed(t *testing.T) {
	t.Parallel()
	l, err := newLedger(memory{xds.ClusterType: {"a": "1"}, xds.ListenerType: {"http": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if l.sufficient() {
		t.Error("a listener and a cluster are enough")
	}
	l, err = newLedger(memory{xds.ClusterType: {"a": "1"}, xds.ListenerType: {"http": "1"}, xds.ScopeType: {}})
	if err != nil {
		t.Fatal(err)
	}
	if !l.sufficient() {
		t.Error("a gateway without APIs cannot serve")
	}
}
