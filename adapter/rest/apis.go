package rest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

// found is an API of one project, at all labels that the caller may see.
type found struct {
	api.API
	served *model.API // nil: it is not
}

// key is what lists are sorted by and go on after.
func (f found) key() string { return f.Name + "/" + f.Version + " " + f.Project }

// rank puts the states in order, the best first.
var rank = map[api.APIState]int{api.APIStateLive: 0, api.APIStateStale: 1, api.APIStateRejected: 2}

// gather puts together what the caller may see of these, sorted. An API is as well off as where it is worst off.
func (c *call) gather(statuses []adapter.APIStatus) []*found {
	byKey := map[string]*found{}
	for _, s := range statuses {
		if !c.caller.Grants.Sees(s.Label) {
			continue
		}
		name, version := cutID(s)
		f := &found{API: api.API{Name: name, Version: version, Project: s.Project, BasePath: s.BasePath, State: api.APIStateLive, Lifecycle: api.Deployed}}
		if known := byKey[f.key()]; known != nil {
			f = known
		} else {
			byKey[f.key()] = f
		}
		state := api.APIState(s.State)
		f.Labels = append(f.Labels, api.APIAtLabel{Label: s.Label, State: state, Revision: s.Revision, Detail: s.Words})
		if rank[state] > rank[f.State] {
			f.State = state
		}
		if s.API != nil {
			f.served, f.Lifecycle = s.API, lifecycleOf(s.API.State)
		}
	}
	all := make([]*found, 0, len(byKey))
	for _, f := range byKey {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *found) int { return cmp.Compare(a.key(), b.key()) })
	return all
}

// cutID is the name and the version of an API: neither has a slash.
func cutID(s adapter.APIStatus) (name, version string) {
	for i := range s.ID {
		if s.ID[i] == '/' {
			return s.ID[:i], s.ID[i+1:]
		}
	}
	return s.ID, ""
}

// pageAtLeast is how many APIs are asked for at a time, though fewer are to be listed: not all may be of the wanted state.
const pageAtLeast = 100

func (c *call) listAPIs() error {
	limit, err := c.limit()
	if err != nil {
		return err
	}
	project, label, state := c.query.Get("project"), c.query.Get("label"), api.APIState(c.query.Get("state"))
	if c.query.Has("state") && !state.Valid() {
		return badRequest("state is %.20q, and must be live, stale or rejected", string(state))
	}
	all, err := c.apisAfter(c.query.Get("after"), project, limit, state, func(s adapter.APIStatus) bool {
		return (label == "" || s.Label == label) && c.caller.Grants.Sees(s.Label)
	})
	if err != nil {
		return err
	}
	list := api.APIList{Apis: []api.API{}}
	for _, f := range all[:min(limit, len(all))] {
		list.Apis = append(list.Apis, f.API)
	}
	if len(all) > limit {
		c.next(all[limit-1].key())
	}
	return c.answer(http.StatusOK, list)
}

// apisAfter are more than limit APIs, if there are so many, that come after a key: of one project, or of all.
func (c *call) apisAfter(after, project string, limit int, state api.APIState, wanted func(adapter.APIStatus) bool) ([]*found, error) {
	id, _, _ := strings.Cut(after, " ")
	var first []adapter.APIStatus
	switch {
	case project != "":
		first = c.Gateway.APIsOf(project)
	case after != "": // why: the id may have more of them, of other projects
		first = c.Gateway.API(id)
	}
	all := c.gather(slices.DeleteFunc(first, func(s adapter.APIStatus) bool { return !wanted(s) }))
	all = slices.DeleteFunc(all, func(f *found) bool { return f.key() <= after || state != "" && f.State != state })
	for more := project == ""; more && len(all) <= limit; {
		page, further, err := c.Gateway.APIs(c.r.Context(), id, max(limit+1, pageAtLeast), wanted)
		if err != nil {
			return nil, err
		}
		for _, f := range c.gather(page) {
			if id = f.Name + "/" + f.Version; state == "" || f.State == state {
				all = append(all, f)
			}
		}
		more = further
	}
	return all, nil
}

func (c *call) getAPI() error {
	id := c.params["name"] + "/" + c.params["version"]
	all := c.gather(c.Gateway.API(id))
	if len(all) == 0 {
		return unseen("API", id)
	}
	f := slices.MinFunc(all, func(a, b *found) int { return cmp.Compare(a.unserved(), b.unserved()) })
	detail := api.APIDetail{
		Name: f.Name, Version: f.Version, Project: f.Project, BasePath: f.BasePath, State: f.State, Lifecycle: f.Lifecycle, Labels: f.Labels,
		Aliases: []string{}, Hosts: []string{}, Operations: []api.Operation{},
	}
	if f.served != nil {
		detail.Hosts, detail.Aliases = listed(f.served.Hosts), listed(f.served.Aliases)
		for _, o := range f.served.Operations {
			detail.Operations = append(detail.Operations, api.Operation{
				Method: o.Method, Path: o.Path, State: lifecycleOf(f.served.StateOf(o)), Origin: o.Origin.String(),
				Deprecated: o.Lifespan.Deprecated, Sunset: o.Lifespan.Sunset,
			})
		}
	}
	return c.answer(http.StatusOK, detail)
}

func (f *found) unserved() int {
	if f.served == nil {
		return 1
	}
	return 0
}
