package adapter

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/store"
)

// push is a Push on its way. Its goroutine alone touches it, but for what a mutex says.
type push struct {
	adapter *Adapter
	Push
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time
	turn   *pushedProject
	// refresh: what is committed is compiled again, because time or the environment has changed; nothing is stored.
	refresh bool
	// undeploys: nothing of the project is to be served any longer.
	undeploys bool
	named     bool // it has its name for this push, as long as it is not committed

	before   store.Project
	archive  []byte // canonical
	files    fs.FS  // of archive
	digest   string
	compiled compiled
	labels   []string // where it is served, before or after, sorted
	joined   []string // those of them that it is new to
	record   store.Rollout
	parts    []*part

	info rolloutBoard
}

// part is one label's.
type part struct {
	*stage
	loop   *loop
	told   chan staged
	answer staged
}

// Push serves a project, everywhere or not at all, and returns when that is decided. Its error is a *PushError, or
// what Push.Allowed said.
func (a *Adapter) Push(ctx context.Context, p Push) (Outcome, error) {
	one, err := a.preparePush(ctx, p, false)
	if err != nil {
		return one.outcome(), err
	}
	defer one.end()
	return one.carry()
}

// Begin checks a push as far as can be done without the gateways, and goes on by itself. Outcome.Rollout is what to ask
// for (Rollout); where nothing is to be done there is none.
func (a *Adapter) Begin(ctx context.Context, p Push) (Outcome, error) {
	life := a.pushes.running()
	if life == nil {
		life = ctx
	}
	one, err := a.preparePush(context.WithoutCancel(ctx), p, false)
	if err != nil {
		return one.outcome(), err
	}
	switch {
	case one.unchanged():
		defer one.end()
		one.confirmNow()
		return one.outcome(), nil
	case p.DryRun:
		defer one.end()
		return one.carry()
	}
	if err := one.begin(); err != nil {
		one.end()
		return one.outcome(), err
	}
	go func() {
		defer one.end()
		_, _ = one.carry() // it is told by Rollout
	}()
	return one.outcome(), nil
}

// preparePush does what needs no gateway: it reads, compiles and judges. The push has its project's turn until its end.
func (a *Adapter) preparePush(ctx context.Context, p Push, refresh bool) (*push, error) {
	if p.Wait == 0 {
		p.Wait = a.options.Pushes.Wait
	}
	if p.Require == (publish.Require{}) {
		p.Require = a.options.Pushes.Require
	}
	one := &push{adapter: a, Push: p, began: time.Now(), refresh: refresh, undeploys: p.Archive == nil && p.Revision == 0}
	one.info.outcome = Outcome{Project: p.Project}
	life := a.pushes.running()
	switch {
	case a.pushes.store == nil:
		return one, errNoStore
	case life == nil || life.Err() != nil:
		return one, &PushError{Reason: Unavailable, Words: "the adapter is starting or stopping; try again"}
	case !project.ValidName(p.Project):
		return one, &PushError{Reason: Invalid, Words: fmt.Sprintf("%q cannot be a project's name; use letters, digits and . _ ~ -, a letter or digit first", p.Project)}
	}
	one.ctx, one.cancel = context.WithTimeout(ctx, p.Wait)
	stop := context.AfterFunc(life, one.cancel)
	cancel := one.cancel
	one.cancel = func() { stop(); cancel() }
	turn, err := a.pushes.enter(one.ctx, p.Project)
	if err != nil {
		one.cancel()
		return one, &PushError{Reason: Busy, Words: "another push of " + p.Project + " took all the time there was; try again"}
	}
	one.turn = turn
	for _, step := range []func() error{one.look, one.read, one.compile, one.permit, one.claimName, one.gate} {
		if err := step(); err != nil {
			one.end()
			return one, err
		}
	}
	return one, nil
}

// end gives the turn to the next push.
func (p *push) end() {
	p.cancel()
	if p.record.ID != "" {
		p.adapter.pushes.forget(p.record.ID)
	}
	if p.named && !p.outcome().Committed {
		p.adapter.releaseName(pushPath(p.Project))
	}
	p.adapter.pushes.leave(p.turn)
}

// look reads what there is, and whether it may be replaced.
func (p *push) look() error {
	var err error
	p.before, err = p.adapter.pushes.store.Project(p.ctx, p.Project)
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return storeError(err)
	}
	current := p.before.Current
	there := current.Digest != ""
	switch {
	case p.IfNone && there:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s is there already, with revision %d", p.Project, current.Number)}
	case p.IfRevision != 0 && !there:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s is not there, and revision %d was to be replaced", p.Project, p.IfRevision)}
	case p.IfRevision != 0 && p.IfRevision != current.Number:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s has revision %d by now, and not %d", p.Project, current.Number, p.IfRevision)}
	case p.undeploys && !there:
		return &PushError{Reason: Unknown, Words: "no project " + p.Project + " was pushed"}
	}
	p.info.set(func(o *Outcome) { o.Revision, o.Created = current.Number, !there })
	return nil
}

// read gets the project's files, in the one form that equal content has.
func (p *push) read() error {
	switch {
	case p.Revision != 0:
		return p.readRevision()
	case p.Archive == nil:
		return nil
	}
	files, err := project.OpenZip(bytes.NewReader(p.Archive), int64(len(p.Archive)))
	if err != nil {
		return invalid(problemOf(err))
	}
	var canonical bytes.Buffer
	if err := project.Build(files, &canonical); err != nil {
		return invalid(problemOf(err))
	}
	return p.take(canonical.Bytes())
}

// readRevision gets the files of an earlier revision.
func (p *push) readRevision() error {
	archive, _, err := p.adapter.Archive(p.ctx, p.Project, p.Revision)
	if err != nil {
		return err
	}
	return p.take(archive)
}

func (p *push) take(canonical []byte) error {
	sum := sha256.Sum256(canonical)
	p.archive, p.digest = canonical, hex.EncodeToString(sum[:])
	p.Archive = nil // why: what was sent is not needed any more, and may be large
	p.info.set(func(o *Outcome) { o.Digest = p.digest })
	files, err := project.OpenZip(bytes.NewReader(canonical), int64(len(canonical)))
	if err != nil {
		return invalid(problemOf(err))
	}
	p.files = files
	return nil
}

// problemOf is what an archive is refused for.
func problemOf(err error) model.Problem {
	problem := model.Problem{}
	if !errors.As(err, &problem) {
		problem = model.Problem{Code: "bad-archive", Message: err.Error()}
	}
	return problem
}

func invalid(problems ...model.Problem) error { return &PushError{Reason: Invalid, Problems: problems} }

// compile compiles the project, and finds out where it is served before or after.
func (p *push) compile() error {
	p.compiled = compiled{path: pushPath(p.Project), project: model.Project{Name: p.Project}}
	if p.files != nil {
		p.compiled = p.adapter.compileFiles(pushPath(p.Project), p.Project, p.files, p.turn.memory)
		problems := p.compiled.problems
		if name := p.compiled.project.Name; name != p.Project && name != "" {
			problems = append(problems, model.Problem{
				Origin: model.Origin{File: "project.yaml"}, Code: "other-name",
				Message: fmt.Sprintf("the project calls itself %s and is pushed as %s: push it as %s, or take the name out of project.yaml", name, p.Project, name),
			})
		}
		if model.Refusing(problems) {
			return invalid(problems...)
		}
	}
	now := p.compiled.project.Labels
	if only := p.adapter.options.Label; only != "" {
		now = slices.DeleteFunc(slices.Clone(now), func(l string) bool { return l != only })
	}
	for _, label := range now {
		if !slices.Contains(p.turn.labels, label) && !slices.Contains(p.joined, label) {
			p.joined = append(p.joined, label)
		}
	}
	p.labels = slices.Sorted(slices.Values(slices.Concat(p.turn.labels, p.joined)))
	p.info.set(func(o *Outcome) {
		o.Warnings = slices.Clone(p.compiled.problems)
		o.APIs = pushedAPIs(p.compiled.project.APIs)
		if p.files != nil && len(now) == 0 {
			o.Warnings = append(o.Warnings, model.Problem{
				Origin: model.Origin{File: "project.yaml"}, Severity: model.Warning, Code: "other-labels", Message: elsewhere(p.compiled, p.adapter.options.Label),
			})
		}
	})
	return nil
}

// permit asks whether the labels may be pushed to: all that the project names or has named.
func (p *push) permit() error {
	if p.Allowed == nil {
		return nil
	}
	labels := slices.Concat(p.compiled.project.Labels, p.before.Current.Labels)
	return p.Allowed(slices.Compact(slices.Sorted(slices.Values(labels))))
}

// claimName sees to it that no other source has the project.
func (p *push) claimName() error {
	if holder := p.adapter.names.claim(p.Project, pushPath(p.Project)); holder != "" {
		return &PushError{Reason: Conflict, Words: fmt.Sprintf(
			"the project %s comes from %s already, and a project has one source: take it out there, or push it under another name", p.Project, p.adapter.describe(holder))}
	}
	p.named = p.before.Current.Digest == "" // else it keeps the name whatever becomes of this
	return nil
}

// unchanged says that all of it is served already.
func (p *push) unchanged() bool {
	if p.undeploys || p.digest != p.before.Current.Digest || len(p.joined) > 0 {
		return false
	}
	for _, label := range p.labels {
		l := p.adapter.lookupLoop(label)
		if l == nil {
			return false
		}
		for i, api := range p.compiled.project.APIs {
			s, there := l.board.get(ref{p.compiled.path, api.ID()})
			if !there || s.State != Live || s.Revision != short(p.compiled.revisions[i]) {
				return false
			}
		}
	}
	return true
}

// carry brings the push to the gateways, and commits it or takes it back.
func (p *push) carry() (Outcome, error) {
	if p.unchanged() && !p.refresh {
		return p.confirm()
	}
	if p.DryRun {
		return p.outcome(), p.try()
	}
	if p.record.ID == "" && !p.refresh {
		if err := p.begin(); err != nil {
			return p.outcome(), err
		}
	}
	err := p.stage()
	if err == nil {
		err = p.commit()
	} else {
		p.rollBack()
	}
	p.conclude(err)
	return p.outcome(), err
}

// confirmNow says that nothing is to be done, and what the gateways are at.
func (p *push) confirmNow() (waiting bool) {
	verdicts, waiting := p.verdicts()
	p.info.set(func(o *Outcome) { o.Unchanged, o.Committed, o.Gateways = true, true, verdicts })
	return waiting
}

// confirm waits until everybody serves what is committed already.
func (p *push) confirm() (Outcome, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if !p.confirmNow() {
			return p.outcome(), nil
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return p.outcome(), &PushError{
				Reason: Silent, Outcome: p.outcome(),
				Words: fmt.Sprintf("revision %d is committed already, and not every gateway has taken it in time", p.before.Current.Number),
			}
		}
	}
}

// verdicts are what the gateways of the labels are at, and whether one of them should soon be further.
func (p *push) verdicts() (all []publish.Verdict, waiting bool) {
	for _, label := range p.labels {
		l := p.adapter.lookupLoop(label)
		if l == nil {
			continue
		}
		for _, g := range l.publisher.Gateways() {
			all = append(all, publish.Verdict{Gateway: g.ID, Role: g.Role, Label: g.Label, State: g.State, Detail: g.Words})
			waiting = waiting || g.State == publish.Pending
		}
	}
	return all, waiting
}

// begin makes the push a rollout, which has its claims from now on.
func (p *push) begin() error {
	c := store.Candidate{
		Project: p.Project, Archive: p.archive, Digest: p.digest, Labels: p.compiled.project.Labels, Author: p.Author,
		APIs: storedAPIs(p.compiled.project.APIs), Claims: claimsOf(p.compiled.project),
		Owner: p.adapter.pushes.owner, Lease: p.began.Add(p.Wait + time.Minute), Deadline: p.began.Add(p.Wait),
	}
	var expect uint64
	if p.before.Current.Digest != "" {
		expect = p.before.Current.Number
	}
	c.Expect = &expect
	record, err := p.adapter.pushes.store.Begin(p.ctx, c)
	if claimed := new(store.ClaimedError); errors.As(err, &claimed) {
		if err := p.try(); err != nil { // which names both places
			return err
		}
		p.parts = nil
	}
	if err != nil {
		return storeError(err)
	}
	p.record = record
	p.info.set(func(o *Outcome) { o.Rollout = record.ID })
	p.adapter.pushes.track(record.ID, p)
	return nil
}

// claimsOf are what a project occupies, in each of its labels.
func claimsOf(p model.Project) []store.Claim {
	var claims []store.Claim
	for _, label := range p.Labels {
		for _, api := range p.APIs {
			claims = append(claims, store.Claim(label+" "+api.ID()))
			hosts := api.Hosts
			if len(hosts) == 0 {
				hosts = []string{"*"}
			}
			for _, host := range hosts {
				claims = append(claims, store.Claim(label+" "+host+api.BasePath))
			}
		}
	}
	return claims
}

// stage has every label try its part, and returns what stands against the push.
func (p *push) stage() error {
	p.handOut(false)
	p.gather()
	worst := p.worst()
	var changed []publish.Verdict
	for _, part := range p.parts {
		changed = append(changed, part.answer.result.Verdicts...)
	}
	p.info.set(func(o *Outcome) { o.Gateways = changed })
	if worst == nil {
		return nil
	}
	return worst
}

// handOut gives each label its part.
func (p *push) handOut(dry bool) {
	want := map[string]revision{}
	for i, api := range p.compiled.project.APIs {
		want[api.ID()] = revision{api, p.compiled.revisions[i]}
	}
	p.adapter.pushes.order.Lock()
	defer p.adapter.pushes.order.Unlock()
	for _, label := range p.labels {
		l, err := p.adapter.engage(label, slices.Contains(p.joined, label))
		if err != nil {
			p.adapter.log.Error("label cannot be made", "label", label, "err", err)
			continue
		}
		told := make(chan staged, 1)
		s := &stage{ctx: p.ctx, path: p.compiled.path, terms: publish.Terms{Require: p.Require}, dry: dry, now: p.Now, told: told}
		if slices.Contains(p.compiled.project.Labels, label) {
			s.want = want
		}
		p.parts = append(p.parts, &part{stage: s, loop: l, told: told})
		l.orders.put(order{stage: s})
	}
}

// gather waits for the labels' answers. One that stands against the push ends the waiting for the others.
func (p *push) gather() {
	life := p.adapter.pushes.running()
	for _, part := range p.parts {
		select {
		case part.answer = <-part.told:
		case <-p.ctx.Done():
			part.loop.orders.put(order{stage: part.stage, end: look})
			select {
			case part.answer = <-part.told:
			case <-life.Done():
				part.answer = staged{label: part.loop.name, reason: Unavailable, words: "the adapter is stopping"}
			}
		}
		if part.answer.reason != "" {
			p.cancel()
		}
	}
}

// worst is what stands against the push most, and all its problems.
func (p *push) worst() error {
	rank := []Reason{Invalid, Conflict, Refused, ProbeFailed, Unavailable, Silent, Busy}
	var worst *PushError
	for _, part := range p.parts {
		a := part.answer
		for _, problem := range a.problems {
			if problem.Severity == model.Warning {
				p.info.set(func(o *Outcome) { o.Warnings = append(o.Warnings, problem) })
			}
		}
		if a.reason == "" {
			continue
		}
		refusing := slices.DeleteFunc(slices.Clone(a.problems), func(one model.Problem) bool { return one.Severity == model.Warning })
		if worst == nil || slices.Index(rank, a.reason) < slices.Index(rank, worst.Reason) {
			worst = &PushError{Reason: a.reason, Words: cmp.Or(a.words, p.words(a.reason, a))}
		}
		worst.Problems = append(worst.Problems, refusing...)
	}
	if worst == nil {
		return nil
	}
	return worst
}

// words say what came of it where problems do not say it.
func (p *push) words(r Reason, a staged) string {
	switch r {
	case Silent:
		var silent []string
		for _, v := range a.result.Verdicts {
			if v.State == publish.Pending || v.State == publish.Lost {
				silent = append(silent, v.Role+" "+v.Gateway)
			}
		}
		return fmt.Sprintf("no answer within %s from %s", time.Since(p.began).Round(10*time.Millisecond), cmp.Or(strings.Join(silent, ", "), "any gateway"))
	case Refused:
		return "a gateway rejects it"
	case ProbeFailed:
		return "a gateway took it, and does not serve it"
	}
	return ""
}

// try is a dry run: it says what would stand against the push.
func (p *push) try() error {
	p.handOut(true)
	p.gather()
	err := p.worst()
	p.finish(rollback)
	p.adapter.disengage(p.joined)
	return err
}

// commit makes the push what is served from now on: first for those who come after a restart.
func (p *push) commit() error {
	ctx := context.WithoutCancel(p.ctx) // why: from here on there is no way back but a failing store
	if !p.refresh {
		if err := p.acknowledge(ctx); err != nil {
			p.rollBack()
			return storeError(err)
		}
		p.info.set(func(o *Outcome) { o.Committed = true })
		revision, err := p.adapter.pushes.store.Commit(ctx, p.record.ID, p.conclusion(nil))
		if err != nil {
			p.info.set(func(o *Outcome) { o.Committed = false })
			p.rollBack()
			return storeError(err)
		}
		p.info.set(func(o *Outcome) { o.Revision = revision.Number })
	}
	p.finish(commit)
	gone := slices.DeleteFunc(slices.Clone(p.turn.labels), func(l string) bool { return slices.Contains(p.compiled.project.Labels, l) })
	p.adapter.disengage(gone)
	p.turn.labels = slices.DeleteFunc(slices.Clone(p.labels), func(l string) bool { return slices.Contains(gone, l) })
	p.adapter.pushes.remind(p.compiled.path, p.compiled.due)
	if p.undeploys {
		p.turn.memory = &memory{}
		p.adapter.board.without(p.compiled.path)
		p.adapter.releaseName(p.compiled.path)
		return nil
	}
	p.adapter.board.put(ProjectStatus{Path: p.compiled.path, Name: p.Project, Labels: p.compiled.project.Labels, State: Live, Problems: p.compiled.problems})
	return nil
}

// acknowledge keeps what each gateway said.
func (p *push) acknowledge(ctx context.Context) error {
	var acks []store.Ack
	for _, v := range p.outcome().Gateways {
		acks = append(acks, store.Ack{Gateway: v.Gateway, Role: v.Role, Label: v.Label, State: string(v.State), Detail: v.Detail, At: time.Now()})
	}
	if len(acks) == 0 {
		return nil
	}
	return p.adapter.pushes.store.Acknowledge(ctx, p.record.ID, acks...)
}

// rollBack has everybody serve what was before.
func (p *push) rollBack() {
	p.cancel()
	flew := p.finish(rollback)
	p.adapter.disengage(p.joined)
	if p.undeploys && len(p.parts) == 0 {
		return
	}
	p.info.set(func(o *Outcome) { o.RolledBack = flew })
}

// finish ends all parts, and returns whether gateways had something of them.
func (p *push) finish(how end) (flew bool) {
	life := p.adapter.pushes.running()
	patience := time.NewTimer(rollbackWait)
	defer patience.Stop()
	var open []chan publish.Result
	for _, part := range p.parts {
		done := make(chan publish.Result, 1)
		flew = flew || part.answer.flew()
		part.loop.orders.put(order{stage: part.stage, end: how, done: done})
		open = append(open, done)
	}
	for _, done := range open {
		select {
		case <-done:
		case <-life.Done():
			return flew
		case <-patience.C:
			return flew // why: who does not answer gets what was before when he does
		}
	}
	return flew
}

// rollbackWait is how long gateways are waited for until they have what was before again.
const rollbackWait = 2 * time.Second

// flew says that gateways were told of a part.
func (s staged) flew() bool {
	return s.reason == "" && !s.delta.Empty() || len(s.result.Verdicts) > 0 || len(s.result.Rejections) > 0
}

// conclude keeps what became of the push, and tells the log.
func (p *push) conclude(err error) {
	failed := new(PushError)
	log := p.adapter.log.With("project", p.Project, "author", p.Author, "took", time.Since(p.began).Round(time.Millisecond))
	out := p.outcome()
	if err == nil {
		if !p.refresh {
			log.Info("push committed", "revision", out.Revision, "rollout", out.Rollout, "gateways", len(out.Gateways))
		}
		p.info.finish(nil)
		return
	}
	if !errors.As(err, &failed) {
		failed = &PushError{Reason: Unavailable, Words: err.Error()}
	}
	failed.Outcome = out
	p.info.finish(failed)
	log.Warn("push came to nothing; what is served stays", "rollout", out.Rollout, "err", failed.Error())
	if p.record.ID == "" {
		return
	}
	if err := p.adapter.pushes.store.Discard(context.WithoutCancel(p.ctx), p.record.ID, p.conclusion(failed)); err != nil && !errors.Is(err, store.ErrLost) {
		log.Error("the store does not take the end of a rollout", "rollout", p.record.ID, "err", err)
	}
}

// conclusion is what is kept of the push.
func (p *push) conclusion(failed *PushError) json.RawMessage {
	info := p.rollout()
	info.Ended, info.Err = time.Now(), failed
	text, err := json.Marshal(info)
	if err != nil { // plain values
		panic("adapter: " + err.Error())
	}
	return text
}

func pushedAPIs(apis []model.API) []PushedAPI {
	all := make([]PushedAPI, len(apis))
	for i, api := range apis {
		all[i] = PushedAPI{Name: api.Name, Version: api.Version, BasePath: api.BasePath, State: cmp.Or(api.State, model.Deployed)}
	}
	return all
}

func storedAPIs(apis []model.API) []store.API {
	all := make([]store.API, len(apis))
	for i, api := range apis {
		all[i] = store.API{Name: api.Name, Version: api.Version, BasePath: api.BasePath, Hosts: api.Hosts, State: string(cmp.Or(api.State, model.Deployed))}
	}
	return all
}

// gate refuses what breaks consumers, if the server is told to.
func (p *push) gate() error {
	return nil
}
