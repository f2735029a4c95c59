package model_test

import (
	"slices"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

func TestAtRetiresWhatHasSet(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	a := api("pets", "/pets/1", nil, "GET", "/a", "GET", "/b", "GET", "/c")
	a.State = model.Deployed
	a.Operations[0].Lifespan.Sunset, a.Operations[1].Lifespan.Sunset = day(10), day(5)

	states := func(a model.API) (states []model.Lifecycle) {
		for _, o := range a.Operations {
			states = append(states, a.StateOf(o))
		}
		return states
	}
	const deployed, retired = model.Deployed, model.Retired
	for name, c := range map[string]struct {
		now, next time.Time
		want      []model.Lifecycle
	}{
		"before":            {day(4), day(5), []model.Lifecycle{deployed, deployed, deployed}},
		"at the moment":     {day(5), day(10), []model.Lifecycle{deployed, retired, deployed}},
		"after all of them": {day(11), time.Time{}, []model.Lifecycle{retired, retired, deployed}},
	} {
		at, next := a.At(c.now)
		if got := states(at); !slices.Equal(got, c.want) || !next.Equal(c.next) || at.State != deployed {
			t.Errorf("%s: %v, next %v; want %v, next %v", name, got, next, c.want, c.next)
		}
	}
	if a.Operations[0].State != "" {
		t.Error("At changed the API it was asked about")
	}

	a.Operations[2].State = retired
	for _, state := range []model.Lifecycle{deployed, model.Blocked, ""} {
		a.State = state
		if at, next := a.At(day(10)); at.State != retired || !next.IsZero() {
			t.Errorf("an API whose operations are all retired: %q becomes %q", state, at.State)
		}
	}
}

func TestTheClosedDoorCounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ api, operation, want model.Lifecycle }{
		{"", "", ""},
		{model.Deployed, "", model.Deployed},
		{model.Prototyped, model.Retired, model.Retired},
		{model.Deployed, model.Prototyped, model.Prototyped},
		{model.Blocked, model.Deployed, model.Blocked},
		{model.Blocked, model.Retired, model.Blocked},
		{model.Retired, model.Blocked, model.Retired},
	} {
		if got := (model.API{State: c.api}).StateOf(model.Operation{State: c.operation}); got != c.want {
			t.Errorf("an operation %q of an API %q is %q, want %q", c.operation, c.api, got, c.want)
		}
	}
}
