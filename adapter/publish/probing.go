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
// asked only where its Envoy takes part. An Envoy without one, which an older process runs, is believed without, and its
// verdict says so. One that leaves when it is to be asked is its gateway's leaving: what it would have said, nobody knows.

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
	w.asking = len(d.Probes.Put) > 0
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

// unprobed are the Envoys whose probers are silent, and those whose probers are gone. The publisher's mu is held.
func (w *wave) unprobed() (silent, gone map[*peer]bool) {
	silent, gone = map[*peer]bool{}, map[*peer]bool{}
	for _, y := range w.rollout.parties {
		switch {
		case y.asks == nil:
		case w.left(y):
			gone[y.asks.peer] = true
		case w.silent[y.peer]:
			silent[y.asks.peer] = true
		}
	}
	return silent, gone
}

// left says of a prober that it went away before it answered everything. The publisher's mu is held.
func (w *wave) left(y party) bool {
	if !w.asked[xds.RoleProber] || w.rollout.publisher.connects(y.peer) {
		return false
	}
	for k := range y.lacks {
		if k.typeURL == posternv1.ProbeType {
			return true
		}
	}
	return !w.told[y.peer]
}

// tell notes which probers are there to be asked. The publisher's mu is held.
func (w *wave) tell() {
	w.told = map[*peer]bool{}
	for _, y := range w.rollout.parties {
		if y.node.Role == xds.RoleProber && w.rollout.publisher.connects(y.peer) {
			w.told[y.peer] = true
		}
	}
}

// Words about an Envoy that took a change, where nobody says whether it serves it.
const (
	proberSilent = "the process beside it did not say in time whether it serves what it took"
	proberLeft   = "the process beside it disconnected before it said whether it serves what it took"
	proberAbsent = "it took it; whether it serves it could not be asked, for no prober answers beside it"
)

// fold makes one verdict of an Envoy's and its prober's.
func (w *wave) fold(verdicts []Verdict) []Verdict {
	var all []Verdict
	at := map[*peer]int{}
	for i, y := range w.rollout.parties { // Envoys come before probers
		v := verdicts[i]
		if y.node.Role != xds.RoleProber {
			if y.node.Role == xds.RoleEnvoy && v.State == Serving && w.asking && w.told != nil {
				v.Detail = proberAbsent // unless there is one
			}
			at[y.peer] = len(all)
			all = append(all, v)
			continue
		}
		if y.asks == nil || all[at[y.asks.peer]].State != Serving {
			continue
		}
		envoy := &all[at[y.asks.peer]]
		switch {
		case v.State == Rejected:
			envoy.State, envoy.Detail = Rejected, v.Detail
		case w.left(y):
			envoy.State, envoy.Detail = Lost, proberLeft
		case w.silent[y.peer]:
			envoy.State, envoy.Detail, envoy.Silent = Pending, proberSilent, true
		case v.State != Lagging:
			envoy.Detail = ""
		}
	}
	return all
}
