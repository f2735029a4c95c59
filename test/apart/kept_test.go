package apart

import (
	"net/http"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/test/fixture"
)

// TestAdapterKilledDuringAnEdit: somebody is in the middle of an edit, the adapter is killed and started again. Envoy is not
// told that what it serves is gone, so that no call fails; and the edit's end is live.
func TestAdapterKilledDuringAnEdit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	l.parts["adapter"].says("project kept as it is\" project=" + l.dir + "/shop")
	o := l.load(map[string]string{open: "", limited: "", secure: l.token("")})
	o.settled(t, 20)
	l.write("shop/api_definitions/shop.yaml", "openapi: 3.0.3\npaths: [\n")
	l.parts["adapter"].says("project rejected")
	for range 2 {
		l.parts["adapter"].kill()
		l.start("adapter").ready()
		l.parts["adapter"].says("serving what was kept of it, of 20")
		l.parts["envoy"].ready()
		o.settled(t, 50)
	}
	l.write("shop/api_definitions/shop.yaml", strings.Replace(l.definition(), "/limited", "/more: {get: {security: [{}], responses: {\"200\": {description: ok}}}}\n  /limited", 1))
	o.settled(t, 50)
	for path, c := range o.stop() {
		t.Logf("%s: %v", path, c)
		if c.wrong() > 0 {
			t.Errorf("%s: %v", path, c)
		}
	}
	fixture.WaitFor(t, "the edit's end", func() bool { return l.get(http.MethodGet, "/shop/more", "").status == http.StatusOK })
}
