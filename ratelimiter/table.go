package ratelimiter

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/puzpuzpuz/xsync/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/ratelimiter/limit"
)

// table holds the rules of all APIs. Requests read it while one goroutine changes it; a change costs what it changes.
// Resources are content-addressed and their rules' ids carry the address, so that nothing known ever changes its meaning.
type table struct {
	rules     *xsync.Map[string, *rule]
	resources map[string][]*rule // by name; only changed by apply
	metrics   *metrics
}

// rule is a limit.Rule, and what the server needs beside it for every request.
type rule struct {
	*limit.Rule
	metadata     []byte // a refusal's dynamic metadata, in the wire format
	passed, over prometheus.Counter
}

func newTable(m *metrics) *table {
	return &table{rules: xsync.NewMap[string, *rule](), resources: map[string][]*rule{}, metrics: m}
}

func (t *table) find(id string) (*rule, bool) { return t.rules.Load(id) }

// apply adds and removes whole resources. If one of them is bad nothing is changed.
func (t *table) apply(added []*discoveryv3.Resource, removed []string) error {
	compiled := make(map[string][]*limit.Rule, len(added))
	for _, r := range added {
		if _, known := t.resources[r.GetName()]; known {
			continue // the same name is the same content
		}
		rules, err := open(r)
		if err != nil {
			return err
		}
		compiled[r.GetName()] = rules
	}
	for name, rules := range compiled {
		t.put(name, rules)
	}
	for _, name := range removed {
		t.remove(name)
	}
	return nil
}

// open takes the limits out of their resource. The name proves that they are what a route's author meant.
func open(r *discoveryv3.Resource) ([]*limit.Rule, error) {
	if got := r.GetResource().GetTypeUrl(); got != posternv1.LimitsType {
		return nil, fmt.Errorf("limits %q: the type is %q, want %q", r.GetName(), got, posternv1.LimitsType)
	}
	var limits posternv1.Limits
	if err := proto.Unmarshal(r.GetResource().GetValue(), &limits); err != nil {
		return nil, fmt.Errorf("limits %q: %w", r.GetName(), err)
	}
	if !posternv1.ProvesLimits(r.GetName(), &limits) {
		return nil, fmt.Errorf("limits %q of API %s: the name or the ids are not those of the content", r.GetName(), limits.GetApi())
	}
	return limit.Compile(&limits)
}

func (t *table) put(name string, rules []*limit.Rule) {
	kept := make([]*rule, len(rules))
	for i, r := range rules {
		passed, over := t.metrics.use(r)
		kept[i] = &rule{Rule: r, metadata: refusal(r.Code), passed: passed, over: over}
		t.rules.Store(r.ID, kept[i])
	}
	t.resources[name] = kept
}

func (t *table) remove(name string) {
	for _, r := range t.resources[name] {
		t.rules.Delete(r.ID)
		t.metrics.drop(r.Rule)
	}
	delete(t.resources, name)
}

// refusal is the dynamic metadata that Envoy makes the body of a 429 from.
func refusal(code string) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&structpb.Struct{Fields: map[string]*structpb.Value{
		posternv1.MetadataCode:  structpb.NewStringValue(code),
		posternv1.MetadataTitle: structpb.NewStringValue("Too Many Requests"),
	}})
	if err != nil { // only text that is not UTF-8 can cause it, and the code came as a proto3 string
		panic("ratelimiter: " + err.Error())
	}
	return b
}
