package publish

import (
	"context"
	"time"

	"github.com/postern-gateway/postern/adapter/translate"
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

// Rollout is one change on its way: published to those who were connected when it began, but not yet for good. Who
// connects later has what is committed. Rollouts that touch the same resources must not be open at the same time; others may.
type Rollout struct {
	publisher *Publisher
	terms     Terms
	parties   []party
	upTo      uint64 // streams up to this one take part
	began     time.Time
	touched   map[key]bool        // staged
	taken     map[key]bool        // back again, and not left behind
	routed    bool                // routes or scopes were staged
	retiring  map[string][]string // by type: what is retired when it is kept
	missed    map[*peer]bool      // did not answer in time
	outcome   string
}

// Begin opens a rollout. Who is connected now takes part in it.
func (p *Publisher) Begin(t Terms) *Rollout {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Rollout{
		publisher: p, terms: t, parties: p.parties(), upTo: p.last, began: p.options.Now(),
		touched: map[key]bool{}, taken: map[key]bool{}, missed: map[*peer]bool{}, outcome: "serving",
	}
}

// Commit ends a rollout: what it published stays, and those who connected meanwhile get it.
func (r *Rollout) Commit() {
	p := r.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	names := map[string][]string{}
	for k := range r.touched {
		names[k.typeURL] = append(names[k.typeURL], k.name)
	}
	for _, typeURL := range referredFirst {
		p.commit(typeURL, names[typeURL])
	}
	for _, typeURL := range referringFirst {
		p.retire(typeURL, r.retiring[typeURL])
	}
	r.end()
}

// end is the last of a rollout. The publisher's mu is held.
func (r *Rollout) end() {
	r.touched, r.taken, r.retiring = nil, nil, nil
	p := r.publisher
	if len(p.staged) == 0 {
		p.staged = map[key]*staged{} // why: of a large one much stays behind
	}
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
	r.publisher.mu.Lock()
	defer r.publisher.mu.Unlock()
	r.end()
	return result
}

// Publish publishes the change, each step after everybody took the one before:
//
//  1. policies and limits, so that no request names one that is not known
//  2. new clusters
//  3. routes, then the scopes that lead to them
//  4. scopes that are gone
//  5. probes: whether those who took all this serve it
//
// Routes, clusters, policies and limits that are gone are retired when the rollout is kept.
//
// Published again, a rollout takes back what the new change does not repeat. Rejections end it before
// anything that depends on what was rejected. Silence does, too, if too few others are left for the
// rollout's Terms; so do ctx and its deadline, which make everybody silent who has not answered yet.
func (r *Rollout) Publish(ctx context.Context, d translate.Delta) Result { return r.wave(ctx).run(d) }

func (r *Rollout) wave(ctx context.Context) *wave {
	return &wave{rollout: r, ctx: ctx, silent: map[*peer]bool{}, asked: map[string]bool{}, skipped: map[string]bool{}}
}
