package translate_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/envoy/probe"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
)

// gateway is one long-lived Envoy with a listener for every Settings the tests use, an enforcer and a limiter that do
// as the request says, and backends that say what they saw.
type gateway struct {
	t        *testing.T
	xds      *fixture.XDS
	envoy    *fixture.Envoy
	enforcer *fixture.GRPC
	limiter  *fixture.GRPC
	local    *fixture.GRPC
	log      *accessLog
	led      bool                        // endpoints of the model lead to the test's backends
	backends map[string]*fixture.Backend // by the endpoint in the model, "host:port"

	listeners   map[string]string // address by listener name
	probers     map[string]*probe.Prober
	connections map[string]*connection

	over atomic.Bool // what the limiter says to everything
	hang atomic.Bool // the limiter, other than the local one, does not answer

	mu      sync.Mutex
	checks  []map[string]string // context extensions of each check
	limited []string            // rule ids of each call of the limiter, after the limiter's name
}

// startGateway starts it all; settings by listener name. change is done to every listener.
func startGateway(t *testing.T, settings map[string]model.Settings, backends map[string]*fixture.Backend, change ...func(*testing.T, *listenerv3.Listener)) *gateway {
	t.Helper()
	g := &gateway{t: t, led: true, backends: backends, listeners: map[string]string{}, probers: map[string]*probe.Prober{}, connections: map[string]*connection{}}
	g.enforcer = fixture.StartEnforcer(t, g.check)
	g.limiter = fixture.StartLimiter(t, g.limit("limiter"))
	g.local = fixture.StartLimiter(t, g.limit("local"))
	g.log = startAccessLog(t)
	g.xds = fixture.StartXDS(t)
	g.envoy = fixture.StartEnvoy(t, fixture.EnvoyOptions{XDS: g.xds.Address})
	var listeners []proto.Message
	clusters := map[string]proto.Message{}
	for name, s := range settings {
		s.HTTP = "127.0.0.1:0"
		s.Enforcer.Address, s.RateLimiter.Address, s.LocalLimiter.Address = g.enforcer.Address, g.limiter.Address, g.local.Address
		s.AccessLog.Address = g.log.address
		s.Probe = "unix:" + filepath.Join(g.envoy.Dir, name+".sock")
		ls, cs := translate.Static(s)
		l := proto.Clone(ls[0].Message).(*listenerv3.Listener)
		l.Name = name
		for _, change := range append(change, tell) {
			change(t, l)
		}
		p := proto.Clone(ls[len(ls)-1].Message).(*listenerv3.Listener)
		p.Name = "probe-" + name
		listeners = append(listeners, l, p)
		var err error
		if g.probers[name], err = probe.New(probe.Options{Address: s.Probe}); err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			clusters[c.Name] = c.Message
		}
	}
	var put []proto.Message
	for _, c := range clusters {
		put = append(put, c)
	}
	g.xds.Put(t, put...)
	g.xds.Put(t, listeners...)
	for name := range settings {
		g.listeners[name] = g.envoy.Address(t, name)
	}
	return g
}

// tell has every answer name the route that was chosen, and its API.
func tell(t *testing.T, l *listenerv3.Listener) {
	t.Helper()
	var m hcmv3.HttpConnectionManager
	config := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig()
	if err := config.UnmarshalTo(&m); err != nil {
		t.Fatal(err)
	}
	header := func(name, value string) *mutationv3.HeaderMutation {
		return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, Value: value},
		}}}
	}
	mutation, err := anypb.New(&headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{ResponseMutations: []*mutationv3.HeaderMutation{
		header("x-test-operation", "%ROUTE_NAME%"),
		header("x-test-api", `%COALESCE({"operators": [{"command": "METADATA", "param": "ROUTE:postern:api"}, {"command": "METADATA", "param": "VIRTUAL_HOST:postern:api"}]})%`),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	m.HttpFilters = append([]*hcmv3.HttpFilter{{Name: "tell", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: mutation}}}, m.HttpFilters...)
	if err := config.MarshalFrom(&m); err != nil {
		t.Fatal(err)
	}
}

// serve puts a delta into Envoy, with the model's endpoints led to the test's backends, and returns how to undo it.
func (g *gateway) serve(t *testing.T, d translate.Delta) (undo func()) {
	t.Helper()
	var put []proto.Message
	remove := fixture.Removal{}
	for typeURL, changes := range map[string]translate.Changes{
		resource.ClusterType: d.Clusters, resource.ScopedRouteType: d.Scopes, resource.RouteType: d.Routes,
	} {
		for _, r := range changes.Put {
			put = append(put, g.lead(r.Message))
			remove[typeURL] = append(remove[typeURL], r.Name)
		}
	}
	if err := g.xds.Apply(put, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := g.xds.Apply(nil, remove); err != nil {
			t.Error(err)
		}
	}
}

// probe asks Envoy all that a delta has to ask, and returns which operations those are ("name/version METHOD /path"). Each
// request must lead where the rules say.
func (g *gateway) probe(t testing.TB, variant string, apis []model.API, d translate.Delta) (asked map[string]bool, err error) {
	t.Helper()
	asked = map[string]bool{}
	for _, r := range d.Probes.Put {
		p := r.Message.(*posternv1.Probe)
		for _, c := range p.GetChecks() {
			asked[p.GetApi()+" "+c.GetOperation()] = true
			f := model.Match(apis, c.GetHost(), c.GetMethod(), c.GetPath(), variants()[variant].KeepEscapedSlashes)
			if f.Operation == nil || f.API.ID() != p.GetApi() || f.Operation.ID() != c.GetOperation() {
				return asked, fmt.Errorf("%s %s is asked %s, and Match says %+v", p.GetApi(), c.GetOperation(), c, f)
			}
		}
		if err := g.probers[variant].Ask(t.Context(), p); err != nil {
			return asked, err
		}
	}
	return asked, nil
}

func (g *gateway) lead(m proto.Message) proto.Message {
	c, ok := m.(*clusterv3.Cluster)
	if !ok || !g.led {
		return m
	}
	c = proto.Clone(c).(*clusterv3.Cluster)
	if s := c.GetTransportSocket(); s != nil {
		g.trust(s.GetTypedConfig())
	}
	for _, m := range c.GetTransportSocketMatches() {
		g.trust(m.GetTransportSocket().GetTypedConfig())
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			if b := g.backends[fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())]; b != nil {
				a.Address, a.PortSpecifier = b.Host, &corev3.SocketAddress_PortValue{PortValue: uint32(b.Port)}
			} else { // nobody there
				a.Address, a.PortSpecifier = "127.0.0.1", &corev3.SocketAddress_PortValue{PortValue: 1}
			}
		}
	}
	return c
}

// trust puts the authorities of the test's backends where the model has an example of one.
func (g *gateway) trust(config *anypb.Any) {
	var c tlsv3.UpstreamTlsContext
	if err := config.UnmarshalTo(&c); err != nil {
		g.t.Fatal(err)
	}
	ca := c.GetCommonTlsContext().GetValidationContext().GetTrustedCa()
	if ca.GetInlineString() == "" {
		return
	}
	var all string
	for _, b := range g.backends {
		all += b.CA
	}
	ca.Specifier = &corev3.DataSource_InlineString{InlineString: strings.ReplaceAll(ca.GetInlineString(), exampleCA, all)}
	if err := config.MarshalFrom(&c); err != nil {
		g.t.Fatal(err)
	}
}

// check admits, unless x-deny holds a code; it tells the backend what it was asked.
func (g *gateway) check(r *authv3.CheckRequest) *authv3.CheckResponse {
	extensions := r.GetAttributes().GetContextExtensions()
	g.mu.Lock()
	g.checks = append(g.checks, extensions)
	g.mu.Unlock()
	header := func(key, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: key, Value: value}}
	}
	if code := r.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-deny"]; code != "" {
		return &authv3.CheckResponse{
			Status:          &status.Status{Code: int32(codes.PermissionDenied)},
			DynamicMetadata: said(posternv1.MetadataCode, code, posternv1.MetadataTitle, "Refused"),
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status:  &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
				Headers: []*corev3.HeaderValueOption{header("www-authenticate", "Bearer")},
				Body:    `Not with this "token".`,
			}},
		}
	}
	return &authv3.CheckResponse{
		Status:          &status.Status{},
		DynamicMetadata: said(posternv1.MetadataClient, "c0ffee"),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
			header(posternv1.HeaderSubject, "ann"),
		}}},
	}
}

func said(pairs ...string) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return s
}

// limit counts nothing: it says what over says, and notes who was asked for which rules.
func (g *gateway) limit(name string) func(*ratelimitv3.RateLimitRequest) *ratelimitv3.RateLimitResponse {
	return func(r *ratelimitv3.RateLimitRequest) *ratelimitv3.RateLimitResponse {
		if name == "limiter" && g.hang.Load() {
			<-g.t.Context().Done()
		}
		var ids []string
		for _, d := range r.GetDescriptors() {
			ids = append(ids, d.GetEntries()[0].GetKey()+"="+d.GetEntries()[0].GetValue())
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.limited = append(g.limited, name+" "+strings.Join(ids, ","))
		if g.over.Load() {
			return &ratelimitv3.RateLimitResponse{
				OverallCode:          ratelimitv3.RateLimitResponse_OVER_LIMIT,
				ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "ratelimit", Value: `"strict";r=0;t=7`}, {Key: "retry-after", Value: "7"}},
				RawBody:              []byte("Too many."),
				DynamicMetadata:      said(posternv1.MetadataCode, "900802", posternv1.MetadataTitle, "Too Many Requests"),
			}
		}
		return &ratelimitv3.RateLimitResponse{
			OverallCode:          ratelimitv3.RateLimitResponse_OK,
			ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "ratelimit", Value: `"gold";r=1;t=1`}, {Key: "x-test-limiter", Value: name}},
		}
	}
}

// take returns what the enforcer and the limiter were asked since the last take.
func (g *gateway) take() (checks []map[string]string, limited []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	checks, limited = g.checks, g.limited
	g.checks, g.limited = nil, nil
	return checks, limited
}

// call is one request.
type call struct {
	method, path, host string
	headers            map[string]string
	body               string
}

// answer is what came of it.
type answer struct {
	status  int
	headers http.Header
	body    string
	echo    fixture.Echo // of a backend
	problem problem      // of the gateway
	code    string       // of the problem
}

// call sends one request, its path byte for byte, and reads the answer.
func (g *gateway) call(t testing.TB, listener string, c call) answer {
	t.Helper()
	if c.host == "" {
		c.host = "anywhere.test"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", c.method, c.path, c.host, len(c.body))
	for name, value := range c.headers {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	b.WriteString("\r\n" + c.body)
	res := g.send(t, listener, c.method, b.String())
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, headers: res.Header, body: string(body)}
	switch {
	case len(body) == 0:
	case res.Header.Get("Content-Type") == "application/json":
		_ = json.Unmarshal(body, &a.echo) // why: a body of another shape is no echo
	case res.Header.Get("Content-Type") == "application/problem+json":
		if err := json.Unmarshal(body, &a.problem); err != nil {
			t.Fatalf("not a problem: %v: %s", err, body)
		}
		a.code = a.problem.Code
	}
	return a
}

// send writes a request to a connection of its own listener's, kept open for the next, and reads the answer's header.
func (g *gateway) send(t testing.TB, listener, method, request string) *http.Response {
	t.Helper()
	for attempt := 0; ; attempt++ {
		c := g.connections[listener]
		if c == nil {
			conn, err := net.Dial("tcp", g.listeners[listener])
			if err != nil {
				t.Fatal(err)
			}
			c = &connection{Conn: conn, reader: bufio.NewReader(conn)}
			g.connections[listener] = c
		}
		if err := c.SetDeadline(time.Now().Add(fixture.Patience)); err != nil {
			t.Fatal(err)
		}
		_, err := io.WriteString(c, request)
		var res *http.Response
		if err == nil {
			res, err = http.ReadResponse(c.reader, &http.Request{Method: method})
		}
		if err != nil || res.Close {
			delete(g.connections, listener)
			t.Cleanup(func() { _ = c.Close() })
		}
		if err == nil {
			return res
		}
		if attempt > 0 { // the first may be a kept connection that Envoy has closed
			t.Fatal(err)
		}
	}
}

type connection struct {
	net.Conn
	reader *bufio.Reader
}

// problem is RFC 9457's.
type problem struct {
	Type, Title, Detail, Instance, Code string
	Status                              int
}

// operation and api are what the chosen route calls itself.
func (a answer) operation() string { return known(a.headers.Get("X-Test-Operation")) }
func (a answer) api() string       { return known(a.headers.Get("X-Test-Api")) }

func known(value string) string {
	if value == "-" {
		return ""
	}
	return value
}
