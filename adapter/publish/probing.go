package publish

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Probes are staged when the Envoys have everything, for the probers beside them, and are gone when the wave is over: they
// are never committed. A prober is a part of its gateway: its rejection and its silence are those of its Envoy, and it is
// asked only where its Envoy takes part. An Envoy without one, which an older process runs, is believed without.

// pair finds the Envoy of each prober, once the parties are all there.
func pair(parties []party) {
	envoys := map[string]*party{}
	for i, y := range parties {
		if y.node.Role == xds.RoleEnvoy {
			envoys[y.node.ID] = &parties[i]
		}
	}
	for i, y := range parties {
		if y.node.Role == xds.RoleProber {
			parties[i].asks = envoys[envoyOf(y.node.ID)]
		}
	}
}

// envoyOf is the id of the Envoy that a prober asks.
func envoyOf(prober string) string { return strings.TrimSuffix(prober, "/"+xds.RoleProber) }

// probes are those of a change, if anybody is there to take them. The publisher's mu is not held.
func (w *wave) probes(d translate.Delta) ([]*entry, error) {
	r, p := w.rollout, w.rollout.publisher
	if !slices.ContainsFunc(r.parties, func(y party) bool { return y.asks != nil }) {
		return nil, nil
	}
	entries, err := encode(d.Probes.Put)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries { // why a version of its own: what was asked before is asked again
		p.probes++
		e.wire.Version += fmt.Sprintf("+%d", p.probes)
	}
	return entries, nil
}

// endProbes takes away what was asked. Nobody waits for that. The publisher's mu is held.
func (w *wave) endProbes() {
	var names []string
	for k := range w.rollout.touched {
		if k.typeURL == posternv1.ProbeType {
			delete(w.rollout.touched, k)
			names = append(names, k.name)
		}
	}
	w.rollout.publisher.unstage(posternv1.ProbeType, names)
}

// counts says whether it matters what somebody says: a prober's word does while its Envoy takes part. The publisher's mu is
// held.
func (w *wave) counts(y party) bool {
	return y.node.Role != xds.RoleProber || y.asks != nil && w.waitsFor(*y.asks)
}

// unprobed are the Envoys whose probers are silent.
func (w *wave) unprobed() map[*peer]bool {
	envoys := map[*peer]bool{}
	for _, y := range w.rollout.parties {
		if y.asks != nil && w.silent[y.peer] {
			envoys[y.asks.peer] = true
		}
	}
	return envoys
}

// fold makes one verdict of an Envoy's and its prober's.
func (w *wave) fold(verdicts []Verdict) []Verdict {
	var all []Verdict
	at := map[*peer]int{}
	for i, y := range w.rollout.parties { // Envoys come before probers
		v := verdicts[i]
		if y.node.Role != xds.RoleProber {
			at[y.peer] = len(all)
			all = append(all, v)
			continue
		}
		if y.asks == nil || all[at[y.asks.peer]].State != Serving {
			continue
		}
		switch {
		case v.State == Rejected:
			all[at[y.asks.peer]].State, all[at[y.asks.peer]].Detail = Rejected, v.Detail
		case w.silent[y.peer]:
			all[at[y.asks.peer]].State, all[at[y.asks.peer]].Detail = Pending, "the process beside it did not say in time whether it serves what it took"
		}
	}
	return all
}
