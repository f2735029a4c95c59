package translate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
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
	backends map[string]*fixture.Backend // by the endpoint in the model, "host:port"

	listeners map[string]string // address by listener name

	mu      sync.Mutex
	checks  []map[string]string // context extensions of each check
	limited []string            // rule ids of each call of the limiter, after the limiter's name
}

// startGateway starts it all; settings by listener name.
func startGateway(t *testing.T, settings map[string]model.Settings, backends map[string]*fixture.Backend) *gateway {
	t.Helper()
	g := &gateway{t: t, backends: backends, listeners: map[string]string{}}
	g.enforcer = fixture.StartEnforcer(t, g.check)
	g.limiter = fixture.StartLimiter(t, g.limit("limiter"))
	g.local = fixture.StartLimiter(t, g.limit("local"))
	g.xds = fixture.StartXDS(t)
	g.envoy = fixture.StartEnvoy(t, fixture.EnvoyOptions{XDS: g.xds.Address})
	var listeners []proto.Message
	clusters := map[string]proto.Message{}
	for name, s := range settings {
		s.HTTP = "127.0.0.1:0"
		s.Enforcer.Address, s.RateLimiter.Address, s.LocalLimiter.Address = g.enforcer.Address, g.limiter.Address, g.local.Address
		s.AccessLog.Address, s.AccessLogFile = "", "access.log"
		ls, cs := translate.Static(s)
		l := proto.Clone(ls[0].Message).(*listenerv3.Listener)
		l.Name = name
		listeners = append(listeners, l)
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

func (g *gateway) lead(m proto.Message) proto.Message {
	c, ok := m.(*clusterv3.Cluster)
	if !ok {
		return m
	}
	c = proto.Clone(c).(*clusterv3.Cluster)
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

// check admits, unless x-deny holds a code; it tells the backend what it was asked.
func (g *gateway) check(r *authv3.CheckRequest) *authv3.CheckResponse {
	extensions := r.GetAttributes().GetContextExtensions()
	g.mu.Lock()
	g.checks = append(g.checks, extensions)
	g.mu.Unlock()
	header := func(key, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: key, Value: value}}
	}
	said := func(pairs ...string) *structpb.Struct {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for i := 0; i < len(pairs); i += 2 {
			s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
		}
		return s
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
			header(posternv1.HeaderSubject, "ann"), header("x-test-api", extensions[posternv1.ContextAPI]),
			header("x-test-operation", extensions[posternv1.ContextOperation]), header("x-test-policy", extensions[posternv1.ContextPolicy]),
		}}},
	}
}

// limit counts nothing: a rule whose name is asked for in x-none… is over. It notes who was asked for which rules.
func (g *gateway) limit(name string) func(*ratelimitv3.RateLimitRequest) *ratelimitv3.RateLimitResponse {
	return func(r *ratelimitv3.RateLimitRequest) *ratelimitv3.RateLimitResponse {
		var ids []string
		for _, d := range r.GetDescriptors() {
			ids = append(ids, d.GetEntries()[0].GetKey()+"="+d.GetEntries()[0].GetValue())
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.limited = append(g.limited, name+" "+strings.Join(ids, ","))
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
	code    string       // of a problem
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (g *gateway) call(t testing.TB, listener string, c call) answer {
	t.Helper()
	req, err := http.NewRequest(c.method, "http://"+g.listeners[listener]+"/", strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(c.path, "?")
	req.URL.Opaque, req.URL.RawQuery = "//"+req.URL.Host+path, query // why: sent byte for byte
	req.Host = c.host
	if c.host == "" {
		req.Host = "anywhere.test"
	}
	for k, v := range c.headers {
		req.Header.Set(k, v)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, headers: res.Header, body: string(body)}
	switch res.Header.Get("Content-Type") {
	case "application/json":
		_ = json.Unmarshal(body, &a.echo)
	case "application/problem+json":
		var p struct{ Code string }
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatalf("not a problem: %v: %s", err, body)
		}
		a.code = p.Code
	}
	return a
}

// operation is what the route told the enforcer it is.
func (a answer) operation() string { return a.echo.Headers.Get("X-Test-Operation") }

func (a answer) allow() string {
	methods := strings.Split(a.headers.Get("Allow"), ", ")
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
