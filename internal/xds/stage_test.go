package xds

import (
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// stage stages for everybody who is connected, and waits for nobody.
func (r *rig) stage(typeURL string, put []Item, remove ...string) {
	r.cache(typeURL).Stage(r.server.last(), resources(put...), remove)
}

func all(typeURL string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: []string{Wildcard}}
}

func TestStagedIsForThoseWhoWereThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"changed", "1"}, Item{"gone", "1"}, Item{"same", "1"})
	old := r.connect(all(ownType))
	old.ack(old.expect("+changed@1 +gone@1 +same@1"))
	r.stage(ownType, []Item{{"changed", "2"}, {"new", "2"}}, "gone")
	old.ack(old.expect("+changed@2 +new@2"))
	old.ack(old.expect("-gone"))
	joined := r.connect(all(ownType))
	joined.ack(joined.expect("+changed@1 +gone@1 +same@1"))

	r.cache(ownType).Commit([]string{"changed", "new", "gone"})
	joined.ack(joined.expect("+changed@2 +new@2"))
	joined.ack(joined.expect("-gone"))
	old.nothing()
	last := r.connect(all(ownType))
	last.ack(last.expect("+changed@2 +new@2 +same@1"))
}

func TestUnstagedIsTakenBackFromThoseWhoSawIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"changed", "1"}, Item{"gone", "1"})
	old := r.connect(all(ownType))
	old.ack(old.expect("+changed@1 +gone@1"))
	r.stage(ownType, []Item{{"changed", "2"}, {"new", "2"}}, "gone")
	old.ack(old.expect("+changed@2 +new@2"))
	old.ack(old.expect("-gone"))
	joined := r.connect(all(ownType))
	joined.ack(joined.expect("+changed@1 +gone@1"))

	r.cache(ownType).Unstage([]string{"changed", "new", "gone", "never staged"})
	old.ack(old.expect("+changed@1 +gone@1"))
	old.ack(old.expect("-new"))
	joined.nothing()
	if r.cache(ownType).staged != nil {
		t.Error("a map of what is staged is kept, of nothing")
	}
}

// TestNamesSubscribedLaterAreSeenAsBefore: a scope that is staged leads to a table that is, and one that is committed
// to one that is, whenever they are asked for.
func TestNamesSubscribedLaterAreSeenAsBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(RouteType, Item{"a", "1"})
	old := r.connect(all(ScopeType))
	old.ack(old.expect(""))
	r.stage(RouteType, []Item{{"a", "2"}, {"b", "2"}})
	joined := r.connect(all(ScopeType))
	joined.ack(joined.expect(""))

	old.subscribe(RouteType, "a", "b")
	old.ack(old.expect("+a@2 +b@2"))
	joined.subscribe(RouteType, "a", "b")
	joined.ack(joined.expect("+a@1 -b"))
	r.cache(RouteType).Commit([]string{"a", "b"})
	joined.ack(joined.expect("+a@2"))
	joined.ack(joined.expect("+b@2"))
	old.nothing()
}

// TestReconnectWithWhatWasStaged: who comes back in the middle of a rollout with what was staged is brought to what is
// committed.
func TestReconnectWithWhatWasStaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ScopeType, Item{"changed", "1"}, Item{"gone", "1"})
	gw := r.connect(all(ScopeType))
	gw.ack(gw.expect("+changed@1 +gone@1"))
	r.stage(ScopeType, []Item{{"changed", "2"}, {"new", "2"}}, "gone")
	gw.ack(gw.expect("+changed@2"))
	gw.ack(gw.expect("+new@2"))
	gw.ack(gw.expect("-gone"))
	gw.cancel()

	back := all(ScopeType)
	back.InitialResourceVersions = map[string]string{"changed": "2", "new": "2"}
	gw = r.connect(back)
	gw.ack(gw.expect("+changed@1 +gone@1 -new"))
	r.cache(ScopeType).Unstage([]string{"changed", "new", "gone"})
	gw.nothing()
}

// TestStagedAgain: a rollout may change its mind, and a later one may stage what an earlier one left.
func TestStagedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.connect(all(ownType))
	old.ack(old.expect(""))
	r.stage(ownType, []Item{{"a", "1"}})
	old.ack(old.expect("+a@1"))
	for len(r.event(Acked).Resources) == 0 { // else the answer to the first time would be the one to the second
	}
	joined := r.connect(all(ownType))
	joined.ack(joined.expect(""))
	r.stage(ownType, []Item{{"a", "1"}})
	joined.ack(joined.expect("+a@1"))
	old.nothing()
	e := r.event(Acked)
	for !e.Known { // of who had it already
		e = r.event(Acked)
	}
	if e.Stream != 1 || fmt.Sprint(e.Resources) != "[{a 1}]" {
		t.Errorf("acked %+v", e)
	}
}

// TestCommittedBeneathWhatIsStaged: what is committed may change meanwhile; those who see what is staged are not concerned.
func TestCommittedBeneathWhatIsStaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.connect(all(ownType))
	old.ack(old.expect(""))
	r.stage(ownType, []Item{{"a", "staged"}})
	old.ack(old.expect("+a@staged"))
	joined := r.connect(all(ownType))
	joined.ack(joined.expect(""))
	r.put(ownType, Item{"a", "1"})
	joined.ack(joined.expect("+a@1"))
	old.nothing()
	r.cache(ownType).Unstage([]string{"a"})
	old.ack(old.expect("+a@1"))
}

// TestWhatIsClaimedIsSentAgainWhenItComes: a client's word is good for what is there when it connects, and not for what
// comes later: then it would stand for an answer.
func TestWhatIsClaimedIsSentAgainWhenItComes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cache(ownType).Retain(true)
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ownType, InitialResourceVersions: map[string]string{"a": "1"}})
	gw.ack(gw.expect(""))
	r.stage(ownType, []Item{{"a", "1"}})
	gw.ack(gw.expect("+a@1"))
}
