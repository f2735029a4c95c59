package publish

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
)

// State is what a gateway is about (design §3.5).
type State string

// The states of a gateway.
const (
	Serving  State = "serving"  // it has everything
	Pending  State = "pending"  // something is on its way
	Rejected State = "rejected" // it refused something, in its own words
	Lagging  State = "lagging"  // it was silent twice: pushes do not wait for it
	Lost     State = "lost"     // it is not connected
)

// States are all of them.
var States = []State{Serving, Pending, Rejected, Lagging, Lost}

// Gateway is one Envoy, enforcer or ratelimiter and what it made of what was published.
type Gateway struct {
	ID      string
	Role    string
	Label   string
	Version string // the build it says it is; "" is unknown
	State   State
	Words   string        // why it rejected
	Behind  time.Duration // for how long it has lacked something, or has been lost; 0: it lacks nothing
	Lacks   int           // how many resources
}

// Rejection is a resource that a gateway refused.
type Rejection struct {
	TypeURL, Name string
	APIs          []string
	Gateway, Role string
	Words         string
	Probe         bool // what was taken is not served: the words are those of who has asked the Envoy
}

// Require is how many of the healthy Envoys must serve a change for it to stay. The zero value leaves it to the default.
type Require struct{ Percent int }

// All of them.
var All = Require{100}

// Verdict is what one gateway made of one rollout.
type Verdict struct {
	Gateway, Role, Label string
	State                State  // Serving (it has all of it), Pending (silent), Rejected, Lagging (not waited for), Lost (disconnected meanwhile)
	Detail               string // why; of Rejected the gateway's own words
	Silent               bool   // it was asked and waited for, in vain
}

// absent stands for the version of what should not be there.
const absent = ""

// peer is one stream.
type peer struct {
	stream   uint64
	node     xds.Node
	lacks    map[key]string // wanted version, not acknowledged
	rejects  map[key]string // words, of the wanted version
	behind   time.Time      // since when lacks is not empty
	missed   int            // rollouts that waited for it in vain, in a row
	answered bool           // it has acknowledged anything
	finished bool           // it had everything once
}

// gateway is an Envoy over all its streams: what is published must fit its memory too.
type gateway struct {
	node     xds.Node // as it said last
	streams  int
	lastSeen time.Time
	era      uint64 // all its routes are from this era or later
}

// lagging peers are not waited for.
const laggingAfter = 2

// Notify is the Notify of an xds.Server.
func (p *Publisher) Notify(e xds.Event) {
	if e.Node.Label != p.options.Label {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case xds.Connected:
		p.connected(e)
	case xds.Disconnected:
		p.drop(e.Stream)
	case xds.Acked:
		if !e.Known {
			p.options.Metrics.verdict(p.options.Label, e.TypeURL, "ack")
		}
		if peer := p.peers[e.Stream]; peer != nil {
			p.acked(peer, e)
		}
	case xds.Nacked:
		p.options.Metrics.verdict(p.options.Label, e.TypeURL, "nack")
		if peer := p.peers[e.Stream]; peer != nil {
			p.nacked(peer, e)
		}
	}
	close(p.stir)
	p.stir = make(chan struct{})
}

func (p *Publisher) connected(e xds.Event) {
	p.last = max(p.last, e.Stream)
	peer := &peer{stream: e.Stream, node: e.Node, lacks: map[key]string{}, rejects: map[key]string{}, behind: p.options.Now()}
	for k, entry := range p.entries {
		if types[k.typeURL] == e.Node.Role && !(entry.retired && k.typeURL == xds.RouteType) {
			peer.lacks[k] = entry.wire.Version
		}
	}
	for k, s := range p.staged { // why: it may have come to the server before a rollout began, and only now to us
		switch {
		case types[k.typeURL] != e.Node.Role || !s.seenBy(peer) || s.left:
		case s.entry == nil:
			delete(peer.lacks, k)
		default:
			peer.lacks[k] = s.entry.wire.Version
		}
	}
	for stream, old := range p.peers {
		if old.node.ID == e.Node.ID && old.node.Role == e.Node.Role { // it is back before its old stream was found dead: nobody need wait for that
			p.drop(stream)
		}
	}
	p.peers[e.Stream] = peer
	if e.Node.Role != xds.RoleEnvoy {
		return
	}
	g := p.gateways[e.Node.ID]
	if g == nil {
		g = &gateway{}
		p.gateways[e.Node.ID] = g
	}
	g.node = e.Node
	g.streams++
}

func (p *Publisher) drop(stream uint64) {
	peer := p.peers[stream]
	if peer == nil {
		return
	}
	delete(p.peers, stream)
	if g := p.gateways[peer.node.ID]; g != nil && peer.node.Role == xds.RoleEnvoy {
		g.streams--
		g.lastSeen = p.options.Now()
	}
}

func (p *Publisher) acked(peer *peer, e xds.Event) {
	peer.answered = true
	for _, item := range e.Resources {
		k := key{e.TypeURL, item.Name}
		if peer.lacks[k] == item.Version {
			delete(peer.lacks, k)
			delete(peer.rejects, k)
		}
		p.prove(k, item.Version)
	}
	for _, name := range e.Removed {
		if k := (key{e.TypeURL, name}); p.view(k, peer) == nil {
			delete(peer.lacks, k)
		}
	}
	p.caughtUp(peer)
}

// prove notes that a gateway acknowledged a version.
func (p *Publisher) prove(k key, version string) {
	if e := p.entries[k]; e != nil && !e.proven && e.wire.Version == version {
		p.count(e, -1)
		e.proven = true
	}
	if s := p.staged[k]; s.is(version) {
		s.entry.proven = true
	}
}

// catchUp looks again at all peers, after something that they may have lacked is not to be had any longer.
func (p *Publisher) catchUp() {
	for _, peer := range p.peers {
		if peer.answered { // else it has said nothing of anything yet
			p.caughtUp(peer)
		}
	}
}

// caughtUp notes that a peer has everything, if it has.
func (p *Publisher) caughtUp(peer *peer) {
	if len(peer.lacks) > 0 {
		return
	}
	peer.missed, peer.behind, peer.finished = 0, time.Time{}, true
	if g := p.gateways[peer.node.ID]; g != nil && peer.node.Role == xds.RoleEnvoy {
		g.era = p.era
	}
}

func (p *Publisher) nacked(peer *peer, e xds.Event) {
	if e.Retried {
		return // each is coming back by itself
	}
	for _, item := range e.Resources {
		k := key{e.TypeURL, item.Name}
		entry, s := p.view(k, peer), p.staged[k]
		if entry == nil || entry.wire.Version != item.Version {
			continue // an older version: its successor is on the way
		}
		peer.rejects[k] = lastLine(e.Words)
		switch {
		case !s.seenBy(peer):
			p.rejectedLate(peer, k)
		case s.left:
			p.unstage(k.typeURL, []string{k.name})
		}
	}
}

// span is the peers from one stream to another.
type span struct{ from, to uint64 }

// others are those who see what is committed of a resource.
func (p *Publisher) others(k key) span {
	if s := p.staged[k]; s != nil {
		return span{s.upTo + 1, math.MaxUint64}
	}
	return span{0, math.MaxUint64}
}

// lack notes that the peers of a span which take a type lack this version of a resource. p.mu is held.
func (p *Publisher) lack(k key, version string, who span) {
	for _, peer := range p.peers {
		if types[k.typeURL] != peer.node.Role || peer.stream < who.from || peer.stream > who.to {
			continue
		}
		delete(peer.rejects, k)
		if version == absent && k.typeURL == xds.RouteType {
			delete(peer.lacks, k) // its scope goes before it, and takes the subscription along
			continue
		}
		if len(peer.lacks) == 0 {
			peer.behind = p.options.Now()
		}
		peer.lacks[k] = version
	}
}

func (p *Publisher) rejection(peer *peer, k key) Rejection {
	r := Rejection{TypeURL: k.typeURL, Name: k.name, Gateway: peer.node.ID, Role: peer.node.Role, Words: peer.rejects[k]}
	if e := p.view(k, peer); e != nil {
		r.APIs = slices.Clone(e.apis)
	}
	if r.Role == xds.RoleProber {
		r.Gateway, r.Role, r.Probe = envoyOf(r.Gateway), xds.RoleEnvoy, true
	}
	return r
}

// rejectedLate reports a refusal that no rollout is waiting for, unless somebody else has acknowledged
// the same: then it is the gateway that is odd, and its state says so.
func (p *Publisher) rejectedLate(peer *peer, k key) {
	if e := p.entries[k]; e == nil || e.proven {
		return
	}
	p.late = append(p.late, p.rejection(peer, k))
	signal(p.lateC)
}

// Late is signalled when a gateway refused something that was committed unseen: no gateway was there,
// or none answered in time, and none has acknowledged it since. TakeLate returns what it was.
func (p *Publisher) Late() <-chan struct{} { return p.lateC }

// TakeLate returns late rejections, each once.
func (p *Publisher) TakeLate() []Rejection {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := p.late
	p.late = nil
	return late
}

// Serving says that at least one Envoy is connected and that everybody connected has everything that
// is committed.
func (p *Publisher) Serving() bool {
	envoys, all := p.Served()
	return envoys > 0 && all
}

// Served says how many Envoys are connected, and whether everybody connected has everything that is committed.
func (p *Publisher) Served() (envoys int, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all = true
	for _, peer := range p.peers {
		switch peer.node.Role {
		case xds.RoleProber:
			continue // nothing is committed that it could have
		case xds.RoleEnvoy:
			envoys++
		}
		all = all && peer.finished
		all = all && !p.waits(peer)
	}
	return envoys, all
}

// waits says that a peer lacks something that is committed. p.mu is held.
func (p *Publisher) waits(peer *peer) bool {
	for k, version := range peer.lacks {
		if version != absent && !p.staged[k].seenBy(peer) {
			return true
		}
	}
	return false
}

// Unused says that nobody is connected, and that no Envoy was lately.
func (p *Publisher) Unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.peers)+len(p.gateways) == 0
}

// Gateways lists everybody connected, and the Envoys that were lately, by role and id.
func (p *Publisher) Gateways() []Gateway {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Gateway
	for _, peer := range p.peers {
		if peer.node.Role != xds.RoleProber { // which is a part of its Envoy's gateway
			all = append(all, p.describe(peer))
		}
	}
	for _, g := range p.gateways {
		if g.streams == 0 {
			lost := gatewayOf(g.node)
			lost.State, lost.Behind = Lost, p.options.Now().Sub(g.lastSeen)
			all = append(all, lost)
		}
	}
	slices.SortFunc(all, func(a, b Gateway) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func gatewayOf(n xds.Node) Gateway {
	return Gateway{ID: n.ID, Role: n.Role, Label: n.Label, Version: n.Version}
}

func (p *Publisher) describe(peer *peer) Gateway {
	g := gatewayOf(peer.node)
	g.State, g.Lacks = Serving, len(peer.lacks)
	if !peer.behind.IsZero() {
		g.Behind = p.options.Now().Sub(peer.behind)
	}
	switch {
	case len(peer.rejects) > 0:
		first := slices.MinFunc(slices.Collect(maps.Keys(peer.rejects)), func(a, b key) int { return cmp.Compare(a.name, b.name) })
		g.State, g.Words = Rejected, peer.rejects[first]
	case peer.missed >= laggingAfter:
		g.State = Lagging
	case len(peer.lacks) > 0 || !peer.finished:
		g.State = Pending
	}
	return g
}

// lastLine is the telling part of Envoy's words: before it, validation errors dump the resource.
func lastLine(words string) string {
	words = strings.TrimSpace(words)
	if i := strings.LastIndexByte(words, '\n'); i >= 0 {
		words = strings.TrimSpace(words[i+1:])
	}
	const most = 500
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + " …"
	}
	return words
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
