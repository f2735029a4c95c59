package adapter

import (
	"context"
	"testing"
)

// TestWhatWasPushedComesBeforeFoldersAfterARestart: a folder that wants the name or the base path of what is pushed is
// refused, and still is when the adapter reads both at once.
func TestWhatWasPushedComesBeforeFoldersAfterARestart(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	p.begun("shop", "same-base")
	p.push(Push{Project: "shop", Archive: one(t, "pets", "/pets", "/pet")})
	p.api("shop", "intruder", "/intruder", "/x")
	p.api("same-base", "other", "/pets", "/x")
	served := func() {
		t.Helper()
		p.untilState("same-base", "other/1.0.0", Rejected)
		p.until("the folder of that name is refused", func() bool {
			for _, s := range p.Status().Projects {
				if s.Path == p.path("shop") {
					return s.State == Rejected
				}
			}
			return false
		})
		info, err := p.Project(context.Background(), "shop")
		if err != nil || info.Source != "push" || info.State != Live || len(info.APIs) != 1 || info.APIs[0].Name != "pets" {
			t.Errorf("what was pushed: %+v, %v", info, err)
		}
	}
	served()
	p.stop()
	p.closeStore()
	p.begun("shop", "same-base")
	served()
}
