package translate_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/envoy/accesslog"
	"github.com/postern-gateway/postern/test/fixture"
)

// accessLog is the process beside Envoy, as far as its access log goes.
type accessLog struct {
	address string

	mu   sync.Mutex
	text bytes.Buffer
}

func startAccessLog(t *testing.T) *accessLog {
	t.Helper()
	l := &accessLog{address: "unix:" + filepath.Join(fixture.TempDir(t), "als.sock")}
	s := accesslog.New(accesslog.Options{Output: l, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	listener, err := net.Listen("unix", strings.TrimPrefix(l.address, "unix:"))
	must(t, err)
	go func() { _ = g.Serve(listener) }()
	go func() { _ = s.Run(t.Context()) }()
	t.Cleanup(g.Stop)
	return l
}

func (l *accessLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *accessLog) lines(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	return linesOf(t, l.text.String())
}

// linesOf are the whole lines of a log, without what is null in them.
func linesOf(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		maps.DeleteFunc(entry, func(_ string, value any) bool { return value == nil })
		if unasked := entry["flags"] == "UAEX" || entry["flags"] == "FI"; unasked {
			delete(entry, "backend") // why: the stream names a backend only if it was asked
		}
		if entry["method"] == "PROPFIND" {
			delete(entry, "method") // why: the stream names the methods that HTTP itself defines
		}
		all = append(all, entry)
	}
	slices.SortFunc(all, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}

// format is what Envoy would have to be told to write the same lines by itself.
var format = map[string]string{
	"time": "%START_TIME%", "request_id": "%STREAM_ID%",
	"api":       `%COALESCE({"operators": [{"command": "METADATA", "param": "ROUTE:postern:api"}, {"command": "METADATA", "param": "VIRTUAL_HOST:postern:api"}]})%`,
	"operation": "%ROUTE_NAME%", "client": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:client)%",
	"method": "%REQ(:METHOD)%", "protocol": "%PROTOCOL%",
	"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%",
	"duration_ms": "%DURATION%", "backend_ms": "%RESPONSE_DURATION%",
	"bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
	"backend": "%UPSTREAM_CLUSTER%",
}

// logToo has Envoy write a file beside the stream.
func logToo(t *testing.T, l *listenerv3.Listener) {
	t.Helper()
	fields := map[string]*structpb.Value{}
	for name, operator := range format {
		fields[name] = structpb.NewStringValue(operator)
	}
	file, err := anypb.New(&filev3.FileAccessLog{
		Path: "access.log",
		AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			OmitEmptyValues: true,
		}},
	})
	must(t, err)
	config := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig()
	var m hcmv3.HttpConnectionManager
	must(t, config.UnmarshalTo(&m))
	m.AccessLog = append(m.AccessLog, &accesslogv3.AccessLog{Name: "file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: file}})
	must(t, config.MarshalFrom(&m))
}

// TestAccessLog makes a request of each kind, and compares the lines with those Envoy writes by itself.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	s := variants()["default"]
	g := startGateway(t, map[string]model.Settings{"http": s}, startBackends(t), logToo)
	d, _ := translate.NewIndex(s).Plan([]model.API{
		api("outer/1", "/log", op("GET /a"), op("POST /a"), op("GET /limited", open, tier(limit("gold", 5))),
			op("GET /nobody", open, to(backend("http://nobody.test"))), op("GET /slow", open, to(backend("http://slow.test")))),
		api("inner/1", "/log/in", op("GET /{b}", open)), api("alone/1", "/alone", op("GET /a")),
	}, nil)
	defer g.serve(t, d)()
	requests := 0
	for _, c := range []struct {
		call call
		want map[string]any
	}{
		{call{method: "GET", path: "/log/a?secret=1"}, map[string]any{"api": "outer/1", "operation": "GET /a", "client": "c0ffee", "code": 200.0, "flags": "-"}},
		{call{method: "POST", path: "/log/a", body: "hello"}, map[string]any{"operation": "POST /a", "code": 200.0, "bytes_received": 5.0}},
		{call{method: "GET", path: "/log/a", headers: map[string]string{"x-deny": "900901"}}, map[string]any{"code": 401.0, "flags": "UAEX"}},
		{call{method: "GET", path: "/log/in/a"}, map[string]any{"api": "inner/1", "operation": "GET /{b}", "client": nil, "code": 200.0}},
		{call{method: "GET", path: "/log/limited"}, map[string]any{"operation": "GET /limited", "code": 200.0}},
		{call{method: "GET", path: "/log/nobody"}, map[string]any{"code": 503.0, "flags": "UF"}},
		{call{method: "POST", path: "/alone/a"}, map[string]any{"api": "alone/1", "operation": nil, "code": 405.0, "flags": "FI"}},
		{call{method: "GET", path: "/none"}, map[string]any{"api": nil, "operation": nil, "code": 404.0, "flags": "NR"}},
	} {
		requests++
		a := g.call(t, "http", c.call)
		line := g.logged(t, a.headers.Get("X-Request-Id"))
		for name, want := range c.want {
			if line[name] != want {
				t.Errorf("%s %s: %s is %v, want %v", c.call.method, c.call.path, name, line[name], want)
			}
		}
		for _, name := range []string{"time", "request_id", "duration_ms", "bytes_received", "bytes_sent"} {
			if line[name] == nil {
				t.Errorf("%s %s: no %s in %v", c.call.method, c.call.path, name, line)
			}
		}
	}
	requests += g.misbehave(t)
	var ours []map[string]any
	fixture.WaitFor(t, "all lines", func() bool { ours = g.log.lines(t); return len(ours) >= requests })
	text, err := os.ReadFile(filepath.Join(g.envoy.Dir, "access.log"))
	must(t, err)
	if diff := cmp.Diff(linesOf(t, string(text)), ours); diff != "" {
		t.Errorf("Envoy's lines and ours (-Envoy +ours):\n%s", diff)
	}
	if strings.Contains(g.log.text.String(), "secret") {
		t.Error("the access log holds a query")
	}
}

// misbehave makes requests that end before there is an answer, or before there is a request.
func (g *gateway) misbehave(t *testing.T) int {
	t.Helper()
	dial := func(text string) net.Conn {
		conn, err := net.Dial("tcp", g.listeners["http"])
		must(t, err)
		_, err = io.WriteString(conn, text)
		must(t, err)
		return conn
	}
	broken := []string{
		"GET /log/a HTTP/1.0\r\nHost: a\r\n\r\n",
		"GET /log/a HTTP/1.1\r\n\r\n",
		"GET /log/a HTTP/1.1\r\nHost: a\r\na_b: c\r\n\r\n",
		"GET /log/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n",
		"PROPFIND /log/a HTTP/1.1\r\nHost: a\r\n\r\n",
	}
	for _, text := range broken {
		conn := dial(text)
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		must(t, conn.Close())
	}
	before := len(g.log.lines(t))
	conn := dial("GET /log/slow HTTP/1.1\r\nHost: a\r\n\r\n")
	fixture.WaitFor(t, "the request to be on its way", func() bool { return g.envoy.Stat(t, "http.http.downstream_rq_active") > 0 })
	must(t, conn.Close())
	fixture.WaitFor(t, "the line of who left", func() bool { return len(g.log.lines(t)) > before })
	return len(broken) + 1
}

func (g *gateway) logged(t *testing.T, id string) map[string]any {
	t.Helper()
	var line map[string]any
	fixture.WaitFor(t, "the access log to tell of "+id, func() bool {
		lines := g.log.lines(t)
		i := slices.IndexFunc(lines, func(l map[string]any) bool { return l["request_id"] == id })
		if i >= 0 {
			line = lines[i]
		}
		return i >= 0
	})
	return line
}
