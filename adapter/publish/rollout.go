package publish

import (
	"context"
	"errors"
	"maps"
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
}

// outcome is the word for it in the metrics.
func (r Result) outcome() string {
	switch {
	case len(r.Rejections) > 0:
		return "rejected"
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
	began     time.Time
	before    map[key]*entry // what it touched, as it was; nil: was not there
	outcome   string
}

// Begin opens a rollout.
func (p *Publisher) Begin() *Rollout {
	return &Rollout{publisher: p, began: p.options.Now(), before: map[key]*entry{}, outcome: "serving"}
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

// Rollback puts everything back as it was, and ends the rollout.
func (r *Rollout) Rollback(ctx context.Context) Result {
	result := r.Publish(ctx, translate.Delta{})
	r.outcome = "rejected"
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
// anything that depends on what was rejected; silence does not.
func (r *Rollout) Publish(ctx context.Context, d translate.Delta) Result {
	w := &wave{rollout: r, ctx: ctx, silent: map[*peer]bool{}}
	if err := w.load(d); err != nil {
		var unfit *encodeError
		errors.As(err, &unfit)
		return Result{Rejections: []Rejection{{APIs: unfit.apis, Words: err.Error()}}}
	}
	p := r.publisher
	steps := []func(){
		func() { w.put(posternv1.PolicyType); w.put(posternv1.LimitsType); w.await(p.options.PolicyWait) },
		func() { w.put(xds.ClusterType); w.await(p.options.Wait) },
		func() { w.put(xds.RouteType); w.put(xds.ScopeType); w.await(p.options.Wait) },
		func() { w.remove(xds.ScopeType); w.await(p.options.Wait) },
		func() { w.retire(xds.RouteType, xds.ClusterType, posternv1.PolicyType, posternv1.LimitsType) },
	}
	for _, step := range steps {
		step()
		if len(w.rejections) > 0 {
			break
		}
	}
	return w.result()
}

// wave is one run of a rollout through its steps.
type wave struct {
	rollout    *Rollout
	ctx        context.Context
	changes    map[string]*change // by type
	waiting    []key              // put or removed in this step
	silent     map[*peer]bool     // did not answer an earlier step: later ones do not wait for them
	rejections []Rejection
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
	for _, e := range c.put {
		w.waiting = append(w.waiting, key{typeURL, e.wire.Name})
	}
}

func (w *wave) remove(typeURL string) {
	c, p := w.changes[typeURL], w.rollout.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(typeURL, nil, c.remove)
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

// await waits until everybody who takes part has given a verdict on everything of this step, and
// notes who refused what and who was silent.
func (w *wave) await(patience time.Duration) {
	p := w.rollout.publisher
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var open []verdict
	p.mu.Lock()
	for stream, peer := range p.peers {
		if peer.missed >= laggingAfter || w.silent[peer] {
			continue
		}
		for _, k := range w.waiting {
			if _, lacks := peer.lacks[k]; lacks {
				open = append(open, verdict{stream, peer, k})
			}
		}
	}
	w.waiting = nil
	for {
		open = w.judge(open)
		if len(open) == 0 {
			p.mu.Unlock()
			return
		}
		stir := p.stir
		p.mu.Unlock()
		select {
		case <-stir:
			p.mu.Lock()
			continue
		case <-timeout.C:
		case <-w.ctx.Done():
		}
		p.mu.Lock()
		for _, v := range w.judgeAll(open) {
			w.silent[v.peer] = true
		}
		p.mu.Unlock()
		return
	}
}

// verdict is one that is waited for.
type verdict struct {
	stream uint64
	peer   *peer
	key    key
}

// judge takes verdicts that were given off the end of the list. Each is looked at again only while it
// is the last one, so that waiting for many costs no more than receiving them.
func (w *wave) judge(open []verdict) []verdict {
	for len(open) > 0 && w.given(open[len(open)-1]) {
		open = open[:len(open)-1]
	}
	return open
}

func (w *wave) judgeAll(open []verdict) []verdict { return slices.DeleteFunc(open, w.given) }

func (w *wave) given(v verdict) bool {
	p := w.rollout.publisher
	if p.peers[v.stream] != v.peer {
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
	p := w.rollout.publisher
	p.mu.Lock()
	pending, envoys := false, 0
	for peer := range maps.Keys(w.silent) {
		peer.missed++
		pending = true
	}
	for _, peer := range p.peers {
		if peer.node.Role == xds.RoleEnvoy {
			envoys++
		}
		pending = pending || peer.missed >= laggingAfter
	}
	p.mu.Unlock()
	result := Result{Rejections: w.rejections, Gateways: p.Gateways(), Pending: pending, Unseen: envoys == 0}
	w.rollout.outcome = result.outcome()
	return result
}
