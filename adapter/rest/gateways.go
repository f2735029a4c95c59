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
	list := api.GatewayList{Adapter: c.Version, Gateways: []api.Gateway{}, Labels: []api.Label{}, Hints: []string{}}
	served := map[string]int{}
	for _, l := range c.Gateway.Labels() {
		live, stale, rejected := l.APIs[adapter.Live], l.APIs[adapter.Stale], l.APIs[adapter.Rejected]
		if live+stale+rejected == 0 || !c.caller.Grants.Sees(l.Name) {
			continue
		}
		served[l.Name] = live + stale
		list.Labels = append(list.Labels, api.Label{Name: l.Name, Live: live, Stale: stale, Rejected: rejected})
	}
	for _, g := range c.Gateway.Gateways() {
		if !c.caller.Grants.Sees(g.Label) {
			continue
		}
		list.Gateways = append(list.Gateways, api.Gateway{
			ID: g.ID, Role: g.Role, Label: g.Label, Version: g.Version, State: api.GatewayState(g.State), Detail: g.Words,
			ConfigAgeSeconds: g.Behind.Seconds(), Lacks: g.Lacks, Apis: served[g.Label],
		})
	}
	slices.SortFunc(list.Gateways, func(a, b api.Gateway) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	list.Hints = c.hints(list.Labels)
	return c.answer(http.StatusOK, list)
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
