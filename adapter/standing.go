package adapter

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/xds"
)

// confirmNow says that nothing is to be done, and what the gateways have of it.
func (p *push) confirmNow() (met bool) {
	verdicts, met := p.standing()
	p.info.set(func(o *Outcome) { o.Unchanged, o.Committed, o.Gateways = true, true, verdicts })
	return met
}

// confirm waits until as many serve what is committed already as would be waited for, were it new.
func (p *push) confirm() (Outcome, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.confirmNow() {
			p.warnOfNobody()
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

// standing is what the gateways of the labels have of what is committed, and whether that is enough.
func (p *push) standing() (all []publish.Verdict, met bool) {
	apis := map[string]bool{}
	for _, api := range p.compiled.project.APIs {
		apis[api.ID()] = true
	}
	met = true
	for _, label := range p.labels {
		l := p.adapter.lookupLoop(label)
		if l == nil {
			continue
		}
		verdicts, enough := l.publisher.Standing(publish.Terms{Require: p.Require}, apis)
		all, met = append(all, verdicts...), met && enough
	}
	return p.withLost(all), met
}

// withLost adds the Envoys that are away to what the others say.
func (p *push) withLost(verdicts []publish.Verdict) []publish.Verdict {
	for _, label := range p.labels {
		l := p.adapter.lookupLoop(label)
		if l == nil {
			continue
		}
		for _, g := range l.publisher.Gateways() {
			known := slices.ContainsFunc(verdicts, func(v publish.Verdict) bool { return v.Gateway == g.ID && v.Role == g.Role && v.Label == g.Label })
			if g.State == publish.Lost && !known {
				verdicts = append(verdicts, publish.Verdict{
					Gateway: g.ID, Role: g.Role, Label: g.Label, State: publish.Lost, Detail: "it is not connected, for " + g.Behind.Round(time.Second).String(),
				})
			}
		}
	}
	return verdicts
}

// warnOfNobody warns of the labels of which no Envoy serves the push.
func (p *push) warnOfNobody() {
	verdicts := p.outcome().Gateways
	for _, label := range p.compiled.project.Labels {
		if !slices.Contains(p.labels, label) || slices.ContainsFunc(verdicts, func(v publish.Verdict) bool {
			return v.Label == label && v.Role == xds.RoleEnvoy && v.State == publish.Serving
		}) {
			continue
		}
		p.info.set(func(o *Outcome) {
			o.Warnings = append(o.Warnings, model.Problem{
				Severity: model.Warning, Code: "no-gateway",
				Message: fmt.Sprintf("no Envoy of label %s serves it yet: none is connected; it is kept, and served as soon as one is", label),
			})
		})
	}
}

// awaitHealth waits until each label has an Envoy that can be asked, if it has any: what only those have heard of who do
// not answer must not be taken for served.
func (p *push) awaitHealth() error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		sick := ""
		for _, label := range p.labels {
			if l := p.adapter.lookupLoop(label); l != nil && !p.undeploys {
				if connected, healthy := l.publisher.Envoys(); connected > 0 && healthy == 0 {
					sick = label
				}
			}
		}
		if sick == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			verdicts, _ := p.standing()
			p.info.set(func(o *Outcome) { o.Gateways = verdicts })
			return &PushError{Reason: Silent, Words: fmt.Sprintf(
				"no Envoy of label %s is well: those that are connected have not answered lately, or have not taken yet what there was before (postern gateways shows them)", sick)}
		}
	}
}
