package rest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

func (c *call) listGateways() error {
	status := c.Gateway.Status()
	list := api.GatewayList{Adapter: c.Version, Gateways: []api.Gateway{}, Labels: []api.Label{}, Hints: []string{}}
	labels := map[string]*api.Label{}
	for _, a := range status.APIs {
		if !c.caller.Grants.Sees(a.Label) {
			continue
		}
		if labels[a.Label] == nil {
			labels[a.Label] = &api.Label{Name: a.Label}
		}
		count(labels[a.Label], a.State)
	}
	for _, g := range status.Gateways {
		if !c.caller.Grants.Sees(g.Label) {
			continue
		}
		apis := 0
		if l := labels[g.Label]; l != nil {
			apis = l.Live + l.Stale
		}
		list.Gateways = append(list.Gateways, api.Gateway{
			ID: g.ID, Role: g.Role, Label: g.Label, Version: g.Version, State: api.GatewayState(g.State), Detail: g.Words,
			ConfigAgeSeconds: g.Behind.Seconds(), Lacks: g.Lacks, Apis: apis,
		})
	}
	slices.SortFunc(list.Gateways, func(a, b api.Gateway) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	for _, l := range labels {
		list.Labels = append(list.Labels, *l)
	}
	slices.SortFunc(list.Labels, func(a, b api.Label) int { return cmp.Compare(a.Name, b.Name) })
	list.Hints = c.hints(list.Labels)
	return c.answer(http.StatusOK, list)
}

func count(l *api.Label, s adapter.State) {
	switch s {
	case adapter.Live:
		l.Live++
	case adapter.Stale:
		l.Stale++
	case adapter.Rejected:
		l.Rejected++
	}
}

// hints are what is worth looking into.
func (c *call) hints(labels []api.Label) []string {
	hints := []string{}
	for _, l := range labels {
		if l.Stale+l.Rejected > 0 {
			hints = append(hints, fmt.Sprintf("label %s: APIs that are served in an earlier revision: %d, not at all: %d; `postern apis` says why", l.Name, l.Stale, l.Rejected))
		}
	}
	for _, crowded := range c.Gateway.CrowdedScopes() {
		if c.caller.Grants.Sees(crowded.Label) {
			hints = append(hints, crowded.Hint())
		}
	}
	return hints
}
