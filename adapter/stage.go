package adapter

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/translate"
)

// stage is one label's part of a push. While it is open it holds what it touches, and nothing else comes near that.
type stage struct {
	ctx   context.Context
	path  string              // of the project
	want  map[string]revision // by id; nothing else of the path is to be served
	terms publish.Terms
	dry   bool          // only to see what it would come to
	now   bool          // what it retires goes at once
	told  chan<- staged // has room for what it is told: once

	flight *flight // nil: it waits, or has nothing to do
}

// staged is what a label made of its part.
type staged struct {
	label    string
	reason   Reason // "": it can be committed
	words    string
	problems []model.Problem
	delta    translate.Delta
	result   publish.Result
}

// orders are what pushes ask of a loop, in the order in which they asked.
type orders struct {
	ready chan struct{} // of capacity one

	mu      sync.Mutex
	waiting []order
}

// order begins or ends a stage.
type order struct {
	*stage
	end  end
	done chan<- publish.Result // has room; told when the end has been brought about
}

// end is how a stage ends; the zero value begins it.
type end int

const (
	begin end = iota
	commit
	rollback
	look // go on waiting, or find that there is no more time
)

func (o *orders) put(one order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, one)
	select {
	case o.ready <- struct{}{}:
	default: // it is signalled already
	}
}

func (o *orders) take() []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.waiting
	o.waiting = nil
	return all
}

// obey carries out an order.
func (l *loop) obey(ctx context.Context, o order) {
	switch {
	case o.end == begin:
		l.stages = append(l.stages, o.stage)
		l.moved = true
	case o.end == look:
		l.moved = true
	case o.flight == nil: // it has nothing under way
		l.stages = slices.DeleteFunc(l.stages, func(s *stage) bool { return s == o.stage })
		l.moved = true
		o.done <- publish.Result{}
	case o.end == commit:
		l.commitStage(o.stage)
		o.done <- publish.Result{}
	default:
		l.rollBack(ctx, o)
	}
}

// launchStages sends those stages on their way that nothing is in the way of. One that waits keeps those behind it from
// what it touches: all labels get their parts of pushes in one order, so that no two of them wait for one another.
func (l *loop) launchStages() {
	if !l.moved {
		return
	}
	l.moved = false
	ahead := newLocks()
	l.stages = slices.DeleteFunc(l.stages, func(s *stage) bool {
		if s.ctx.Err() != nil {
			s.tell(l, staged{reason: Busy, words: "rollouts of the same resources took all the time there was; try again"})
			return true
		}
		steps := l.stageSteps(s)
		kept, blocked := l.sift(steps)
		delta, problems := l.translate(steps)
		if !l.locks.free(&delta) || !ahead.free(&delta) {
			ahead.lock(&delta)
			return false
		}
		switch {
		case len(kept) < len(steps):
			s.tell(l, staged{reason: Conflict, problems: conflicts(steps, blocked)})
		case len(delta.Refused) > 0:
			s.tell(l, staged{reason: refusalOf(problems), problems: problems})
		case s.dry || len(steps) == 0:
			s.tell(l, staged{delta: delta, problems: problems, result: publish.Result{Met: true}})
		default:
			l.fly(s, steps, delta, problems)
		}
		return true
	})
}

// stageSteps are the steps from what is served of a project to what a push wants.
func (l *loop) stageSteps(s *stage) []step {
	ids := maps.Clone(l.apis[s.path])
	if ids == nil {
		ids = map[string]bool{}
	}
	for id := range s.want {
		ids[id] = true
	}
	var steps []step
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		r := ref{s.path, id}
		want, wanted := s.want[id]
		is, served := l.live[id]
		served = served && is.path == s.path
		switch {
		case wanted && served && is.revision.revision == want.revision:
		case wanted:
			steps = append(steps, step{r, &want})
		case served:
			steps = append(steps, step{r, nil})
		}
	}
	return steps
}

// conflicts are the problems of steps that others' claims are in the way of.
func conflicts(steps []step, blocked map[ref]string) []model.Problem {
	var problems []model.Problem
	for _, s := range steps {
		if words := blocked[s.ref]; words != "" {
			problems = append(problems, model.Problem{Origin: s.to.api.Origin, Code: "taken", Message: words})
		}
	}
	return problems
}

// refusalOf is why translation refuses an API: because of itself, or of another one.
func refusalOf(problems []model.Problem) Reason {
	for _, p := range problems {
		if p.Severity == model.Refused && p.Code != "base-path-taken" && p.Code != "api-taken" {
			return Invalid
		}
	}
	return Conflict
}

func (s *stage) tell(l *loop, what staged) {
	what.label = l.name
	s.told <- what
}

// fly publishes a stage in the background; what comes of it comes to landed.
func (l *loop) fly(s *stage, steps []step, delta translate.Delta, problems []model.Problem) {
	f := &flight{rollout: l.publisher.Begin(s.terms), began: time.Now(), steps: steps, delta: delta, stage: s, problems: problems}
	s.flight = f
	l.hold(f)
	l.airborne++
	go func() { l.results <- landing{f, f.rollout.Publish(s.ctx, delta)} }()
}

// stageLanded tells the push what the gateways made of its stage, or that it was taken back.
func (l *loop) stageLanded(ctx context.Context, f *flight, r publish.Result) {
	switch {
	case f.published:
		l.release(f)
		f.ended <- r
		return
	case f.ended != nil:
		f.published = true
		l.takeBack(ctx, f)
		return
	}
	f.published = true
	what := staged{delta: f.delta, problems: f.problems, result: r}
	switch {
	case len(r.Rejections) > 0:
		what.reason = Refused
		if !slices.ContainsFunc(r.Rejections, func(r publish.Rejection) bool { return !r.Probe }) {
			what.reason = ProbeFailed
		}
		what.problems = append(l.blame(f, r), what.problems...)
	case !r.Met:
		what.reason = Silent
	}
	f.stage.tell(l, what)
}

// blame says which API, operation and line of a project's files gateways' rejections are about.
func (l *loop) blame(f *flight, r publish.Result) []model.Problem {
	var problems []model.Problem
	for _, rejection := range r.Rejections {
		code := "gateway-rejected"
		if rejection.Probe {
			code = "probe-failed"
		}
		culprits := l.index.Blame(f.delta, rejection.TypeURL, rejection.Name, rejection.Words)
		for _, c := range culprits {
			about := c.API
			if c.Operation != "" {
				about += " " + c.Operation
			}
			problems = append(problems, model.Problem{Origin: c.Origin, Code: code, Message: about + ": " + words(rejection)})
		}
		if len(culprits) == 0 {
			problems = append(problems, model.Problem{Code: code, Message: words(rejection)})
		}
	}
	return problems
}

// commitStage makes a stage what is served, and what its project wants.
func (l *loop) commitStage(s *stage) {
	f := s.flight
	for _, step := range f.steps {
		r := step.ref
		delete(l.refused, r)
		delete(l.blocked, r)
		if step.to == nil {
			delete(l.wanted, r)
			continue
		}
		l.wanted[r] = *step.to
		if l.apis[r.path] == nil {
			l.apis[r.path] = map[string]bool{}
		}
		l.apis[r.path][r.id] = true
	}
	delete(l.broken, s.path)
	f.rollout.Commit()
	if s.now {
		l.publisher.Purge(f.delta)
	}
	l.land(f)
	l.release(f)
}

// rollBack has the gateways go back to what was before a stage, as soon as they have answered to it.
func (l *loop) rollBack(ctx context.Context, o order) {
	o.flight.ended = o.done
	if o.flight.published {
		l.takeBack(ctx, o.flight)
	}
}

func (l *loop) takeBack(ctx context.Context, f *flight) {
	l.airborne++
	go func() { l.results <- landing{f, f.rollout.Rollback(ctx)} }()
}

// hold keeps others from what a flight touches, until it is released.
func (l *loop) hold(f *flight) {
	d := f.delta // why a copy: the flight may go on with less
	f.held = append(f.held, &d)
	l.locks.lock(&d)
}

// release lets others have what a flight has touched.
func (l *loop) release(f *flight) {
	for _, d := range f.held {
		l.locks.unlock(d)
	}
	l.moved = true
	l.queue = append(l.queue, l.parked...)
	l.parked = nil
}
