package observe_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/internal/observe"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	var reasons []string
	o := observe.Options{Metrics: observe.NewRegistry(), NotReady: func() []string { return reasons }, Loopback: true}
	noted := observe.Options{Metrics: o.Metrics, Loopback: true, NotReady: o.NotReady, Notes: func() []string { return []string{"served from disk"} }}
	waiting := observe.Options{Metrics: o.Metrics, Loopback: true, NotReady: func() []string { return []string{"envoy is not live"} }}
	profiled := o
	profiled.Pprof = true
	managed := o
	managed.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("api " + r.URL.Path)) })
	open := o
	open.Loopback = false
	for name, test := range map[string]struct {
		options      observe.Options
		method, path string
		host, origin string
		status       int
		body         string
	}{
		"health":          {o, "GET", "/healthz", "127.0.0.1:9843", "", 200, `{"status":"ok"}`},
		"ready":           {o, "GET", "/readyz", "localhost:9843", "", 200, `{"status":"ready"}`},
		"head":            {o, "HEAD", "/readyz", "localhost:9843", "", 200, ""},
		"with a note":     {noted, "GET", "/readyz", "[::1]:9843", "", 200, `{"notes":["served from disk"],"status":"ready"}`},
		"not ready":       {waiting, "GET", "/readyz", "[::1]:9843", "", 503, `{"reasons":["envoy is not live"],"status":"not ready"}`},
		"metrics":         {o, "GET", "/metrics", "127.0.0.1", "", 200, "go_goroutines"},
		"nothing there":   {o, "GET", "/api/v1/apis", "127.0.0.1", "", 404, `"title":"Not Found"`},
		"api":             {managed, "PUT", "/api/v1/projects/shop", "127.0.0.1", "", 200, "api /api/v1/projects/shop"},
		"odd path":        {managed, "PUT", "/api//v1/./x", "127.0.0.1", "", 200, "api /api//v1/./x"},
		"api, rebound":    {managed, "GET", "/api/v1/apis", "evil.example", "", 421, `"status":421`},
		"api, foreign":    {managed, "GET", "/api/v1/apis", "127.0.0.1", "http://evil.example", 403, `"status":403`},
		"beside the api":  {managed, "GET", "/apis", "127.0.0.1", "", 404, `"status":404`},
		"other method":    {o, "POST", "/metrics", "127.0.0.1", "", 405, `"status":405`},
		"rebound name":    {o, "GET", "/metrics", "evil.example:9843", "", 421, `"status":421`},
		"foreign address": {o, "GET", "/metrics", "10.0.0.1:9843", "", 421, `"status":421`},
		"no loopback":     {open, "GET", "/healthz", "gateway:9843", "", 200, `"ok"`},
		"foreign origin":  {open, "GET", "/healthz", "gateway:9843", "https://evil.example", 403, `"status":403`},
		"null origin":     {o, "GET", "/healthz", "127.0.0.1:9843", "null", 403, `"status":403`},
		"own origin":      {o, "GET", "/healthz", "127.0.0.1:9843", "http://127.0.0.1:9843", 200, `"ok"`},
		"no pprof":        {o, "GET", "/debug/pprof/", "127.0.0.1", "", 404, `"status":404`},
		"pprof":           {profiled, "GET", "/debug/pprof/cmdline", "127.0.0.1", "", 200, "observe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(test.method, test.path, nil)
			r.Host = test.host
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			w := httptest.NewRecorder()
			observe.Handler(test.options).ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, test.status, test.body)
			}
			if w.Code >= http.StatusBadRequest && w.Code != http.StatusServiceUnavailable && w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("content type %s", w.Header().Get("Content-Type"))
			}
		})
	}
}
