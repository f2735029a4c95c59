package adapter

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/translate"
)

// ref is an API of a source: two projects may define one id, though only one of them is served.
type ref struct{ path, id string }

func compareRefs(a, b ref) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.id, b.id))
}

// revision is one state of an API.
type revision struct {
	api      model.API
	revision string // digest of its content
}

// serving is what an API is served as.
type serving struct {
	path string
	revision
}

// refusal is why a revision is not served; it is not tried again.
type refusal struct{ revision, words string }

// loop is the state of one label. Its goroutine alone touches it, but for what says otherwise. What it does
// for a change costs what the change costs: nothing here goes over everything.
type loop struct {
	name      string
	log       *slog.Logger
	publisher *publish.Publisher // for everybody
	board     board              // for everybody
	inbox     *inbox             // for everybody
	orders    orders             // for everybody
	index     *translate.Index

	wanted   map[ref]revision
	apis     map[string]map[string]bool // by path: ids it has wanted or is served with
	live     map[string]serving         // by id: what the index and the gateways have
	claims   claims                     // of live
	unproven map[string]*serving        // live, but no gateway has said so: what it was before; nil: nothing
	broken   map[string]string          // by path: why its files are refused
	refused  map[ref]refusal
	blocked  map[ref]string // by another's claim: tried again when one goes away

	dirty   map[ref]bool // to be looked at
	queue   []attempt    // before what is dirty
	parked  []attempt    // until what they touch is free
	flight  *flight      // what is being published of all that
	results chan landing

	stages   []*stage // of pushes, that wait for what they touch
	moved    bool     // one of them may be able to go on
	locks    locks    // what all flights touch
	airborne int      // how many flights will come to results
}

// landing is a flight that has come back.
type landing struct {
	*flight
	result publish.Result
}

func newLoop(name string, log *slog.Logger, publisher *publish.Publisher, index *translate.Index) *loop {
	return &loop{
		name: name, log: log, publisher: publisher, inbox: newInbox(), index: index,
		wanted: map[ref]revision{}, apis: map[string]map[string]bool{}, live: map[string]serving{}, claims: claims{},
		unproven: map[string]*serving{}, broken: map[string]string{},
		refused: map[ref]refusal{}, blocked: map[ref]string{}, dirty: map[ref]bool{},
		orders: orders{ready: make(chan struct{}, 1)}, results: make(chan landing), locks: newLocks(),
	}
}

// run is the loop, until ctx is done.
func (l *loop) run(ctx context.Context, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		l.next(ctx)
		select {
		case <-l.inbox.ready:
			l.takeAll()
		case <-l.orders.ready:
			for _, o := range l.orders.take() {
				l.obey(ctx, o)
			}
		case r := <-l.results:
			l.landed(ctx, r)
		case <-l.publisher.Late():
			l.late(l.publisher.TakeLate())
		case <-tick.C:
			l.publisher.Tick()
			l.moved = l.moved || len(l.stages) > 0 // why: one may have waited for too long
		case <-ctx.Done():
			for ; l.airborne > 0; l.airborne-- {
				<-l.results
			}
			return
		}
	}
}

// settle takes in what there is and publishes until nothing is left to do.
func (l *loop) settle(ctx context.Context) {
	l.takeAll()
	for l.next(ctx); l.flight != nil; l.next(ctx) {
		l.landed(ctx, <-l.results)
	}
}

func (l *loop) takeAll() {
	for _, c := range l.inbox.take() {
		l.take(c)
	}
}

// take takes in what became of a project's files. If they are refused, what is served stays.
func (l *loop) take(c compiled) {
	ids := l.apis[c.path]
	if ids == nil {
		ids = map[string]bool{}
		l.apis[c.path] = ids
	}
	if c.refused() {
		l.broken[c.path] = firstRefusal(c.path, c.problems)
		for id := range ids {
			l.show(ref{c.path, id})
		}
		return
	}
	mended := l.broken[c.path] != ""
	delete(l.broken, c.path)
	gone := maps.Clone(ids)
	for i, api := range c.project.APIs {
		r := ref{c.path, api.ID()}
		before, wanted := l.wanted[r]
		l.wanted[r], ids[r.id] = revision{api, c.revisions[i]}, true
		if mended || !wanted || before.revision != c.revisions[i] { // else it is looked at already, or what it has is what it wants
			l.dirty[r] = true
		}
		delete(gone, r.id)
	}
	for id := range gone {
		r := ref{c.path, id}
		delete(l.wanted, r)
		l.dirty[r] = true
	}
	if len(ids) == 0 {
		delete(l.apis, c.path)
	}
}

// late looks into what gateways refused after it was committed: what was not proven before goes back
// to what was.
func (l *loop) late(rejections []publish.Rejection) {
	for _, r := range rejections {
		bad := map[ref]string{}
		for _, id := range r.APIs {
			l.observe(id)
			if _, suspect := l.unproven[id]; suspect {
				bad[ref{l.live[id].path, id}] = l.live[id].revision.revision
			}
		}
		if len(bad) == 0 {
			l.log.Error("a gateway rejects a resource", "gateway", r.Gateway, "resource", r.Name, "err", r.Words)
			continue
		}
		l.queue = append(l.queue, attempt{withdraw: bad})
		refs := slices.SortedFunc(maps.Keys(bad), compareRefs)
		if len(refs) == 1 {
			l.refuse(refs[0], bad[refs[0]], words(r))
			continue
		}
		l.halve(refs)
	}
}

// observe notes that an API has been acknowledged, if it has.
func (l *loop) observe(id string) {
	if _, ok := l.unproven[id]; ok && l.publisher.Proven(id) {
		delete(l.unproven, id)
	}
}

// halve lets the halves of a suspicious set be tried apart, which finds the guilty in few attempts.
func (l *loop) halve(refs []ref) {
	half := len(refs) / 2
	l.queue = append(l.queue, attempt{refs: refs[:half]}, attempt{refs: refs[half:]})
}

// refuse notes that a revision will not be served.
func (l *loop) refuse(r ref, revision, words string) {
	l.refused[r] = refusal{revision, words}
	delete(l.blocked, r)
	l.unblock() // it may have been in somebody's way
	l.log.Error("api rejected", "api", r.id, "project", r.path, "revision", short(revision), "err", words)
	l.show(r)
}
