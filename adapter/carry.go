package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/store"
)

// carry brings the push to the gateways, and commits it or takes it back.
func (p *push) carry() (Outcome, error) {
	switch {
	case p.purpose == deploying && p.unchanged() && p.DryRun:
		p.confirmNow()
		return p.outcome(), nil
	case p.purpose == deploying && p.unchanged():
		return p.confirm()
	case p.DryRun:
		return p.outcome(), p.try()
	}
	if p.record.ID == "" && p.purpose != refreshing {
		if err := p.begin(); err != nil {
			return p.outcome(), p.explained(err)
		}
	}
	err := p.awaitHealth()
	if err == nil {
		err = p.stage()
	}
	if err == nil {
		err = p.commit()
	}
	if err != nil {
		p.rollBack()
	}
	p.conclude(err)
	return p.outcome(), err
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
	owing := p.adapter.pushes.settle(context.WithoutCancel(p.ctx))
	record, err := p.claim(c)
	if busy := new(store.BusyError); errors.As(err, &busy) && owing != nil { // why else: its pushes come one after the other
		err = owing
	}
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

// claim begins the rollout in the store. What another rollout is about to have it may yet give back: that is waited for.
func (p *push) claim(c store.Candidate) (store.Rollout, error) {
	for {
		record, err := p.adapter.pushes.store.Begin(context.WithoutCancel(p.ctx), c) // why: who stops waiting must know whether it has begun
		if claimed := new(store.ClaimedError); !errors.As(err, &claimed) || claimed.Rollout == "" {
			return record, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-p.ctx.Done():
			return record, err
		}
	}
}

// claimsOf are what a project occupies, in each of its labels.
func claimsOf(p model.Project) []store.Claim {
	var claims []store.Claim
	for _, label := range p.Labels {
		for _, api := range p.APIs {
			claims = append(claims, store.Claim(label+" api "+api.ID()))
			hosts := api.Hosts
			if len(hosts) == 0 {
				hosts = []string{"*"}
			}
			for _, host := range hosts {
				for _, base := range api.BasePaths() {
					claims = append(claims, store.Claim(label+" at "+host+base))
				}
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
	changed = p.withLost(changed)
	p.info.set(func(o *Outcome) { o.Gateways = changed })
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
			p.parts = append(p.parts, &part{stage: &stage{}, answer: staged{label: label, reason: Unavailable, words: err.Error()}})
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
		if part.loop == nil {
			p.cancel()
			continue
		}
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
		var silent, gone []string
		for _, v := range a.result.Verdicts {
			switch {
			case v.Silent:
				silent = append(silent, v.Role+" "+v.Gateway)
			case v.State == publish.Lost:
				gone = append(gone, v.Role+" "+v.Gateway)
			}
		}
		if len(silent) == 0 && len(gone) > 0 {
			return fmt.Sprintf("%s went away while it was asked, and nobody else of its kind could answer", strings.Join(gone, ", "))
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
	if p.purpose != refreshing {
		if err := p.acknowledge(ctx); err != nil {
			return storeError(err)
		}
		p.warnOfNobody()
		revision, err := p.adapter.pushes.store.Commit(ctx, p.record.ID, p.conclusion(true, nil))
		if err != nil {
			return storeError(err)
		}
		p.info.set(func(o *Outcome) { o.Committed, o.Revision = true, revision.Number })
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
	p.info.set(func(o *Outcome) { o.RolledBack = flew })
}

// finish ends all parts, and returns whether gateways had something of them.
func (p *push) finish(how end) (flew bool) {
	life := p.adapter.pushes.running()
	patience := time.NewTimer(rollbackWait)
	defer patience.Stop()
	var open []chan publish.Result
	for _, part := range p.parts {
		if part.loop == nil {
			continue
		}
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
		if p.purpose != refreshing {
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
	p.archive, p.files = nil, nil // why: it may be shown for as long as the store does not take its end
	if err := p.adapter.pushes.discard(context.WithoutCancel(p.ctx), p.record.ID, p.conclusion(false, failed)); err != nil {
		log.Error("the store does not take the end of a rollout, and is told it again with the next push", "rollout", p.record.ID, "err", err)
	}
}

// conclusion is what is kept of the push. That it is committed is true as soon as it is kept.
func (p *push) conclusion(committed bool, failed *PushError) json.RawMessage {
	info := p.rollout()
	info.Outcome.Committed = committed
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
