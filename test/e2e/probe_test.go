package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-gateway/postern/test/fixture"
)

// TestEditsAreProbed: before an edit counts as served, Envoy has been asked what it makes of each of its operations, and
// nobody behind it has noticed.
func TestEditsAreProbed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	b := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(b.Close)
	text := definition("Shop", "/shop", b.URL)
	dir, file := project(t, text)
	g := start(t, nil, dir)
	count := func(outcome string) string {
		_, rest, _ := strings.Cut(g.metrics(), "\npostern_probes_total{outcome=\""+outcome+"\"} ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	if n := count("passed"); n != "0" {
		t.Errorf("%s probes passed at the start, when nobody was connected yet", n)
	}
	write(t, file, text+"  /extra/{id}:\n    get:\n      parameters: [{name: id, in: path, required: true, schema: {type: string}}]\n      responses: {\"200\": {description: ok}}\n")
	fixture.WaitFor(t, "a probe", func() bool { return count("passed") == "1" })
	if n := count("failed"); n != "0" {
		t.Errorf("%s probes failed", n)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the backend was asked %d times", n)
	}
	if log := g.stdout.String(); strings.Contains(log, "/extra") {
		t.Errorf("the access log has the probe: %s", log)
	}
	if a := g.get("GET", "/shop/extra/1", ""); a.status != 200 {
		t.Errorf("then it is served: %d %s", a.status, a.body)
	}
}
