package relay

import (
	"maps"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/internal/xds"
)

// ledger keeps in the store what Envoy acknowledged. It reads along on the streams, one at a time, and holds over from one
// to the next what Envoy was sent and has not answered for.
type ledger struct {
	store Store // nil: nothing is kept

	mu      sync.Mutex
	kinds   map[string]*kind // by type URL
	current *book
}

// kind is one type.
type kind struct {
	kept map[string]string // versions in the store, by name
	once bool              // Envoy has once accepted all there was, or an earlier process kept some
	full bool              // an adapter has sent this Envoy all of what it asks for as a whole
	left []flight          // sent on the stream before, in this order, without a verdict
}

// flight is a response that Envoy has not answered.
type flight struct {
	nonce   string
	put     []*discoveryv3.Resource
	removed []string
	last    bool // of the first fill
}

// types are those that Envoy asks for.
var types = []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.ScopeType, xds.RouteType, xds.SecretType}

func newLedger(s Store) (*ledger, error) {
	l := &ledger{store: s, kinds: map[string]*kind{}}
	if s == nil {
		return l, nil
	}
	for _, typeURL := range types {
		resources, known, err := s.Load(typeURL)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		k := l.kind(typeURL)
		k.once = true
		for _, r := range resources {
			k.kept[r.GetName()] = r.GetVersion()
		}
	}
	return l, nil
}

func (l *ledger) kind(typeURL string) *kind {
	k, ok := l.kinds[typeURL]
	if !ok {
		k = &kind{kept: map[string]string{}}
		l.kinds[typeURL] = k
	}
	return k
}

// sufficient: an Envoy could serve by what is kept. Part of a first fill is not enough: an Envoy with listeners and without
// scopes would answer that there are no APIs.
func (l *ledger) sufficient() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, typeURL := range []string{xds.ClusterType, xds.ListenerType, xds.ScopeType} {
		if k := l.kinds[typeURL]; l.store == nil || k == nil || !k.once {
			return false
		}
	}
	return len(l.kinds[xds.ListenerType].kept) > 0
}

// book is the ledger's page for one stream.
type book struct {
	ledger *ledger
	local  bool // what is served is what is kept
	pages  map[string]*page
}

// page is one type on one stream.
type page struct {
	kind    *kind
	flights []flight
	// unwanted are names that Envoy has unsubscribed from: it acknowledges what was under way, and forgets it.
	unwanted map[string]bool
	// fill are the names that Envoy has, or has been sent, while not everything was sent for the first time on this
	// stream; nil: it was, or Envoy asks by name.
	fill map[string]bool
}

// open begins a stream to an adapter; the one before is over.
func (l *ledger) open() *book { return l.begin(false) }

// openLocal begins a stream that is served from the store.
func (l *ledger) openLocal() *book { return l.begin(true) }

func (l *ledger) begin(local bool) *book {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		l.current.leave()
	}
	l.current = &book{ledger: l, local: local, pages: map[string]*page{}}
	return l.current
}

// close ends the stream of a book.
func (b *book) close() {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if b.ledger.current == b {
		b.leave()
		b.ledger.current = nil
	}
}

// leave holds over what has no verdict.
func (b *book) leave() {
	for _, p := range b.pages {
		p.kind.left = append(p.kind.left, p.flights...)
		p.flights = nil
	}
}

// response notes what is about to be sent to Envoy.
func (b *book) response(m *response) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	p := b.pages[m.GetTypeUrl()]
	if b.ledger.current != b || b.ledger.store == nil || p == nil {
		return
	}
	p.flights = append(p.flights, flight{nonce: m.GetNonce(), put: m.GetResources(), removed: m.GetRemovedResources(), last: !xds.Partial(m)})
	if p.fill != nil {
		for _, r := range m.GetResources() {
			p.fill[r.GetName()] = true
		}
	}
}

// request notes what Envoy says, and returns what is to be said for it: an adapter is asked again for what Envoy has and
// the store has not, and the local server is told that Envoy has what is kept, if it has any version of it.
func (b *book) request(r *request) *request {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if b.ledger.current != b || b.ledger.store == nil {
		return r
	}
	p, ok := b.pages[r.GetTypeUrl()]
	if !ok {
		p = b.first(r)
		r = b.reconciled(p, r)
	}
	if !b.local {
		b.verdict(p, r)
		b.wanted(p, r)
	}
	return r
}

// first opens a type's page. What Envoy says it has decides on what was held over.
func (b *book) first(r *request) *page {
	k := b.ledger.kind(r.GetTypeUrl())
	p := &page{kind: k, unwanted: map[string]bool{}}
	b.pages[r.GetTypeUrl()] = p
	has := r.GetInitialResourceVersions()
	if xds.Wild(r) {
		p.fill = map[string]bool{}
		for name := range has {
			p.fill[name] = true
		}
	}
	if len(has) == 0 {
		k.left, k.full = nil, false // why: it is another Envoy, or that one has lost all it had
	}
	for _, f := range k.left {
		b.keep(r.GetTypeUrl(), k, slices.DeleteFunc(slices.Clone(f.put), func(x *discoveryv3.Resource) bool {
			version, ok := has[x.GetName()]
			return !ok || version != x.GetVersion()
		}), slices.DeleteFunc(slices.Clone(f.removed), func(name string) bool {
			_, ok := has[name]
			return ok
		}))
	}
	k.left = nil
	if !b.local && p.fill == nil && len(has) > 0 && b.ledger.full() {
		b.keep(r.GetTypeUrl(), k, nil, others(k.kept, r.GetResourceNamesSubscribe()))
	}
	return p
}

// full: Envoy has everything that it asks for as a whole, so that it asks by name for all that it will.
func (l *ledger) full() bool {
	for _, typeURL := range []string{xds.ClusterType, xds.ListenerType, xds.ScopeType} {
		if k, ok := l.kinds[typeURL]; ok && !k.full {
			return false
		}
	}
	return true
}

// others are the names that are kept and not among these.
func others(kept map[string]string, names []string) []string {
	among := make(map[string]bool, len(names))
	for _, name := range names {
		among[name] = true
	}
	return slices.DeleteFunc(slices.Collect(maps.Keys(kept)), func(name string) bool { return among[name] })
}

// reconciled is a first request by what is kept.
func (b *book) reconciled(p *page, r *request) *request {
	differ := func(name, version string) bool {
		kept, ok := p.kind.kept[name]
		if !ok {
			return !b.local
		}
		return kept != xds.BaseVersion(version)
	}
	var names []string
	for name, version := range r.GetInitialResourceVersions() {
		if differ(name, version) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return r
	}
	r = proto.Clone(r).(*request)
	for _, name := range names {
		if b.local {
			r.InitialResourceVersions[name] = p.kind.kept[name]
		} else {
			delete(r.InitialResourceVersions, name)
		}
	}
	return r
}

// verdict keeps what Envoy accepted.
func (b *book) verdict(p *page, r *request) {
	i := slices.IndexFunc(p.flights, func(f flight) bool { return f.nonce == r.GetResponseNonce() })
	if i < 0 {
		return
	}
	f := p.flights[i]
	p.flights = slices.Delete(p.flights, i, i+1)
	if r.GetErrorDetail() == nil {
		b.keep(r.GetTypeUrl(), p.kind, slices.DeleteFunc(slices.Clone(f.put), func(x *discoveryv3.Resource) bool {
			return p.unwanted[x.GetName()]
		}), f.removed)
	}
	if p.fill == nil || !f.last {
		return
	}
	// why: nobody is told that what he does not have is gone
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(p.kind.kept)), func(name string) bool { return p.fill[name] })
	p.fill, p.kind.full, p.kind.once = nil, true, true
	b.keep(r.GetTypeUrl(), p.kind, nil, gone)
	b.ledger.store.Put(r.GetTypeUrl(), nil, nil) // why: that there is none of a type is worth knowing too
}

// wanted notes what Envoy asks for, and forgets what it wants no more.
func (b *book) wanted(p *page, r *request) {
	for _, name := range r.GetResourceNamesUnsubscribe() {
		p.unwanted[name] = true
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		delete(p.unwanted, name)
	}
	b.keep(r.GetTypeUrl(), p.kind, nil, slices.DeleteFunc(slices.Clone(r.GetResourceNamesUnsubscribe()), func(name string) bool {
		return !p.unwanted[name]
	}))
}

// keep changes the store, where it differs.
func (b *book) keep(typeURL string, k *kind, put []*discoveryv3.Resource, remove []string) {
	var removed []string
	for _, name := range remove {
		if _, ok := k.kept[name]; ok {
			delete(k.kept, name)
			removed = append(removed, name)
		}
	}
	var changed []*discoveryv3.Resource
	for _, r := range put {
		version := xds.BaseVersion(r.GetVersion())
		if old, ok := k.kept[r.GetName()]; ok && old == version {
			continue
		}
		if version != r.GetVersion() {
			r = &discoveryv3.Resource{Name: r.GetName(), Version: version, Resource: r.GetResource()}
		}
		k.kept[r.GetName()] = version
		changed = append(changed, r)
	}
	if len(removed) > 0 || len(changed) > 0 {
		b.ledger.store.Put(typeURL, changed, removed)
	}
}
