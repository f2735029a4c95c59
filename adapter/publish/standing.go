package publish

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/postern-gateway/postern/internal/xds"
)

// Envoys says how many are connected, and how many of them are healthy: they have had everything once, and are not
// lagging.
func (p *Publisher) Envoys() (connected, healthy int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, y := range p.parties() {
		if y.node.Role != xds.RoleEnvoy {
			continue
		}
		connected++
		if y.healthy {
			healthy++
		}
	}
	return connected, healthy
}

// Standing says of everybody who is connected whether he has what is committed of these APIs, and whether as many have it
// as a rollout with these terms would take. Who lacks something else is Serving all the same.
func (p *Publisher) Standing(t Terms, apis map[string]bool) (verdicts []Verdict, met bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	healthy, have := 0, 0
	met = true
	for _, y := range p.parties() {
		if y.node.Role == xds.RoleProber {
			continue
		}
		v := Verdict{Gateway: y.node.ID, Role: y.node.Role, Label: y.node.Label}
		v.State, v.Detail = p.standing(y, apis)
		verdicts = append(verdicts, v)
		switch {
		case !y.healthy:
		case y.node.Role != xds.RoleEnvoy:
			met = met && v.State == Serving
		default:
			healthy++
			if v.State == Serving {
				have++
			}
		}
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Gateway, b.Gateway)) })
	return verdicts, met && have >= t.Require.of(healthy)
}

// standing is what one has of some APIs. p.mu is held.
func (p *Publisher) standing(y party, apis map[string]bool) (State, string) {
	for k := range y.lacks {
		e := p.entries[k]
		if e == nil || !slices.ContainsFunc(e.apis, func(id string) bool { return apis[id] }) {
			continue
		}
		if words, refused := y.rejects[k]; refused {
			return Rejected, words
		}
		if y.missed >= laggingAfter {
			return Lagging, "it has not answered lately"
		}
		return Pending, "it has not answered about " + nameOf([]key{k})
	}
	return Serving, ""
}

// cut says that a wave was ended by somebody else: its gateways' silence means nothing.
func (w *wave) cut() bool { return errors.Is(context.Cause(w.ctx), context.Canceled) }
