package publish

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/internal/xds"
)

// Terms are what it takes for a rollout to be kept.
type Terms struct {
	// Require is how many of the healthy Envoys must take the change: connected, once in possession of everything, not
	// lagging. Every healthy enforcer and ratelimiter must, and of each role that had somebody healthy when the rollout
	// began, somebody must still be there. Who rejects anything, healthy or not, ends the rollout.
	//
	// The zero value is for what converges: silence is passed over, and who was silent gets the change in time.
	Require Require
}

func (t Terms) strict() bool { return t.Require.Percent > 0 }

// of is how many of n are required.
func (r Require) of(n int) int { return (n*r.Percent + 99) / 100 }

// party is somebody who was connected when a rollout began.
type party struct {
	*peer
	healthy bool   // it had everything then, and was not lagging
	asks    *party // of a prober: its Envoy; nil: that is not connected
}

// parties are those of now. p.mu is held.
func (p *Publisher) parties() []party {
	all := make([]party, 0, len(p.peers))
	for _, peer := range p.peers {
		all = append(all, party{peer: peer, healthy: peer.finished && peer.missed < laggingAfter})
	}
	slices.SortFunc(all, func(a, b party) int {
		return cmp.Or(cmp.Compare(a.node.Role, b.node.Role), cmp.Compare(a.node.ID, b.node.ID))
	})
	pair(all)
	return all
}

func (p *Publisher) connects(peer *peer) bool { return p.peers[peer.stream] == peer }

// waitsFor says whether a wave asks somebody for a verdict. The publisher's mu is held.
func (w *wave) waitsFor(y party) bool {
	switch {
	case w.silent[y.peer], y.missed >= laggingAfter, !w.rollout.publisher.connects(y.peer), !w.counts(y):
		return false
	case w.back:
		return !w.rollout.missed[y.peer]
	}
	return y.healthy || !w.rollout.terms.strict()
}

// enough says that of those who were asked so far enough have taken everything.
func (w *wave) enough() bool {
	r, p := w.rollout, w.rollout.publisher
	if !r.terms.strict() {
		return true
	}
	type count struct{ began, there, took int }
	counts := map[string]*count{}
	unprobed, left := w.unprobed()
	for _, y := range r.parties {
		if !y.healthy || !w.asked[y.node.Role] || y.node.Role == xds.RoleProber {
			continue
		}
		c := counts[y.node.Role]
		if c == nil {
			c = &count{}
			counts[y.node.Role] = c
		}
		c.began++
		switch {
		case !p.connects(y.peer), left[y.peer]:
		case w.silent[y.peer] || unprobed[y.peer]:
			c.there++
		case y.missed < laggingAfter:
			c.there++
			c.took++
		}
	}
	for role, c := range counts {
		need := c.there
		if role == xds.RoleEnvoy {
			need = r.terms.Require.of(c.there)
		}
		if c.took < max(need, 1) { // why 1: what all have died of is not for those who come back
			return false
		}
	}
	return true
}

// lost says that nothing can come of a strict rollout any more. The publisher's mu is held.
func (w *wave) lost() bool { return w.rollout.terms.strict() && !w.back && len(w.refusals()) > 0 }

// published is what the rollout has published, and what it has taken back.
func (r *Rollout) published() iter.Seq[key] {
	return func(yield func(key) bool) {
		for _, keys := range []map[key]bool{r.touched, r.taken} {
			for k := range keys {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// refusals are those of everybody, of all that was published so far, however late. The publisher's mu is held.
func (w *wave) refusals() []Rejection {
	var all []Rejection
	p := w.rollout.publisher
	for _, y := range w.rollout.parties {
		if !p.connects(y.peer) || len(y.rejects) == 0 || !w.counts(y) {
			continue
		}
		for k := range w.rollout.published() {
			if _, refused := y.rejects[k]; refused {
				all = append(all, p.rejection(y.peer, k))
			}
		}
	}
	slices.SortFunc(all, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.TypeURL, b.TypeURL), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// verdicts say what everybody who was there at the beginning makes of the rollout. The publisher's mu is held.
func (w *wave) verdicts() []Verdict {
	all := make([]Verdict, len(w.rollout.parties))
	for i, y := range w.rollout.parties {
		v := Verdict{Gateway: y.node.ID, Role: y.node.Role, Label: y.node.Label}
		v.State, v.Detail = w.verdict(y)
		v.Silent = v.State == Pending && w.silent[y.peer]
		all[i] = v
	}
	return all
}

func (w *wave) verdict(y party) (State, string) {
	p := w.rollout.publisher
	if !p.connects(y.peer) {
		return Lost, p.whereabouts(y.peer)
	}
	var lacks []key
	for k := range w.rollout.published() {
		if words, refused := y.rejects[k]; refused {
			return Rejected, words
		}
		if _, lacking := y.lacks[k]; lacking {
			lacks = append(lacks, k)
		}
	}
	switch {
	case len(lacks) == 0 && !w.skipped[y.node.Role]:
		return Serving, ""
	case y.missed >= laggingAfter:
		return Lagging, fmt.Sprintf("it did not answer in the last %d rollouts, and was not waited for", y.missed)
	case !y.finished:
		return Pending, "it is still taking what was there before, and was not waited for"
	case len(lacks) == 0:
		return Pending, "it was not asked: the rollout ended before"
	}
	return Pending, "it did not answer in time about " + nameOf(lacks)
}

// whereabouts are those of somebody who was connected.
func (p *Publisher) whereabouts(gone *peer) string {
	for _, peer := range p.peers {
		if peer.node.ID == gone.node.ID && peer.node.Role == gone.node.Role {
			return "it disconnected during the rollout, and came back: it has what was there before, and gets the rest when it is kept"
		}
	}
	return "it disconnected during the rollout"
}

// nameOf names the first of some resources, and counts the others.
func nameOf(lacks []key) string {
	first := slices.MinFunc(lacks, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.typeURL, b.typeURL), cmp.Compare(a.name, b.name))
	})
	name := fmt.Sprintf("%s %s", first.typeURL[strings.LastIndexByte(first.typeURL, '.')+1:], first.name)
	if len(lacks) > 1 {
		name += fmt.Sprintf(" and %d more", len(lacks)-1)
	}
	return name
}
