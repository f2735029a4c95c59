package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/xdstest"
)

// fullDisk is a store that ends no rollout while its disk is full.
type fullDisk struct {
	Store
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (s *fullDisk) Commit(ctx context.Context, id string, outcome json.RawMessage) (store.Revision, error) {
	if s.full.Load() {
		return store.Revision{}, errFull
	}
	return s.Store.Commit(ctx, id, outcome)
}

func (s *fullDisk) Discard(ctx context.Context, id string, outcome json.RawMessage) error {
	if s.full.Load() {
		return errFull
	}
	return s.Store.Discard(ctx, id, outcome)
}

// TestPushOfWhichTheStoreTakesNoEndKeepsNothing: a disk that is full when a rollout ends, and not when it began, leaves neither
// a project nor a base path in the hands of a push that is over.
func TestPushOfWhichTheStoreTakesNoEndKeepsNothing(t *testing.T) {
	t.Parallel()
	p, disk := newSite(t), &fullDisk{}
	p.start(func(o *Options) {
		p.withStore(o)
		disk.Store, o.Store = o.Store, disk
	})
	p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
	p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
	p.until("the gateway is there", p.Serving)

	disk.full.Store(true)
	failed := p.refused(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}, Unavailable)
	if !strings.Contains(failed.Words, errFull.Error()) {
		t.Errorf("the words are %q", failed.Words)
	}
	info, err := p.Rollout(t.Context(), failed.Outcome.Rollout)
	if err != nil || info.Ended.IsZero() || info.Err == nil || info.Err.Reason != Unavailable {
		t.Errorf("the rollout that is over: %+v, %v", info, err)
	}
	again := p.refused(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}, Unavailable)
	if !strings.Contains(again.Words, errFull.Error()) {
		t.Errorf("the words of the next one are %q", again.Words)
	}

	disk.full.Store(false)
	p.push(Push{Project: "other", Archive: one(t, "pets", "/pets", "/pet")})
	p.push(Push{Project: "other"})
	if out := p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")}); out.Revision != 1 {
		t.Errorf("the same push again: %+v", out)
	}
	if info, err := p.Rollout(t.Context(), failed.Outcome.Rollout); err != nil || info.Ended.IsZero() || info.Err == nil || info.Err.Reason != Unavailable {
		t.Errorf("the rollout that is over, once the store has it: %+v, %v", info, err)
	}
}
