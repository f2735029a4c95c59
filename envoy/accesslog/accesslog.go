// Package accesslog is Envoy's gRPC access log service: it counts what Envoy has answered, by API, operation and
// status, and writes a line for each request. It must not import adapter, enforcer or ratelimiter: a log entry tells
// which route it took.
//
// Source: Envoy API, service/accesslog/v3 and data/accesslog/v3.
package accesslog

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
)

// TagAPI is the tag of a log entry that says whose route it took, put there from the route's metadata. A request that
// took none has no such tag, and no name of a route, which is the operation.
const TagAPI = "api"

// maxSeries bounds what a scrape has to carry; what is deployed after that many is counted together as "other".
const maxSeries = 100_000

// Options of a Server.
type Options struct {
	// Output gets a line for each request; nil gets none. It may be slow: then lines are dropped.
	Output     io.Writer
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Server counts, and writes lines while it runs.
type Server struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	series   atomic.Int64
	streams  atomic.Int64
	output   *output // nil: no lines
}

// New registers the metrics and returns a server.
func New(o Options) *Server {
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "postern_access_log_dropped_total",
		Help: "Lines of the access log that were not written, because the output took them too slowly or not at all.",
	})
	s := &Server{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_requests_total",
			Help: "Requests answered, by API, operation (both empty: no API took it) and status (0: the client left first).",
		}, []string{"api", "operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postern_request_duration_seconds",
			Help:    "From a request's first byte to the last byte of its answer, by API.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"api"}),
	}
	o.Registerer.MustRegister(s.requests, s.duration, dropped)
	if o.Output != nil {
		s.output = newOutput(o.Output, o.Log, dropped)
	}
	return s
}

// Register makes the gRPC server take access logs. It needs ServerOptions.
func (s *Server) Register(g *grpc.Server) { g.RegisterService(&service, s) }

// ServerOptions are what a gRPC server that the Server is registered with must be made with.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}), // Envoy pings
	}
}

// Run writes the lines until ctx is done, and then those of the requests that streams still open tell of; a stream that
// does not end, or an output that takes nothing, is left after a second.
func (s *Server) Run(ctx context.Context) error {
	if s.output != nil {
		s.output.run(ctx, s.settle)
	}
	return nil
}

// settle waits until all streams have ended.
func (s *Server) settle() {
	for deadline := time.Now().Add(lastPatient); s.streams.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// service is Envoy's service, read by our own codec.
var service = grpc.ServiceDesc{
	ServiceName: "envoy.service.accesslog.v3.AccessLogService",
	HandlerType: (*any)(nil),
	Streams:     []grpc.StreamDesc{{StreamName: "StreamAccessLogs", ClientStreams: true, Handler: follow}},
	Metadata:    "envoy/service/accesslog/v3/als.proto",
}

// follow reads one stream, of which each worker thread of an Envoy has one, to its end.
func follow(srv any, stream grpc.ServerStream) error {
	s := srv.(*Server)
	s.streams.Add(1)
	defer s.streams.Add(-1)
	t := newTally(s)
	for {
		if err := stream.RecvMsg(t); err != nil {
			return err
		}
	}
}

// tally counts the entries of one stream and writes their lines. It is one goroutine's, so that finding a series takes
// no lock.
type tally struct {
	server *Server
	known  map[string]*series
	key    []byte
	entry  entry
	text   []byte // lines
	lines  int    // in text
}

func newTally(s *Server) *tally { return &tally{server: s, known: map[string]*series{}} }

// read takes every entry of a StreamAccessLogsMessage.
func (t *tally) read(message []byte) error {
	t.text, t.lines = t.text[:0], 0
	err := readEntries(message, &t.entry, t.take)
	if t.lines > 0 {
		t.server.output.add(t.text, t.lines)
	}
	if cap(t.text) > keptPending {
		t.text = nil
	}
	return err
}

func (t *tally) take(e *entry) {
	if e.unfinished {
		return
	}
	t.count(e)
	if t.server.output != nil {
		t.text = appendLine(t.text, e)
		t.lines++
	}
}

// series is where the requests of one API, operation and status are counted.
type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func (t *tally) count(e *entry) {
	if e.code > 999 { // none that HTTP has
		e.code = 0
	}
	t.key = append(append(append(t.key[:0], e.api...), 0), e.operation...)
	t.key = append(t.key, 0, byte(e.code>>8), byte(e.code))
	s := t.known[string(t.key)]
	if s == nil {
		s = t.server.find(e)
		t.known[string(t.key)] = s
	}
	s.requests.Inc()
	if d := e.duration.duration(); d > 0 {
		s.duration.Observe(d.Seconds())
	}
}

func (s *Server) find(e *entry) *series {
	api, operation := string(e.api), string(e.operation)
	if s.series.Add(1) > maxSeries {
		api, operation = "other", ""
	}
	return &series{
		requests: s.requests.WithLabelValues(api, operation, strconv.Itoa(int(e.code))),
		duration: s.duration.WithLabelValues(api),
	}
}

// codec reads log messages by hand and counts while it reads; whatever else travels is left to gRPC's own.
// Why: the stock codec builds some fifty objects an entry, of which five fields are looked at.
type codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	t, ok := v.(*tally)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if len(data) == 1 {
		return t.read(data[0].ReadOnlyData())
	}
	return t.read(data.Materialize())
}
