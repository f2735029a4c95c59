package publish

import (
	"math"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/xds"
)

// staged is what a rollout has put in place of what is committed, for those who were connected when it began. Rollouts
// that are open at the same time stage different resources.
type staged struct {
	entry *entry // nil: it is gone
	upTo  uint64 // the last stream that sees it

	// left: its rollout has taken it back, and what a gateway took meanwhile may refer to it yet. It goes as retired
	// entries do, unless a later rollout wants it again.
	left   bool
	leftAt time.Time
	era    uint64 // Publisher.era when it was left
}

func (s *staged) seenBy(peer *peer) bool { return s != nil && peer.stream <= s.upTo }

// is says that a version is what is staged.
func (s *staged) is(version string) bool {
	return s != nil && s.entry != nil && s.entry.wire.Version == version
}

// view is what a peer is to have of a resource; nil: nothing. p.mu is held.
func (p *Publisher) view(k key, peer *peer) *entry {
	if s := p.staged[k]; s.seenBy(peer) {
		return s.entry
	}
	return p.entries[k]
}

// stage puts and removes resources of one type for the streams up to one of them, and notes who of them lacks what from
// now on. p.mu is held.
func (p *Publisher) stage(typeURL string, upTo uint64, put []*entry, remove []string) {
	wire, gone, back := make([]*discoveryv3.Resource, 0, len(put)), make([]string, 0, len(remove)), []string(nil)
	who := span{0, upTo}
	for _, e := range put {
		k, version := key{typeURL, e.wire.Name}, e.wire.Version
		is, was := p.entries[k], p.staged[k]
		same := is != nil && is.wire.Version == version
		now := &staged{entry: &entry{wire: e.wire, apis: e.apis, proven: same && is.proven || was.is(version) && was.entry.proven}, upTo: upTo}
		p.staged[k] = now
		switch {
		case was.is(version) && was.upTo == upTo && !was.left: // it is on its way
		case same && was != nil:
			back = append(back, k.name)
			p.lack(k, version, who)
		case same && is.retired && typeURL == xds.RouteType:
			p.lack(k, version, who) // its scope comes back, and subscribes anew
		case same:
		default:
			wire = append(wire, e.wire)
			p.lack(k, version, who)
		}
	}
	for _, name := range remove {
		k := key{typeURL, name}
		if was := p.staged[k]; p.entries[k] == nil || was != nil && was.entry == nil {
			continue
		}
		p.staged[k] = &staged{upTo: upTo}
		gone = append(gone, name)
		p.lack(k, absent, who)
	}
	p.caches[typeURL].Unstage(back)
	p.caches[typeURL].Stage(upTo, wire, gone)
}

// unstage has those who saw what was staged return to what is committed. p.mu is held.
func (p *Publisher) unstage(typeURL string, names []string) {
	var back []string
	for _, name := range names {
		k := key{typeURL, name}
		s, is := p.staged[k], p.entries[k]
		if s == nil {
			continue
		}
		delete(p.staged, k)
		version := absent
		if is != nil && !(is.retired && typeURL == xds.RouteType) {
			version = is.wire.Version
		}
		if version != absent && s.is(version) {
			continue // nobody was told anything
		}
		back = append(back, name)
		p.lack(k, version, span{0, s.upTo})
	}
	p.caches[typeURL].Unstage(back)
	p.catchUp()
}

// commit makes what is staged what everybody is to have. p.mu is held.
func (p *Publisher) commit(typeURL string, names []string) {
	for _, name := range names {
		k := key{typeURL, name}
		s, is := p.staged[k], p.entries[k]
		if s == nil {
			continue
		}
		delete(p.staged, k)
		joined := span{s.upTo + 1, math.MaxUint64}
		if is != nil {
			p.count(is, -1)
		}
		switch {
		case s.entry == nil:
			delete(p.entries, k)
			p.lack(k, absent, joined)
			continue
		case is != nil && s.is(is.wire.Version):
			if is.retired && typeURL == xds.RouteType {
				p.lack(k, is.wire.Version, joined)
			}
			s.entry.proven = s.entry.proven || is.proven
		default:
			p.lack(k, s.entry.wire.Version, joined)
		}
		p.entries[k] = s.entry
		p.count(s.entry, +1)
	}
	p.caches[typeURL].Commit(names)
	for _, name := range names {
		k := key{typeURL, name}
		for _, peer := range p.peers { // refused after the wait was over
			if _, refused := peer.rejects[k]; refused {
				p.rejectedLate(peer, k)
			}
		}
	}
}

// leave is what a wave does with new things that it takes back and that may be in use: those who have them keep them
// for a while. It returns those that somebody refused, and that go at once. p.mu is held.
func (p *Publisher) leave(typeURL string, names []string) (refused []string) {
	p.era++
	for _, name := range names {
		k := key{typeURL, name}
		s := p.staged[k]
		switch {
		case s == nil:
		case p.refused(k):
			refused = append(refused, name)
		default:
			s.left, s.leftAt, s.era = true, p.options.Now(), p.era
			p.left = append(p.left, k)
			if typeURL == xds.RouteType {
				p.lack(k, absent, span{0, s.upTo}) // nobody has it any longer: the scope that led to it is gone
			}
		}
	}
	p.unstage(typeURL, refused)
	return refused
}

// tidy removes what was left behind and is surely out of use. p.mu is held.
func (p *Publisher) tidy() {
	now := p.options.Now()
	out := map[string][]string{}
	p.left = slices.DeleteFunc(p.left, func(k key) bool {
		s := p.staged[k]
		switch {
		case s == nil || !s.left:
			return true // gone, or in use again
		case now.Sub(s.leftAt) < p.options.Linger || p.inUse(s.era):
			return false
		}
		out[k.typeURL] = append(out[k.typeURL], k.name)
		return true
	})
	for typeURL, names := range out {
		p.unstage(typeURL, names)
	}
}
