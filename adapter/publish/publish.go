// Package publish brings translated resources to the gateways of one label over delta ADS, in the
// order that never leaves a request without what it needs, and tells what each gateway made of them.
// It must not import adapter/project, the enforcer or the ratelimiter.
package publish

import (
	"context"
	"slices"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Options of a Publisher. Zero values are the defaults.
type Options struct {
	Label string
	// PolicyWait bounds the wait for enforcers and limiters, Wait each wait for the Envoys.
	PolicyWait time.Duration // 5 s
	Wait       time.Duration // 10 s
	// Linger is for how long clusters, policies and limits outlive the routes that used them, and routes
	// their scope: a request may have chosen its route before, and still wait for the enforcer or for its
	// own body.
	Linger time.Duration // 60 s
	// Remember is for how long a gateway that went away may come back with routes of its own memory.
	Remember time.Duration // 24 h
	// Metrics may be shared by the publishers of several labels; nil keeps them nowhere.
	Metrics *Metrics
	Now     func() time.Time // time.Now
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	or(&o.PolicyWait, 5*time.Second)
	or(&o.Wait, 10*time.Second)
	or(&o.Linger, time.Minute)
	or(&o.Remember, 24*time.Hour)
	if o.Label == "" {
		o.Label = xds.DefaultLabel
	}
	if o.Metrics == nil {
		o.Metrics, _ = NewMetrics(nil, nil) // nobody takes them, so that nothing can fail
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// types are what is published, with the role that takes each.
var types = map[string]string{
	xds.SecretType:       xds.RoleEnvoy,
	xds.ListenerType:     xds.RoleEnvoy,
	xds.ClusterType:      xds.RoleEnvoy,
	xds.ScopeType:        xds.RoleEnvoy,
	xds.RouteType:        xds.RoleEnvoy,
	posternv1.PolicyType: xds.RoleEnforcer,
	posternv1.IssuerType: xds.RoleEnforcer,
	posternv1.LimitsType: xds.RoleRateLimiter,
	posternv1.ProbeType:  xds.RoleProber,
}

// key names a resource.
type key struct{ typeURL, name string }

// entry is a published resource.
type entry struct {
	wire *discoveryv3.Resource
	apis []string
	// proven: a gateway acknowledged this version.
	proven bool
	// retired: nothing published refers to it any more; it goes when nobody can be using it.
	retired   bool
	retiredAt time.Time
	era       uint64 // Publisher.era at its retirement
}

// Publisher owns the caches of one label and knows who holds what. It is safe for concurrent use.
type Publisher struct {
	options Options
	started time.Time
	caches  map[string]*xds.Cache // by type

	mu       sync.Mutex
	entries  map[key]*entry      // what is committed
	unproven map[string]int      // by API: entries without proof
	staged   map[key]*staged     // in place of entries, for those who take part in a rollout
	peers    map[uint64]*peer    // by stream
	last     uint64              // the greatest stream seen
	gateways map[string]*gateway // Envoys seen lately, by node id
	era      uint64              // grows with each retirement
	retirees []key
	probes   uint64        // how many there have been
	left     []key         // staged, and left behind by their rollout
	purged   bool          // clients no longer keep what an earlier adapter gave them
	stir     chan struct{} // closed at the next event
	late     []Rejection
	lateC    chan struct{}
}

// New returns a Publisher that has published nothing.
func New(o Options) *Publisher {
	o = o.withDefaults()
	p := &Publisher{
		options: o, started: o.Now(), caches: map[string]*xds.Cache{},
		entries: map[key]*entry{}, unproven: map[string]int{}, staged: map[key]*staged{},
		peers: map[uint64]*peer{}, gateways: map[string]*gateway{},
		stir: make(chan struct{}), lateC: make(chan struct{}, 1),
	}
	for typeURL := range types {
		p.caches[typeURL] = xds.NewCache()
	}
	for _, typeURL := range []string{posternv1.PolicyType, posternv1.LimitsType} {
		// why: after a restart we do not know which older ones the gateways' routes still name
		p.caches[typeURL].Retain(true)
	}
	return p
}

// Find is the Find of an xds.Server: a node gets what its role takes, and only under its own label.
func (p *Publisher) Find(_ context.Context, n xds.Node, typeURL string) (*xds.Cache, error) {
	if n.Label != p.options.Label {
		return nil, status.Errorf(codes.PermissionDenied, "node %q has label %q; this adapter serves label %q", n.ID, n.Label, p.options.Label)
	}
	if types[typeURL] != n.Role {
		return nil, nil
	}
	return p.caches[typeURL], nil
}

// Replace makes these the only resources of a type and waits for nobody. It is for what stands on its
// own: listeners, their secrets, and issuers.
func (p *Publisher) Replace(typeURL string, all []translate.Resource) error {
	entries, err := encode(all)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := make(map[string]bool, len(all))
	for _, e := range entries {
		keep[e.wire.Name] = true
	}
	var gone []string
	for k := range p.entries {
		if k.typeURL == typeURL && !keep[k.name] {
			gone = append(gone, k.name)
		}
	}
	p.update(typeURL, entries, gone)
	return nil
}

// Add publishes resources beside what there is, and waits for nobody. It is for the start.
func (p *Publisher) Add(typeURL string, more []translate.Resource) error {
	entries, err := encode(more)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(typeURL, entries, nil)
	return nil
}

// encodeError says which resource cannot be put on the wire.
type encodeError struct {
	apis []string
	error
}

func encode(resources []translate.Resource) ([]*entry, error) {
	entries := make([]*entry, len(resources))
	for i, r := range resources {
		wire, err := xds.Encode(r.Name, r.Version, r.Message)
		if err != nil {
			return nil, &encodeError{r.APIs, err}
		}
		entries[i] = &entry{wire: wire, apis: r.APIs}
	}
	return entries, nil
}

// update changes what is committed of one type, and notes who lacks what from now on. p.mu is held.
func (p *Publisher) update(typeURL string, put []*entry, remove []string) {
	wire := make([]*discoveryv3.Resource, 0, len(put))
	for _, e := range put {
		k := key{typeURL, e.wire.Name}
		if old := p.entries[k]; old != nil && old.wire.Version == e.wire.Version {
			p.count(old, -1)
			if old.retired && typeURL == xds.RouteType {
				p.lack(k, e.wire.Version, p.others(k)) // its scope comes back, and subscribes anew
			}
			old.apis, old.retired = e.apis, false
			p.count(old, +1)
			continue
		} else if old != nil {
			p.count(old, -1)
		}
		p.entries[k] = e
		p.count(e, +1)
		wire = append(wire, e.wire)
		p.lack(k, e.wire.Version, p.others(k))
	}
	gone := remove[:0:0]
	for _, name := range remove {
		k := key{typeURL, name}
		if old := p.entries[k]; old != nil {
			p.count(old, -1)
			delete(p.entries, k)
			gone = append(gone, name)
			p.lack(k, absent, p.others(k))
		}
	}
	p.caches[typeURL].Update(wire, gone)
}

// count keeps unproven in step with the entries.
func (p *Publisher) count(e *entry, by int) {
	if e.proven || e.retired {
		return
	}
	for _, api := range e.apis {
		if p.unproven[api] += by; p.unproven[api] == 0 {
			delete(p.unproven, api)
		}
	}
}

// Proven says that some gateway acknowledged everything published for the API.
func (p *Publisher) Proven(api string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unproven[api] == 0
}

// retire marks what nothing refers to any more; Tick removes it in time. What somebody refuses goes at
// once: nobody should go on lacking it. p.mu is held.
func (p *Publisher) retire(typeURL string, names []string) {
	p.era++
	var refused []string
	for _, name := range names {
		k := key{typeURL, name}
		e := p.entries[k]
		switch {
		case e == nil || e.retired:
		case p.refused(k):
			refused = append(refused, name)
		default:
			p.count(e, -1)
			e.retired, e.retiredAt, e.era = true, p.options.Now(), p.era
			p.retirees = append(p.retirees, k)
			if typeURL == xds.RouteType {
				p.lack(k, absent, p.others(k)) // nobody has it any longer: the scope that led to it is gone
			}
		}
	}
	p.update(typeURL, nil, refused)
	p.catchUp()
}

func (p *Publisher) refused(k key) bool {
	for _, peer := range p.peers {
		if _, ok := peer.rejects[k]; ok {
			return true
		}
	}
	return false
}

// Tick does what time brings about: it removes what was retired and is surely out of use, and forgets
// gateways that have not been seen for long. Call it every few seconds.
func (p *Publisher) Tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	for id, g := range p.gateways {
		if g.streams == 0 && now.Sub(g.lastSeen) > p.options.Remember {
			delete(p.gateways, id)
		}
	}
	if !p.purged && now.Sub(p.started) > p.options.Remember {
		p.purged = true
		p.caches[posternv1.PolicyType].Retain(false)
		p.caches[posternv1.LimitsType].Retain(false)
	}
	out := map[string][]string{}
	p.retirees = slices.DeleteFunc(p.retirees, func(k key) bool {
		e := p.entries[k]
		switch {
		case e == nil || !e.retired:
			return true // gone, or in use again
		case now.Sub(e.retiredAt) < p.options.Linger || p.staged[k] != nil || p.inUse(e.era):
			return false
		}
		out[k.typeURL] = append(out[k.typeURL], k.name)
		return true
	})
	for typeURL, names := range out {
		p.update(typeURL, nil, names)
	}
	p.tidy()
}

// Purge removes the policies and limits that a change has retired at once, whoever may still refer to them: requests by
// such routes get 503.
func (p *Publisher) Purge(d translate.Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for typeURL, names := range map[string][]string{posternv1.PolicyType: d.Policies.Remove, posternv1.LimitsType: d.Limits.Remove} {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			e := p.entries[key{typeURL, name}]
			return e == nil || !e.retired
		})
		p.update(typeURL, nil, names)
	}
}

// inUse says that some gateway may still have routes from before the era.
func (p *Publisher) inUse(era uint64) bool {
	for _, g := range p.gateways {
		if g.era < era {
			return true
		}
	}
	return false
}
