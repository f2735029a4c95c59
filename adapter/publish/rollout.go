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

// Result is what came of publishing.
type Result struct {
	// Rejections: somebody refused these. The rollout is still open: publish it again without them, or
	// roll it back.
	Rejections []Rejection
	// Gateways is what each Envoy, enforcer and ratelimiter makes of everything published by now.
	Gateways []Gateway
	// Pending: somebody did not answer in time. What was published reaches them when they do.
	Pending bool
	// Unseen: no Envoy is connected.
	Unseen bool
	// Verdicts are what everybody who was connected when the rollout began makes of it; of a rollback, of what was
	// before. Sorted by role and id.
	Verdicts []Verdict
	// Met: nobody rejected it, and it has the gateways that the rollout's Terms require. Of a rollback: everybody has
	// confirmed to have what was before.
	Met bool
}

// outcome is the word for it in the metrics.
func (r Result) outcome() string {
	switch {
	case len(r.Rejections) > 0:
		return "rejected"
	case !r.Met:
		return "silent"
	case r.Unseen:
		return "unseen"
	case r.Pending:
		return "pending"
	}
	return "serving"
}

// Rollout is one change on its way: published, but not yet for good. Rollouts that touch the same
// resources must not be open at the same time; others may.
type Rollout struct {
	publisher *Publisher
	terms     Terms
	parties   []party
	began     time.Time
	before    map[key]*entry // what it touched, as it was; nil: was not there
	missed    map[*peer]bool // did not answer in time
	outcome   string
}

// Begin opens a rollout. Who is connected now takes part in it.
func (p *Publisher) Begin(t Terms) *Rollout {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Rollout{
		publisher: p, terms: t, parties: p.parties(), began: p.options.Now(),
		before: map[key]*entry{}, missed: map[*peer]bool{}, outcome: "serving",
	}
}

// Commit ends a rollout: what it published stays.
func (r *Rollout) Commit() {
	p := r.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range r.before {
		if p.staged[k]--; p.staged[k] == 0 {
			delete(p.staged, k)
		}
		for _, peer := range p.peers { // refused after the wait was over
			if _, refused := peer.rejects[k]; refused {
				p.rejectedLate(peer, k)
			}
		}
	}
	r.before = nil
	p.options.Metrics.pushes.WithLabelValues(p.options.Label, r.outcome).Observe(p.options.Now().Sub(r.began).Seconds())
}

// Rollback puts everything back as it was, whatever anybody says, and ends the rollout. Met and Verdicts say who has
// confirmed it; who has not is told as soon as it listens.
func (r *Rollout) Rollback(ctx context.Context) Result {
	w := r.wave(ctx)
	w.back = true
	outcome := r.outcome
	result := w.run(translate.Delta{})
	if r.outcome = outcome; outcome != "silent" {
		r.outcome = "rejected"
	}
	r.Commit()
	return result
}

// Publish publishes the change, each step after everybody took the one before:
//
//  1. policies and limits, so that no request names one that is not known
//  2. new clusters
//  3. routes, then the scopes that lead to them
//  4. scopes that are gone
//  5. routes, clusters, policies and limits that are gone are retired
//
// Published again, a rollout takes back what the new change does not repeat. Rejections end it before
// anything that depends on what was rejected. Silence does, too, if too few others are left for the
// rollout's Terms; so do ctx and its deadline, which make everybody silent who has not answered yet.
func (r *Rollout) Publish(ctx context.Context, d translate.Delta) Result { return r.wave(ctx).run(d) }

func (r *Rollout) wave(ctx context.Context) *wave {
	return &wave{rollout: r, ctx: ctx, silent: map[*peer]bool{}, asked: map[string]bool{}, skipped: map[string]bool{}}
}

// wave is one run of a rollout through its steps.
type wave struct {
	rollout    *Rollout
	ctx        context.Context
	back       bool               // it only takes back, and goes to its end whatever anybody says
	changes    map[string]*change // by type
	waiting    []key              // put or removed in this step
	asked      map[string]bool    // by role: something was published for it
	skipped    map[string]bool    // by role: something was not, for the wave had ended before
	silent     map[*peer]bool     // did not answer an earlier step: later ones do not wait for them
	failed     bool               // too few are left
	over       bool               // somebody has rejected something, and that is all it takes
	rejections []Rejection
}

// step is one of a wave's: what it publishes, and how long it waits for those who take it.
type step struct {
	put, remove []string // types
	patience    time.Duration
}

// steps are those of every wave.
func (p *Publisher) steps() []step {
	return []step{
		{put: []string{posternv1.PolicyType, posternv1.LimitsType}, patience: p.options.PolicyWait},
		{put: []string{xds.ClusterType}, patience: p.options.Wait},
		{put: []string{xds.RouteType, xds.ScopeType}, patience: p.options.Wait},
		{remove: []string{xds.ScopeType}, patience: p.options.Wait},
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
		for _, typeURL := range s.put {
			w.put(typeURL)
		}
		for _, typeURL := range s.remove {
			w.remove(typeURL)
		}
		w.await(s.patience)
	}
	if w.goesOn() {
		w.retire(xds.RouteType, xds.ClusterType, posternv1.PolicyType, posternv1.LimitsType)
	}
	return w.result()
}

func (w *wave) goesOn() bool { return w.back || len(w.rejections) == 0 && !w.failed }

// skip notes who is not asked.
func (w *wave) skip(s step) {
	for _, typeURL := range s.put {
		if c := w.changes[typeURL]; c == nil || len(c.put) > 0 {
			w.skipped[types[typeURL]] = true
		}
	}
	for _, typeURL := range s.remove {
		if c := w.changes[typeURL]; c == nil || len(c.remove) > 0 {
			w.skipped[types[typeURL]] = true
		}
	}
}

type change struct {
	put    []*entry
	remove []string
}

// load encodes the change, and adds what takes back an earlier wave of the same rollout.
func (w *wave) load(d translate.Delta) error {
	w.changes = map[string]*change{}
	for typeURL, c := range map[string]translate.Changes{
		posternv1.PolicyType: d.Policies, posternv1.LimitsType: d.Limits,
		xds.ClusterType: d.Clusters, xds.RouteType: d.Routes, xds.ScopeType: d.Scopes,
	} {
		entries, err := encode(c.Put)
		if err != nil {
			return err
		}
		w.changes[typeURL] = &change{put: entries, remove: slices.Clone(c.Remove)}
	}
	p := w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	now := map[key]bool{}
	for typeURL, c := range w.changes {
		for _, e := range c.put {
			now[key{typeURL, e.wire.Name}] = true
		}
		for _, name := range c.remove {
			now[key{typeURL, name}] = true
		}
	}
	for k, was := range w.rollout.before {
		switch c := w.changes[k.typeURL]; {
		case now[k]:
		case was == nil || was.retired:
			c.remove = append(c.remove, k.name)
		default:
			c.put = append(c.put, was)
		}
	}
	for k := range now {
		w.rollout.touch(k)
	}
	return nil
}

// touch remembers what a resource was before the rollout. The publisher's mu is held.
func (r *Rollout) touch(k key) {
	if _, ok := r.before[k]; ok {
		return
	}
	p := r.publisher
	p.staged[k]++
	var was *entry
	if e := p.entries[k]; e != nil {
		copied := *e
		was = &copied
	}
	r.before[k] = was
}

func (w *wave) put(typeURL string) {
	c, p := w.changes[typeURL], w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(typeURL, c.put, nil)
	w.asked[types[typeURL]] = w.asked[types[typeURL]] || len(c.put) > 0
	for _, e := range c.put {
		w.waiting = append(w.waiting, key{typeURL, e.wire.Name})
	}
}

func (w *wave) remove(typeURL string) {
	c, p := w.changes[typeURL], w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(typeURL, nil, c.remove)
	w.asked[types[typeURL]] = w.asked[types[typeURL]] || len(c.remove) > 0
	for _, name := range c.remove {
		w.waiting = append(w.waiting, key{typeURL, name})
	}
}

func (w *wave) retire(typeURLs ...string) {
	p := w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, typeURL := range typeURLs {
		p.retire(typeURL, w.changes[typeURL].remove)
	}
}

// afterwards is how long the others are waited for when somebody's rejection has ended a strict rollout already: for they
// may have something to say as well.
const afterwards = 250 * time.Millisecond

// await waits until everybody who takes part has given a verdict on everything of this step, and
// notes who refused what and who was silent.
func (w *wave) await(patience time.Duration) {
	p := w.rollout.publisher
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	var open []verdict
	for _, y := range w.rollout.parties {
		if !w.waitsFor(y) {
			continue
		}
		for _, k := range w.waiting {
			if _, lacks := y.lacks[k]; lacks {
				open = append(open, verdict{y.peer, k})
			}
		}
	}
	w.waiting = nil
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
		case !late && !w.over && w.lost():
			w.over = true
			timeout.Reset(min(afterwards, patience))
		case late && !w.over:
			for _, v := range slices.DeleteFunc(open, w.given) {
				w.silent[v.peer] = true
			}
			fallthrough
		case late:
			open = nil
		}
	}
	if w.rollout.terms.strict() {
		w.rejections = w.refusals()
	}
	w.failed = w.failed || !w.enough()
}

// verdict is one that is waited for.
type verdict struct {
	peer *peer
	key  key
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
	if !p.connects(v.peer) {
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
	for peer := range w.silent {
		if !r.missed[peer] { // why once: a rollout that is rolled back is still one
			r.missed[peer] = true
			peer.missed++
		}
		result.Pending = true
	}
	for _, peer := range p.peers {
		result.Unseen = result.Unseen && peer.node.Role != xds.RoleEnvoy
		result.Pending = result.Pending || peer.missed >= laggingAfter
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
