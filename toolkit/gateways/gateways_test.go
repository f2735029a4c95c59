package gateways

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const metrics = `# HELP postern_adapter_info Always 1.
# TYPE postern_adapter_info gauge
postern_adapter_info{version="v1.2.0"} 1
go_goroutines 12
postern_gateway_info{gateway="gw-2",label="partner",role="envoy",version="1.40.0"} 1
postern_gateway_state{gateway="gw-2",label="partner",role="envoy",state="serving"} 0
postern_gateway_state{gateway="gw-2",label="partner",role="envoy",state="lost"} 1
postern_gateway_config_age_seconds{gateway="gw-2",label="partner",role="envoy"} 3723.4
postern_gateway_info{gateway="gw-1",label="default",role="envoy",version="1.40.0"} 1
postern_gateway_state{gateway="gw-1",label="default",role="envoy",state="serving"} 1
postern_gateway_config_age_seconds{gateway="gw-1",label="default",role="envoy"} 0
postern_gateway_info{gateway="odd\"one\\",label="default",role="enforcer",version=""} 1 1700000000000
postern_gateway_state{gateway="odd\"one\\",label="default",role="enforcer",state="pending"} 1
postern_gateway_config_age_seconds{gateway="odd\"one\\",label="default",role="enforcer"} 1.26e-01
postern_apis{label="default",state="live"} 12
postern_apis{label="default",state="stale"} 1
postern_apis{label="default",state="rejected"} 2
postern_apis{label="partner",state="live"} 3
postern_route_scope_operations{label="default",scope="api"} 340
postern_route_scope_operations{label="partner",scope="_all"} 201
`

const table = `ID        ROLE      LABEL    VERSION  STATE    CONFIG AGE  APIS
odd"one\  enforcer  default  -        pending  126ms       13
gw-1      envoy     default  1.40.0   serving  0s          13
gw-2      envoy     partner  1.40.0   lost     1h2m3s      3

hint: label default: APIs that are served in an earlier revision: 1, not at all: 2; the adapter's log says why

hint: label default: 340 operations are in the route table of /api, and a change of one of its APIs sends it whole: consider longer base paths, or a later routing.scopeSegment

hint: label partner: all 201 operations are in one route table, and any change sends it whole: consider routing.mode scoped
`

// serve answers /metrics, as an adapter does.
func serve(t *testing.T, text string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestReport(t *testing.T) {
	t.Parallel()
	r, err := Read(t.Context(), nil, serve(t, metrics).URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != table {
		t.Errorf("it prints\n%s\nwant\n%s", out.String(), table)
	}
	if r.Adapter != "v1.2.0" || !slices.Contains(r.Labels, Label{Name: "default", Live: 12, Stale: 1, Rejected: 2}) {
		t.Errorf("read %+v", r)
	}
}

func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	r, err := Read(t.Context(), nil, serve(t, "postern_adapter_info{version=\"\"} 1\n").URL)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil || !strings.HasPrefix(out.String(), "no gateway is connected") {
		t.Errorf("it prints %q, %v", out.String(), err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "m.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: serve(t, metrics).Config.Handler} //nolint:gosec // a test's
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	if r, err := Read(t.Context(), nil, "unix:"+l.Addr().String()); err != nil || len(r.Gateways) != 3 {
		t.Errorf("read %+v, %v", r, err)
	}
}

func TestNotAnAdapter(t *testing.T) {
	t.Parallel()
	gone := serve(t, "")
	gone.Close()
	for name, server := range map[string]string{
		"nobody":       gone.URL,
		"another":      serve(t, "go_goroutines 12\n").URL,
		"other path":   serve(t, metrics).URL + "/elsewhere",
		"no label":     serve(t, "postern_adapter_info{version\n").URL,
		"no end":       serve(t, `postern_adapter_info{version="1`+"\n").URL,
		"no number":    serve(t, `postern_adapter_info{version="1"} one`+"\n").URL,
		"no sample":    serve(t, "postern_adapter_info\n").URL,
		"no address":   "http://127.0.0.1:x",
		"no scheme":    "127.0.0.1:1",
		"no such file": "unix:/nowhere/m.sock",
	} {
		if r, err := Read(t.Context(), nil, server); err == nil {
			t.Errorf("%s: read %+v", name, r)
		}
	}
}
