package adapter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/translate"
)

// attempt is a set of APIs that are brought to what their sources want, together; or, withdraw, from
// the revision named back to what was before it.
type attempt struct {
	refs     []ref
	withdraw map[ref]string
}

// step is one API's part of an attempt.
type step struct {
	ref ref
	to  *revision // nil: gone
}

// flight is an attempt on its way to the gateways.
type flight struct {
	rollout  *publish.Rollout
	began    time.Time
	steps    []step
	delta    translate.Delta
	withdraw bool
	lost     bool // it is being rolled back

	held []*translate.Delta // locked; what was published of it is taken back or goes on

	stage     *stage                // it is a push's; nil: it follows the sources
	problems  []model.Problem       // warnings of the stage
	published bool                  // the gateways' answers to the stage are there
	ended     chan<- publish.Result // the stage is to be rolled back; told when it is
}

// next sends on its way what can go.
func (l *loop) next(ctx context.Context) {
	l.launchStages()
	for l.flight == nil && len(l.queue)+len(l.dirty) > 0 {
		a := attempt{refs: slices.SortedFunc(maps.Keys(l.dirty), compareRefs)}
		if len(l.queue) > 0 {
			a, l.queue = l.queue[0], l.queue[1:]
		} else {
			clear(l.dirty)
		}
		var steps []step
		if a.withdraw != nil {
			steps = l.possible(l.backwards(a.withdraw))
		} else {
			steps = l.unblocked(l.forwards(a.refs))
		}
		steps, delta := l.plan(steps)
		switch {
		case len(steps) == 0:
		case !l.locks.free(&delta):
			l.park(a)
		default:
			l.flight = &flight{rollout: l.publisher.Begin(publish.Terms{}), began: time.Now(), withdraw: a.withdraw != nil}
			l.launch(ctx, steps, delta)
		}
	}
}

// park lets an attempt wait that touches what a push has under way, without what of it need not.
func (l *loop) park(a attempt) {
	if a.withdraw != nil || len(a.refs) < 2 {
		l.parked = append(l.parked, a)
		return
	}
	l.halve(a.refs)
}

// launch publishes in the background; the result comes to landed.
func (l *loop) launch(ctx context.Context, steps []step, delta translate.Delta) {
	f := l.flight
	f.steps, f.delta = steps, delta
	l.hold(f)
	l.airborne++
	go func() { l.results <- landing{f, f.rollout.Publish(ctx, delta)} }()
}

// forwards are the steps to what the sources want.
func (l *loop) forwards(refs []ref) []step {
	var steps []step
	for _, r := range refs {
		want, wanted := l.wanted[r]
		is, served := l.live[r.id]
		served = served && is.path == r.path
		switch {
		case wanted && served && is.revision.revision == want.revision,
			wanted && l.refused[r].revision == want.revision,
			!wanted && !served:
			delete(l.blocked, r)
			l.show(r)
		case wanted:
			delete(l.refused, r)
			steps = append(steps, step{r, &want})
		default:
			steps = append(steps, step{r, nil})
		}
	}
	return steps
}

// backwards are the steps from revisions that turned out bad to what was before.
func (l *loop) backwards(bad map[ref]string) []step {
	var steps []step
	for _, r := range slices.SortedFunc(maps.Keys(bad), compareRefs) {
		is, served := l.live[r.id]
		if !served || is.path != r.path || is.revision.revision != bad[r] {
			continue // something newer came in between
		}
		s := step{ref: r}
		if before := l.unproven[r.id]; before != nil && before.path == r.path {
			s.to = &before.revision
		}
		steps = append(steps, s)
	}
	return steps
}

// possible turns steps back to what others have taken meanwhile into removals.
func (l *loop) possible(steps []step) []step {
	_, blocked := l.sift(steps)
	for i, s := range steps {
		if blocked[s.ref] != "" {
			steps[i].to = nil
		}
	}
	return steps
}

// plan translates an attempt. What cannot be translated is refused, and left out.
func (l *loop) plan(steps []step) ([]step, translate.Delta) {
	for len(steps) > 0 {
		delta, problems := l.translate(steps)
		if len(delta.Refused) == 0 {
			for _, s := range steps {
				logProblems(l.log, s.ref.path, problemsOf(s, problems))
			}
			return steps, delta
		}
		var rest []step
		for _, s := range steps {
			if _, refused := slices.BinarySearch(delta.Refused, s.ref.id); !refused {
				rest = append(rest, s)
				continue
			}
			own := problemsOf(s, problems)
			logProblems(l.log, s.ref.path, besides(own)) // refuse logs the first
			l.refuse(s.ref, s.revision(), firstRefusal(s.ref.path, own))
		}
		steps = rest
	}
	return nil, translate.Delta{}
}

func (l *loop) translate(steps []step) (translate.Delta, []model.Problem) {
	var put []model.API
	var remove []string
	joins := map[string]bool{}
	for _, s := range steps {
		if s.to != nil {
			put = append(put, s.to.api)
			joins[s.ref.id] = true
		}
	}
	for _, s := range steps {
		if s.to == nil && !joins[s.ref.id] { // else another project takes it over
			remove = append(remove, s.ref.id)
		}
	}
	return l.index.Plan(put, remove)
}

// landed takes in what the gateways made of a flight.
func (l *loop) landed(ctx context.Context, r landing) {
	l.airborne--
	f := r.flight
	switch {
	case f.stage != nil:
		l.stageLanded(ctx, f, r.result)
	case f.lost:
		f.rollout.Commit()
		l.flight = nil
		l.release(f)
	case len(r.result.Rejections) == 0:
		f.rollout.Commit()
		l.land(f)
		l.logCommit(f, r.result)
		l.flight = nil
		l.release(f)
	default:
		l.rejected(ctx, r.result)
	}
}

// rejected sends the flight on without what was refused.
func (l *loop) rejected(ctx context.Context, r publish.Result) {
	f := l.flight
	var rest []step
	if f.withdraw {
		rest = l.rejectedWithdrawal(r)
	} else {
		rest = l.unblocked(l.rejectedSteps(r)) // what was refused goes on having what it has
	}
	rest, delta := l.plan(rest)
	if len(rest) > 0 && !l.unhindered(f, &delta) {
		l.retry(f, rest)
		rest, delta = nil, translate.Delta{}
	}
	f.lost = len(rest) == 0
	l.launch(ctx, rest, delta) // of nothing: what was published is taken back
}

// unhindered says that nothing is in the way of what is left of a flight. A push may be: with less, the flight may remove a
// cluster that it was to leave where it is, and that the push counts on.
func (l *loop) unhindered(f *flight, rest *translate.Delta) bool {
	for _, d := range f.held {
		l.locks.unlock(d)
	}
	free := l.locks.free(rest)
	for _, d := range f.held {
		l.locks.lock(d)
	}
	return free
}

// retry has what is left of a flight tried anew, once the flight is taken back.
func (l *loop) retry(f *flight, rest []step) {
	a := attempt{}
	for _, s := range rest {
		a.refs = append(a.refs, s.ref)
	}
	if f.withdraw {
		a = attempt{withdraw: map[ref]string{}}
		for _, s := range rest {
			a.withdraw[s.ref] = l.live[s.ref.id].revision.revision
		}
	}
	l.queue = append(l.queue, a)
}

// rejectedSteps refuses the steps that a rejection points at, or lets them be tried apart where it
// points at several, and returns the others.
func (l *loop) rejectedSteps(r publish.Result) []step {
	steps := l.flight.steps
	out, tried := map[ref]bool{}, map[ref]bool{}
	var suspects []ref
	for _, rejection := range r.Rejections {
		hit := slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return !slices.Contains(rejection.APIs, s.ref.id) })
		if len(hit) == 0 {
			hit = steps // nothing says whose it is
		}
		for _, s := range hit {
			switch {
			case len(hit) == 1 && !tried[s.ref]:
				tried[s.ref] = true
				l.refuse(s.ref, s.revision(), words(rejection))
			case len(hit) > 1 && !out[s.ref]:
				suspects = append(suspects, s.ref)
			}
			out[s.ref] = true
		}
	}
	suspects = slices.DeleteFunc(suspects, func(r ref) bool { return tried[r] })
	if len(suspects) > 0 {
		l.halve(suspects)
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return out[s.ref] })
}

// rejectedWithdrawal gives up what was before as well, for the APIs a rejection points at.
func (l *loop) rejectedWithdrawal(r publish.Result) []step {
	steps := slices.Clone(l.flight.steps)
	changed := false
	for _, rejection := range r.Rejections {
		l.log.Error("a gateway rejects what was served before", "gateway", rejection.Gateway, "resource", rejection.Name, "err", rejection.Words)
		for i, s := range steps {
			if s.to != nil && slices.Contains(rejection.APIs, s.ref.id) {
				steps[i].to, changed = nil, true
			}
		}
	}
	if !changed {
		return nil
	}
	return steps
}

// land makes a flight's steps what is served.
func (l *loop) land(f *flight) {
	l.index.Commit(f.delta)
	l.board.sizes(f.delta.Operations)
	joined := map[string]bool{}
	for _, s := range f.steps {
		if s.to != nil {
			joined[s.ref.id] = true
		}
	}
	for _, s := range f.steps {
		if s.to != nil || !joined[s.ref.id] { // else another project has taken it over
			l.committed(s)
		}
	}
	for _, s := range f.steps {
		l.show(s.ref)
	}
	l.unblock()
}

// committed makes one step what is served.
func (l *loop) committed(s step) {
	id := s.ref.id
	was, serves := l.live[id]
	if serves {
		l.claims.release(was.api)
	}
	if s.to == nil {
		delete(l.live, id)
		delete(l.unproven, id)
		return
	}
	l.live[id] = serving{s.ref.path, *s.to}
	l.claims.take(s.to.api)
	if l.publisher.Proven(id) {
		delete(l.unproven, id)
	} else if _, ok := l.unproven[id]; !ok {
		var before *serving
		if serves {
			before = &was
		}
		l.unproven[id] = before
	}
}

func (s step) revision() string {
	if s.to == nil {
		return ""
	}
	return s.to.revision
}

// words are a gateway's, with its name.
func words(r publish.Rejection) string {
	if r.Gateway == "" {
		return r.Words
	}
	return fmt.Sprintf("%s %s rejects %s: %s", r.Role, r.Gateway, r.Name, r.Words)
}
