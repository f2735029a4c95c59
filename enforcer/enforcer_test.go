package enforcer

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/idp"
)

func unmarshal(data []byte, r *Request) error {
	return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, r)
}

// resource wraps m as xDS does.
func resource(t testing.TB, name string, m proto.Message) *discoveryv3.Resource {
	t.Helper()
	wrapped, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: name, Resource: wrapped}
}

func update(t testing.TB, messages ...proto.Message) xds.Update {
	t.Helper()
	u := xds.Update{Complete: true}
	for _, m := range messages {
		name := posternv1.ContentHash(m)
		if issuer, ok := m.(*posternv1.Issuer); ok {
			name = issuer.GetIssuer()
		}
		u.Resources = append(u.Resources, resource(t, name, m))
		u.TypeURL = u.Resources[0].GetResource().GetTypeUrl()
	}
	return u
}

func apply(t testing.TB, s *Server, messages ...proto.Message) {
	t.Helper()
	if err := s.Apply(update(t, messages...)); err != nil {
		t.Fatal(err)
	}
}

// pets is a policy whose GET asks for a token with the scope read.
func pets(api string) *posternv1.Policy {
	bearer := &posternv1.Requirement_Bearer{Bearer: &posternv1.Bearer{Place: posternv1.Bearer_PLACE_HEADER, Key: "authorization"}}
	return &posternv1.Policy{Api: api, Requires: []string{posternv1.RequiresBearer}, Operations: []*posternv1.OperationPolicy{{
		Operation:       "GET /pets",
		Alternatives:    []*posternv1.Alternative{{Requirements: []*posternv1.Requirement{{Scheme: "oauth", Kind: bearer, Scopes: []string{"read"}}}}},
		IdentityHeaders: map[string]string{"email": "x-user-mail", "name": "x-user-name"},
	}}}
}

func issuer(k idp.Key) *posternv1.Issuer {
	return &posternv1.Issuer{Issuer: "https://issuer", Keys: &posternv1.Issuer_Jwks{Jwks: idp.Set(k)}}
}

func token(k idp.Key, more idp.Claims) string {
	c := idp.Claims{"iss": "https://issuer", "sub": "ann", "azp": "shop", "scope": "read write", "email": "ann@example.com", "exp": time.Now().Unix() + 600}
	for name, value := range more {
		c[name] = value
	}
	return k.Sign(c, nil)
}

// listen serves on a unix socket and returns its path.
func listen(t testing.TB, options []grpc.ServerOption, register func(*grpc.Server)) string {
	t.Helper()
	socket := filepath.Join(fixture.TempDir(t), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return socket
}

// serve returns a stock client's connection to a server on a unix socket.
func serve(t testing.TB, options []grpc.ServerOption, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	socket := listen(t, options, register)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestOverTheWire is a life of an enforcer as a stock client of Envoy's service sees it.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	var log fixture.Log
	registry := prometheus.NewRegistry()
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry})
	conn := serve(t, s.ServerOptions(), s.Register)
	client, health := authv3.NewAuthorizationClient(conn), healthv1.NewHealthClient(conn)
	k := idp.NewKey("k", "ES256")
	p := pets("pets/1.0.0")
	name := posternv1.ContentHash(p)
	good := token(k, nil)

	check := func(headers ...string) *authv3.CheckResponse {
		t.Helper()
		m := map[string]string{}
		for i := 0; i < len(headers); i += 2 {
			m[headers[i]] = headers[i+1]
		}
		response, err := client.Check(t.Context(), checkRequest(name, "GET /pets", "/pets", m))
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	wantDenied := func(r *authv3.CheckResponse, status int32, code string) {
		t.Helper()
		metadata := r.GetDynamicMetadata().GetFields()
		if got := int32(r.GetDeniedResponse().GetStatus().GetCode()); got != status || metadata["code"].GetStringValue() != code || r.GetStatus().GetCode() == 0 {
			t.Errorf("status %d, code %v, want %d, %s", got, metadata["code"], status, code)
		}
	}
	wantHealth := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		r, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || r.GetStatus() != want {
			t.Errorf("health %v, %v, want %v", r.GetStatus(), err, want)
		}
	}

	wantHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	wantDenied(check("authorization", "Bearer "+good), 503, "900900") // no policy yet
	apply(t, s, p)
	wantDenied(check("authorization", "Bearer "+good), 503, "900900") // no issuers yet
	if s.Ready() {
		t.Error("ready without issuers")
	}
	apply(t, s, issuer(k))
	if !s.Ready() {
		t.Error("not ready with everything")
	}
	wantHealth(healthv1.HealthCheckResponse_SERVING)

	for range 2 {
		ok := check("authorization", "Bearer "+good).GetOkResponse()
		told := map[string]string{}
		for _, h := range ok.GetHeaders() {
			told[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		if told["x-postern-subject"] != "ann" || told["x-postern-client"] != "shop" || told["x-user-mail"] != "ann@example.com" {
			t.Errorf("the backend is told %v", told)
		}
		if got := strings.Join(ok.GetHeadersToRemove(), " "); got != "x-user-name authorization" {
			t.Errorf("removed: %s", got)
		}
	}
	wantDenied(check(), 401, "900902")
	wantDenied(check("authorization", "Bearer "+good+"x"), 401, "900901")
	wantDenied(check("authorization", "Bearer "+token(k, idp.Claims{"exp": 1})), 401, "900903")
	wantDenied(check("authorization", "Bearer "+token(k, idp.Claims{"scope": "write"})), 403, "900910")

	for reason, n := range map[string]float64{"allowed": 2, "missing": 1, "invalid": 1, "expired": 1, "scope": 1} {
		if got := metric(t, registry, "postern_decisions_total", "pets/1.0.0", "oauth", reason); got != n {
			t.Errorf("%v decisions were %s, want %v", got, reason, n)
		}
	}
	if err := s.Apply(xds.Update{TypeURL: posternv1.PolicyType, Removed: []string{name}}); err != nil {
		t.Fatal(err)
	}
	wantDenied(check("authorization", "Bearer "+good), 503, "900900")
	if n := metric(t, registry, "postern_decisions_total", "pets/1.0.0"); n != 0 {
		t.Error("an API that is gone still has series")
	}
	if strings.Contains(log.String(), good[:20]) {
		t.Error("a token was logged")
	}
}

// TestWithoutServerOptions: a server made without ServerOptions fails, it does not pass.
func TestWithoutServerOptions(t *testing.T) {
	t.Parallel()
	stock := encoding.GetCodecV2(protocodec.Name)
	_, err := handleCheck(New(Options{}), t.Context(), func(v any) error {
		return stock.Unmarshal(mem.BufferSlice{mem.SliceBuffer(nil)}, v)
	}, nil)
	if err == nil {
		t.Error("no error")
	}
}

func TestInterceptor(t *testing.T) {
	t.Parallel()
	called := false
	intercept := func(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		called = info.FullMethod == checkMethod
		return handle(ctx, r)
	}
	answer, err := handleCheck(New(Options{}), t.Context(), func(v any) error { return unmarshal(nil, v.(*Request)) }, intercept)
	if err != nil || !called {
		t.Fatalf("called %v, error %v", called, err)
	}
	m := new(authv3.CheckResponse)
	if err := proto.Unmarshal(*answer.(*Response), m); err != nil || m.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("%v, %v", m, err)
	}
}

// TestApplyRefuses: a bad update changes nothing and says what is wrong.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	good := pets("pets/1.0.0")
	newer := pets("new/1.0.0")
	newer.Requires = append(newer.Requires, "dpop")
	misnamed := update(t, good)
	misnamed.Resources[0].Name = strings.Repeat("0", 64)
	garbage := update(t, good)
	garbage.Resources[0].Resource = &anypb.Any{TypeUrl: posternv1.PolicyType, Value: []byte{0xff}}
	strange := issuer(k)
	strange.Requires = []string{"introspection"}
	foreign := update(t, issuer(k))
	foreign.Resources[0].Name = "https://else"
	badIssuer := update(t, issuer(k))
	badIssuer.Resources[0].Resource.Value = []byte{0xff}
	for name, test := range map[string]struct {
		update xds.Update
		says   string
	}{
		"a word":            {update(t, good, newer), `"dpop"`},
		"a name":            {misnamed, "hash"},
		"no policy":         {garbage, "not a policy"},
		"an issuer's word":  {update(t, strange), `"introspection"`},
		"an issuer's name":  {foreign, "https://else"},
		"no issuer":         {badIssuer, "not an issuer"},
		"another type":      {xds.Update{TypeURL: posternv1.LimitsType, Complete: true}, "of no use"},
		"a type of nothing": {xds.Update{Complete: true}, "of no use"},
	} {
		s := New(Options{})
		err := s.Apply(test.update)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, test.says)
		}
		if s.policies.Len() != 0 || len(s.complete) != 0 {
			t.Errorf("%s: something was applied", name)
		}
	}
}

// TestEmptyWorld: no policies and no issuers is a full set as well.
func TestEmptyWorld(t *testing.T) {
	t.Parallel()
	var log fixture.Log
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, kind := range Types {
		if err := s.Apply(xds.Update{TypeURL: kind, Complete: true}); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Ready() || strings.Count(log.String(), "no issuer is configured") != 1 {
		t.Errorf("ready %v, log:\n%s", s.Ready(), log.String())
	}
}

// TestSharedAPI: two revisions of an API share their series, which go with the last.
func TestSharedAPI(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := New(Options{Registerer: registry})
	old, young := pets("pets/1.0.0"), pets("pets/1.0.0")
	young.Operations[0].ForwardCredentials = true
	apply(t, s, old, young)
	ask := func(p *posternv1.Policy) {
		var r Request
		if err := unmarshal(encode(t, checkRequest(posternv1.ContentHash(p), "GET /pets", "/", nil)), &r); err != nil {
			t.Fatal(err)
		}
		s.Check(t.Context(), &r)
	}
	ask(old)
	ask(young)
	remove := func(p *posternv1.Policy) {
		if err := s.Apply(xds.Update{TypeURL: posternv1.PolicyType, Removed: []string{posternv1.ContentHash(p), "unknown"}}); err != nil {
			t.Fatal(err)
		}
	}
	remove(old)
	if n := metric(t, registry, "postern_decisions_total", "pets/1.0.0", "missing"); n != 2 {
		t.Errorf("%v decisions, want 2", n)
	}
	remove(young)
	if n := metric(t, registry, "postern_decisions_total", "pets/1.0.0"); n != 0 {
		t.Errorf("%v decisions of an API that is gone", n)
	}
}

// TestPanic: a fault while one request is decided refuses that request.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log fixture.Log
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.policies = nil
	m := new(authv3.CheckResponse)
	if err := proto.Unmarshal(*s.Check(t.Context(), new(Request)), m); err != nil || m.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("%v, %v", m, err)
	}
	if !strings.Contains(log.String(), "a check failed") {
		t.Error("the fault was not logged")
	}
}

// TestManyPolicies: one API's change costs the same among 10,000 others, and readers are never in its way.
func TestManyPolicies(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	var all []proto.Message
	for i := range 2000 {
		p := pets("pets/1.0.0")
		p.Api = strings.Repeat("a", i%50+1) + "/" + string(rune('a'+i%26)) + strings.Repeat("b", i/26)
		all = append(all, p)
	}
	apply(t, s, all...)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, m := range all {
				if _, ok := s.policies.Find(posternv1.ContentHash(m), "GET /pets"); !ok {
					t.Error("a policy is not found")
					return
				}
			}
		})
	}
	for i := range 100 {
		p := pets("changing/1")
		p.Operations[0].Operation = strings.Repeat("x", i)
		apply(t, s, p)
	}
	wg.Wait()
	if s.policies.Len() != 2100 {
		t.Errorf("%d policies", s.policies.Len())
	}
}
