package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
)

// rule is one of the protocol, by the section of Envoy's "xDS REST and gRPC protocol" that has it, and a dialogue over a
// real stream that would be another one without it.
type rule struct {
	section, says string
	play          func(t *testing.T, r *rig)
}

type request = discoveryv3.DeltaDiscoveryRequest

var rules = slices.Concat(subscribing, unsubscribing, answering, reconnecting, removing, ordering)

// TestRules of the incremental protocol; server_test.go has those that one needs several dialogues for.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		t.Run(rule.section+"/"+rule.says, func(t *testing.T) {
			t.Parallel()
			rule.play(t, newRig(t))
		})
	}
}

var subscribing = []rule{
	{"How the client specifies what resources to return", "who never named anything has everything", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: ClusterType})
		gw.ack(gw.expect("+a@1 +b@1"))
		gw.subscribe(ClusterType, "a") // goes on with everything, and asks for a besides
		gw.ack(gw.expect("+a@1"))
		gw.unsubscribe(ClusterType, Wildcard)
		gw.sync()
		r.put(ClusterType, Item{"a", "2"}, Item{"b", "2"})
		gw.ack(gw.expect("+a@2"))
		gw.unsubscribe(ClusterType, "a")
		gw.request(&request{TypeUrl: ClusterType}) // and naming nothing means everything no longer
		gw.sync()
		r.put(ClusterType, Item{"a", "3"}, Item{"b", "3"})
		gw.nothing()
	}},
	{"How the client specifies what resources to return", "an empty request that unsubscribes is not one for everything", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"})
		gw := r.connect(&request{TypeUrl: ClusterType, ResourceNamesUnsubscribe: []string{"b"}})
		gw.nothing()
		gw.subscribe(ClusterType, "a")
		gw.ack(gw.expect("+a@1"))
	}},
	{"How the client specifies what resources to return", "names may be given where others say everything", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"b"}})
		gw.ack(gw.expect("+b@1"))
		r.put(ClusterType, Item{"a", "2"}, Item{"c", "1"})
		gw.nothing()
	}},
	{"Subscribing to Resources", "what is asked for again is sent again", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(all(ClusterType))
		gw.ack(gw.expect("+a@1 +b@1"))
		gw.subscribe(ClusterType, "b")
		gw.ack(gw.expect("+b@1"))
		gw.subscribe(ClusterType, Wildcard)
		gw.ack(gw.expect("+a@1 +b@1"))
	}},
	{"Duplicate Resource Names", "a response names nothing twice", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(&request{TypeUrl: ownType, ResourceNamesSubscribe: []string{"a", "*", "a", "b", "b"}})
		gw.ack(gw.expect("+a@1 -b"))
		gw.request(&request{TypeUrl: ownType, ResourceNamesUnsubscribe: []string{"a", "b"}, ResourceNamesSubscribe: []string{"a", "a", "b", "*"}})
		gw.ack(gw.expect("+a@1 -b"))
	}},
	{"Knowing When a Requested Resource Does Not Exist", "who asks for what is not there is told, and told when it is", func(t *testing.T, r *rig) {
		gw := r.connect(&request{TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"late", "never"}})
		gw.ack(gw.expect("-late -never"))
		r.put(ClusterType, Item{"late", "1"})
		gw.ack(gw.expect("+late@1"))
	}},
	{"Basic Protocol Overview", "the node is that of the first request", func(t *testing.T, r *rig) {
		gw := r.connect(all(ownType))
		m := gw.expect("")
		gw.request(&request{Node: Node{ID: "another", Label: "other"}.Proto(), TypeUrl: ownType, ResponseNonce: m.Nonce})
		if e := r.event(Acked); e.Node.ID != "gw-1" || e.Node.Label != DefaultLabel {
			t.Errorf("the node is %+v", e.Node)
		}
	}},
}

var unsubscribing = []rule{
	{"Unsubscribing from Resources", "needs no response, and what changes is not sent", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a", "b"}})
		gw.ack(gw.expect("+a@1 +b@1"))
		gw.unsubscribe(RouteType, "a")
		gw.sync()
		r.remove(RouteType, "a")
		r.put(RouteType, Item{"b", "2"})
		gw.ack(gw.expect("+b@2"))
	}},
	{"Unsubscribing from Resources", "of what nobody subscribed to is ignored", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a"}, ResourceNamesUnsubscribe: []string{"x"}})
		gw.ack(gw.expect("+a@1"))
		gw.unsubscribe(RouteType, "b", "b", "nobody's", Wildcard)
		gw.sync()
		r.put(RouteType, Item{"a", "2"}, Item{"b", "2"})
		gw.ack(gw.expect("+a@2"))
	}},
	{"Unsubscribing from Resources", "under everything, a name is answered by what it is now", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"})
		gw := r.connect(&request{TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"*", "a", "b"}})
		gw.ack(gw.expect("+a@1 -b"))
		gw.unsubscribe(ClusterType, "b", "a")
		gw.ack(gw.expect("+a@1 -b"))
		r.put(ClusterType, Item{"a", "2"}) // it is of everything yet
		gw.ack(gw.expect("+a@2"))
	}},
}

var answering = []rule{
	{"Incremental xDS", "an answer is told from its nonce, and no error is an ACK", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		first := gw.expect("+a@1")
		r.put(ownType, Item{"b", "1"})
		second := gw.expect("+b@1")
		gw.nack(second, "not b") // in any order
		gw.ack(first)
		if e := r.event(Nacked); fmt.Sprint(e.Resources) != "[{b 1}]" {
			t.Errorf("nacked %+v", e)
		}
		if e := r.event(Acked); fmt.Sprint(e.Resources) != "[{a 1}]" {
			t.Errorf("acked %+v", e)
		}
	}},
	{"Incremental xDS", "an answer may change the subscription, too", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a"}})
		m := gw.expect("+a@1")
		gw.request(&request{TypeUrl: RouteType, ResponseNonce: m.Nonce, ResourceNamesSubscribe: []string{"b"}})
		r.event(Acked)
		m = gw.expect("+b@1")
		gw.request(&request{TypeUrl: RouteType, ResponseNonce: m.Nonce, ErrorDetail: &rpcstatus.Status{Message: "no"}, ResourceNamesUnsubscribe: []string{"b"}})
		r.event(Nacked)
		r.put(RouteType, Item{"b", "2"})
		gw.nothing()
	}},
	{"Incremental xDS", "a change of subscription counts though its nonce be stale, unknown or missing", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"a", "1"}, Item{"b", "1"}, Item{"c", "1"}, Item{"d", "1"})
		gw := r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a"}})
		m := gw.expect("+a@1")
		gw.ack(m)
		for nonce, name := range map[string]string{m.Nonce: "b", "never sent": "c", "": "d"} {
			gw.request(&request{TypeUrl: RouteType, ResponseNonce: nonce, ResourceNamesSubscribe: []string{name}})
			gw.ack(gw.expect("+" + name + "@1"))
		}
	}},
	{"Incremental xDS", "an answer to nothing is none", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		gw.ack(gw.expect("+a@1"))
		r.event(Acked)
		gw.request(&request{TypeUrl: ownType, ErrorDetail: &rpcstatus.Status{Message: "of nothing"}})
		gw.request(&request{TypeUrl: ownType, ResponseNonce: "2"}) // what would have come next, if it could be known
		gw.sync()
		r.put(ownType, Item{"b", "1"})
		gw.expect("+b@1")
		for {
			select {
			case e := <-r.events:
				if e.TypeURL == ownType {
					t.Errorf("an answer to nothing was reported: %+v", e)
				}
				continue
			default:
			}
			return
		}
	}},
	{"Basic Protocol Overview", "a nonce does not survive its stream", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		m := gw.expect("+a@1")
		gw.cancel()
		r.event(Disconnected)
		again := all(ownType)
		again.ResponseNonce, again.ErrorDetail = m.Nonce, &rpcstatus.Status{Message: "of another stream"}
		gw = r.connect(again)
		gw.ack(gw.expect("+a@1"))
		r.event(Acked)
	}},
	{"NACK", "what was refused is sent again when it has changed, under a version of its own", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		gw.ack(gw.expect("+a@1"))
		r.put(ownType, Item{"a", "2"})
		gw.nack(gw.expect("+a@2"), "no")
		gw.sync()
		gw.nothing()                   // it is not sent again as it is
		r.put(ownType, Item{"a", "1"}) // its last good: new to a client that keeps versions
		gw.ack(gw.expect("+a@1~1"))
		gw.sync()
		r.put(ownType, Item{"a", "3"})
		gw.ack(gw.expect("+a@3"))
	}},
	{"NACK", "a version that was refused is not one the client has", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		gw.ack(gw.expect("+a@1"))
		r.put(ownType, Item{"a", "2"})
		gw.nack(gw.expect("+a@2"), "no")
		gw.cancel()
		again := all(ownType)
		again.InitialResourceVersions = map[string]string{"a": "1"}
		gw = r.connect(again)
		gw.ack(gw.expect("+a@2"))
	}},
}

var reconnecting = []rule{
	{"Incremental xDS", "initial versions: the same, another, one that is gone, one nobody knows, one that is not subscribed", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"same", "2"}, Item{"older", "2"}, Item{"unknown", "2"}, Item{"missing", "2"}, Item{"other", "2"})
		gw := r.connect(&request{
			TypeUrl: RouteType, ResourceNamesSubscribe: []string{"same", "older", "unknown", "missing", "vanished"},
			InitialResourceVersions: map[string]string{"same": "2", "older": "1", "unknown": "what is this", "vanished": "2", "other": "1"},
		})
		gw.ack(gw.expect("+missing@2 +older@2 +unknown@2 -vanished"))
		r.put(RouteType, Item{"other", "3"})
		gw.nothing()
	}},
	{"Incremental xDS", "no state survives but what the client tells", func(t *testing.T, r *rig) {
		r.put(RouteType, Item{"a", "1"}, Item{"b", "1"})
		gw := r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a", "b"}})
		gw.ack(gw.expect("+a@1 +b@1"))
		gw.cancel()
		gw = r.connect(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"b"}})
		gw.ack(gw.expect("+b@1"))
		r.put(RouteType, Item{"a", "2"})
		gw.nothing()
	}},
	{"Incremental xDS", "initial versions belong to a type's first request", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"})
		r.put(RouteType, Item{"a", "1"})
		gw := r.connect(all(ClusterType))
		gw.ack(gw.expect("+a@1"))
		gw.request(&request{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"a"}, InitialResourceVersions: map[string]string{"a": "1"}})
		gw.sync()
		r.put(ClusterType, Item{"b", "1"})
		m := gw.expect("+b@1")
		gw.request(&request{TypeUrl: ClusterType, ResponseNonce: m.Nonce, InitialResourceVersions: map[string]string{"c": "1"}})
		r.put(ClusterType, Item{"c", "1"})
		gw.ack(gw.expect("+c@1"))
	}},
}

var removing = []rule{
	{"Deleting Resources", "is said by name, to who has it or asked for it", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"}, Item{"b", "1"})
		everything := r.connect(all(ownType))
		everything.ack(everything.expect("+a@1 +b@1"))
		one := r.connect(&request{TypeUrl: ownType, ResourceNamesSubscribe: []string{"a"}})
		one.ack(one.expect("+a@1"))
		r.remove(ownType, "b")
		everything.ack(everything.expect("-b"))
		one.nothing()
		r.remove(ownType, "a")
		everything.ack(everything.expect("-a"))
		one.ack(one.expect("-a"))
		r.put(ownType, Item{"a", "1"}) // the same as before, and new
		everything.ack(everything.expect("+a@1"))
		one.ack(one.expect("+a@1"))
	}},
	{"Deleting Resources", "a removal that is refused is not sent again", func(t *testing.T, r *rig) {
		r.put(ownType, Item{"a", "1"})
		gw := r.connect(all(ownType))
		gw.ack(gw.expect("+a@1"))
		r.remove(ownType, "a")
		gw.nack(gw.expect("-a"), "I need it")
		gw.sync()
		gw.nothing()
	}},
}

var ordering = []rule{
	{"Aggregated Discovery Service", "types go on beside each other, each with its own answers", func(t *testing.T, r *rig) {
		gw := r.connect(all(ClusterType))
		gw.ack(gw.expect(""))
		gw.subscribe(ScopeType)
		gw.ack(gw.expect(""))
		r.put(ClusterType, Item{"c", "1"})
		clusters := gw.expect("+c@1") // no answer yet, and nobody waits for it
		r.put(ScopeType, Item{"s", "1"})
		scopes := gw.expect("+s@1")
		gw.subscribe(RouteType, "s")
		routes := gw.expect("-s")
		gw.nack(scopes, "not this scope")
		gw.ack(routes)
		gw.ack(clusters)
		for i, want := range []EventKind{Nacked, Acked, Acked} {
			e := r.event(want)
			for len(e.Resources)+len(e.Removed) == 0 { // of the empty first fills
				e = r.event(want)
			}
			if e.TypeURL != []string{ScopeType, RouteType, ClusterType}[i] {
				t.Errorf("answer %d is about %s", i, e.TypeURL)
			}
		}
	}},
	{"Aggregated Discovery Service", "an answer counts for its own type alone", func(t *testing.T, r *rig) {
		r.put(ClusterType, Item{"a", "1"})
		gw := r.connect(all(ClusterType))
		m := gw.expect("+a@1")
		gw.request(&request{TypeUrl: ListenerType, ResponseNonce: m.Nonce}) // the first of its type, with another's nonce
		gw.ack(gw.expect(""))
		if e := r.event(Acked); e.TypeURL != ListenerType || len(e.Resources) > 0 {
			t.Errorf("acked %+v", e)
		}
	}},
	{"Grouping Resources into Responses", "route tables and scopes one by one, all else together", func(t *testing.T, r *rig) {
		for _, typeURL := range []string{ClusterType, RouteType, ScopeType} {
			gw := r.connect(&request{TypeUrl: typeURL, ResourceNamesSubscribe: []string{"a", "b"}})
			gw.ack(gw.expect("-a -b"))
			r.put(typeURL, Item{"a", "1"}, Item{"b", "1"})
			if typeURL == ClusterType {
				gw.ack(gw.expect("+a@1 +b@1"))
				continue
			}
			gw.ack(gw.expect("+a@1"))
			gw.ack(gw.expect("+b@1"))
		}
	}},
	{"Eventual consistency considerations", "what is referred to comes first, and goes last", func(t *testing.T, r *rig) {
		gw := r.connect(all(ScopeType))
		gw.ack(gw.expect(""))
		types := []string{RouteType, SecretType, ListenerType, EndpointType, ClusterType, ownType}
		for _, typeURL := range types {
			r.put(typeURL, Item{"old", "1"})
			gw.request(all(typeURL))
			gw.ack(gw.expect("+old@1"))
		}
		r.put(ScopeType, Item{"old", "1"})
		gw.ack(gw.expect("+old@1"))
		r.atOnce(append(types, ScopeType), "new", "old")
		var order []string
		for range 2 * (len(types) + 1) {
			m := gw.next()
			gw.ack(m)
			order = append(order, show(m)+" "+m.TypeUrl[strings.LastIndexByte(m.TypeUrl, '.')+1:])
		}
		want := []string{
			"+new@1 Own", "+new@1 Secret", "+new@1 Cluster", "+new@1 ClusterLoadAssignment", "+new@1 Listener",
			"+new@1 RouteConfiguration", "+new@1 ScopedRouteConfiguration",
			"-old ScopedRouteConfiguration", "-old RouteConfiguration", "-old Listener", "-old ClusterLoadAssignment",
			"-old Cluster", "-old Secret", "-old Own",
		}
		if !slices.Equal(order, want) {
			t.Errorf("the order is %q, want %q", order, want)
		}
	}},
}

// atOnce puts and removes one resource of each type, so that the one stream that watches them wakes to all of it.
func (r *rig) atOnce(types []string, put, remove string) {
	var marked []*watch
	for _, typeURL := range types {
		c := r.cache(typeURL)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resources[put] = resources(Item{put, "1"})[0]
		delete(c.resources, remove)
		for w := range c.watches {
			w.mu.Lock()
			w.changed = map[string]struct{}{put: {}, remove: {}}
			marked = append(marked, w)
		}
	}
	for _, w := range marked {
		w.mu.Unlock()
		w.signal()
	}
}
