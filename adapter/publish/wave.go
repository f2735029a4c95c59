package publish

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// wave is one run of a rollout through its steps.
type wave struct {
	rollout    *Rollout
	ctx        context.Context
	back       bool               // it only takes back, and goes to its end whatever anybody says
	changes    map[string]*change // by type
	routed     bool               // an earlier wave published routes, which may be in use
	waiting    []key              // put or removed in this step
	asked      map[string]bool    // by role: something was published for it
	skipped    map[string]bool    // by role: something was not, for the wave had ended before
	silent     map[*peer]bool     // did not answer an earlier step: later ones do not wait for them
	asking     bool               // whether Envoys serve the change is to be asked
	told       map[*peer]bool     // probers that are; nil: it has not come to that
	failed     bool               // too few are left
	rejections []Rejection
}

// The types of a rollout: what is referred to before what refers to it, and the other way round.
var (
	referredFirst  = []string{posternv1.PolicyType, posternv1.LimitsType, xds.ClusterType, xds.RouteType, xds.ScopeType}
	referringFirst = []string{xds.RouteType, xds.ClusterType, posternv1.PolicyType, posternv1.LimitsType} // scopes go by themselves
)

// step is one of a wave's: of which types it publishes what is put, removed or taken back, and for how long it waits
// for those who take it.
type step struct {
	put, remove, back []string
	patience          time.Duration
}

// steps are those of every wave.
func (p *Publisher) steps() []step {
	return []step{
		{put: []string{posternv1.PolicyType, posternv1.LimitsType}, patience: p.options.PolicyWait},
		{put: []string{xds.ClusterType}, patience: p.options.Wait},
		{put: []string{xds.RouteType, xds.ScopeType}, patience: p.options.Wait},
		{remove: []string{xds.ScopeType}, back: []string{xds.ScopeType}, patience: p.options.Wait},
		{put: []string{posternv1.ProbeType}, patience: p.options.Wait},
		{back: []string{xds.RouteType, xds.ClusterType}, patience: p.options.Wait},
		{back: []string{posternv1.PolicyType, posternv1.LimitsType}, patience: p.options.PolicyWait},
	}
}

// run takes a wave through its steps.
func (w *wave) run(d translate.Delta) Result {
	if err := w.load(d); err != nil {
		var unfit *encodeError
		errors.As(err, &unfit)
		w.rejections = []Rejection{{APIs: unfit.apis, Words: err.Error()}}
	}
	for _, s := range w.rollout.publisher.steps() {
		if !w.goesOn() {
			w.skip(s)
			continue
		}
		w.publish(s)
		w.await(s.patience)
	}
	return w.result()
}

func (w *wave) goesOn() bool { return w.back || len(w.rejections) == 0 && !w.failed }

// skip notes who is not asked.
func (w *wave) skip(s step) {
	for _, typeURL := range slices.Concat(s.put, s.remove, s.back) {
		if c := w.changes[typeURL]; c == nil || c.of(s, typeURL) > 0 {
			w.skipped[types[typeURL]] = true
		}
	}
}

// change is that of one type.
type change struct {
	put     []*entry
	remove  []string
	restore []string // staged earlier in place of what is committed, and not wanted any longer
	back    []string // staged earlier, new, and not wanted any longer
}

// of is how much of the change belongs to a step.
func (c *change) of(s step, typeURL string) int {
	n := 0
	if slices.Contains(s.put, typeURL) {
		n += len(c.put) + len(c.restore)
	}
	if slices.Contains(s.remove, typeURL) {
		n += len(c.remove)
	}
	if slices.Contains(s.back, typeURL) {
		n += len(c.back)
	}
	return n
}

// load encodes the change, and finds what of an earlier wave of the same rollout is to be taken back.
func (w *wave) load(d translate.Delta) error {
	changes := map[string]*change{}
	retiring := map[string][]string{}
	for typeURL, c := range map[string]translate.Changes{
		posternv1.PolicyType: d.Policies, posternv1.LimitsType: d.Limits,
		xds.ClusterType: d.Clusters, xds.RouteType: d.Routes, xds.ScopeType: d.Scopes,
	} {
		put, err := encode(c.Put)
		if err != nil {
			return err
		}
		changes[typeURL] = &change{put: put}
		if typeURL == xds.ScopeType {
			changes[typeURL].remove = c.Remove
		} else {
			retiring[typeURL] = c.Remove
		}
	}
	probes, err := w.probes(d)
	if err != nil {
		return err
	}
	changes[posternv1.ProbeType] = &change{put: probes}
	w.changes, w.rollout.retiring = changes, retiring
	w.routed = w.rollout.routed
	w.takeBack()
	return nil
}

// takeBack finds what the rollout has staged and the wave does not want.
func (w *wave) takeBack() {
	p := w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	now, nothing := map[key]bool{}, true
	for typeURL, c := range w.changes {
		for _, e := range c.put {
			now[key{typeURL, e.wire.Name}] = true
		}
		for _, name := range c.remove {
			k := key{typeURL, name}
			now[k] = p.entries[k] != nil
		}
		nothing = nothing && len(c.put)+len(c.remove)+len(w.rollout.retiring[typeURL]) == 0
	}
	w.back = w.back || nothing && len(w.rollout.touched) > 0
	for k := range w.rollout.touched {
		is := p.entries[k]
		switch c := w.changes[k.typeURL]; {
		case now[k]:
		case is == nil, is.retired && k.typeURL == xds.RouteType: // why: a table of before the scope was there is not to return to
			c.back = append(c.back, k.name)
		default:
			c.restore = append(c.restore, k.name)
		}
	}
}

// publish publishes what belongs to a step.
func (w *wave) publish(s step) {
	r, p := w.rollout, w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, typeURL := range slices.Concat(s.put, s.remove, s.back) {
		w.asked[types[typeURL]] = w.asked[types[typeURL]] || w.changes[typeURL].of(s, typeURL) > 0
	}
	for _, typeURL := range s.put {
		c := w.changes[typeURL]
		w.stage(typeURL, c.put, nil)
		w.unstage(typeURL, c.restore)
		r.routed = r.routed || len(c.put) > 0 && (typeURL == xds.RouteType || typeURL == xds.ScopeType)
	}
	if slices.Contains(s.put, posternv1.ProbeType) {
		w.tell()
	}
	for _, typeURL := range s.remove {
		w.stage(typeURL, nil, w.changes[typeURL].remove)
	}
	for _, typeURL := range s.back {
		names := w.changes[typeURL].back
		if w.routed && typeURL != xds.ScopeType {
			w.leave(typeURL, names)
		} else {
			w.unstage(typeURL, names)
		}
	}
}

// stage is the publisher's, for those who take part.
func (w *wave) stage(typeURL string, put []*entry, remove []string) {
	r := w.rollout
	r.publisher.stage(typeURL, r.upTo, put, remove)
	for _, e := range put {
		w.touch(key{typeURL, e.wire.Name})
	}
	for _, name := range remove {
		w.touch(key{typeURL, name})
	}
}

func (w *wave) touch(k key) {
	if w.rollout.publisher.staged[k] != nil {
		w.rollout.touched[k] = true
		delete(w.rollout.taken, k)
		w.waiting = append(w.waiting, k)
	}
}

// unstage is the publisher's.
func (w *wave) unstage(typeURL string, names []string) {
	w.rollout.publisher.unstage(typeURL, names)
	for _, name := range names {
		k := key{typeURL, name}
		delete(w.rollout.touched, k)
		w.rollout.taken[k] = true
		w.waiting = append(w.waiting, k)
	}
}

// leave is the publisher's.
func (w *wave) leave(typeURL string, names []string) {
	refused := w.rollout.publisher.leave(typeURL, names)
	for _, name := range names {
		delete(w.rollout.touched, key{typeURL, name})
	}
	for _, name := range refused {
		k := key{typeURL, name}
		w.rollout.taken[k] = true
		w.waiting = append(w.waiting, k)
	}
}

// afterwards is how long the others are waited for when somebody's rejection has ended a strict rollout already, for they
// may have something to say as well; and, when a rollout is taken back, those who have been silent in it.
const afterwards = 250 * time.Millisecond

// await waits until everybody who takes part has given a verdict on everything of this step, and
// notes who refused what and who was silent.
func (w *wave) await(patience time.Duration) {
	p := w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	w.hear(w.open(w.waitsFor), patience)
	if w.back {
		w.hear(w.open(func(y party) bool { return w.rollout.missed[y.peer] && !w.silent[y.peer] && p.connects(y.peer) }), min(patience, afterwards))
	}
	w.waiting = nil
	if w.rollout.terms.strict() {
		w.rejections = w.refusals()
	}
	w.failed = w.failed || !w.enough()
}

// open are the verdicts of some that are to come in this step. The publisher's mu is held.
func (w *wave) open(of func(party) bool) []verdict {
	var open []verdict
	for _, y := range w.rollout.parties {
		if !of(y) {
			continue
		}
		for _, k := range w.waiting {
			if _, lacks := y.lacks[k]; lacks {
				open = append(open, verdict{y, k})
			}
		}
	}
	return open
}

// hear waits for verdicts, during which the publisher's mu is not held.
func (w *wave) hear(open []verdict, patience time.Duration) {
	p := w.rollout.publisher
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	over := false
	for open = w.judge(open); len(open) > 0; open = w.judge(open) {
		stir, late := p.stir, false
		p.mu.Unlock()
		select {
		case <-stir:
		case <-timeout.C:
			late = true
		case <-w.ctx.Done():
			late = true
		}
		p.mu.Lock()
		switch {
		case !late && !over && w.lost():
			over = true
			timeout.Reset(min(afterwards, patience))
		case late && over:
			return
		case late:
			for _, v := range slices.DeleteFunc(open, w.given) {
				w.silent[v.peer] = true
			}
			return
		}
	}
}

// verdict is one that is waited for.
type verdict struct {
	party
	key key
}

// judge takes verdicts that were given off the end of the list. Each is looked at again only while it
// is the last one, so that waiting for many costs no more than receiving them.
func (w *wave) judge(open []verdict) []verdict {
	for len(open) > 0 && w.given(open[len(open)-1]) {
		open = open[:len(open)-1]
	}
	return open
}

func (w *wave) given(v verdict) bool {
	p := w.rollout.publisher
	if !p.connects(v.peer) || !w.counts(v.party) {
		return true // it is gone, and no longer asked
	}
	if _, refused := v.peer.rejects[v.key]; refused {
		w.rejections = append(w.rejections, p.rejection(v.peer, v.key))
		return true
	}
	_, lacks := v.peer.lacks[v.key]
	return !lacks
}

func (w *wave) result() Result {
	r, p := w.rollout, w.rollout.publisher
	p.mu.Lock()
	result := Result{Rejections: w.rejections, Verdicts: w.verdicts(), Unseen: true}
	for i, y := range r.parties {
		if result.Verdicts[i].State == Serving && w.asked[y.node.Role] && !r.missed[y.peer] {
			y.peer.missed = 0 // why not only when it lacks nothing: there may always be another rollout
		}
	}
	result.Verdicts = w.fold(result.Verdicts)
	w.endProbes()
	for peer := range w.silent {
		if !r.missed[peer] { // why once: a rollout that is rolled back is still one
			r.missed[peer] = true
			if !w.cut() {
				peer.missed++
			}
		}
		result.Pending = true
	}
	for _, peer := range p.peers {
		result.Unseen = result.Unseen && peer.node.Role != xds.RoleEnvoy
		result.Pending = result.Pending || peer.missed >= laggingAfter && peer.node.Role != xds.RoleProber
	}
	p.mu.Unlock()
	result.Met = len(result.Rejections) == 0 && !w.failed
	if w.back {
		result.Met = !slices.ContainsFunc(result.Verdicts, func(v Verdict) bool { return v.State != Serving })
	}
	result.Gateways = p.Gateways()
	r.outcome = result.outcome()
	return result
}
