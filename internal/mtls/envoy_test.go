package mtls_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/enforcer"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
)

// api has one operation that nobody may call without a token: 401 is the enforcer's word, and 503 says that it was not heard.
var api = model.API{Project: "shop", Name: "pets", Version: "1.0.0", BasePath: "/pets", Operations: []model.Operation{{
	Method: "GET", Path: "/pet",
	Security: model.Security{Alternatives: []model.Alternative{{Requirements: []model.Requirement{{
		Scheme: model.Scheme{Name: "token", Kind: model.Bearer, In: "header", Key: "authorization"},
	}}}}},
	Production: model.Backend{Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: 9, Authority: "127.0.0.1"}}},
}}}

// apart is an Envoy that calls an enforcer over TCP, and what serves it on its unix socket.
type apart struct {
	url      string
	envoy    *fixture.Envoy
	log      *fixture.Log // of the enforcer's certificates
	enforcer mtls.Files
	own      mtls.Files // of the process beside Envoy
	acked    chan string
}

// startApart starts it with these certificates. The enforcer ends each connection after a moment, so that there are many
// handshakes.
func startApart(t *testing.T, files, own mtls.Files) *apart {
	t.Helper()
	fixture.EnvoyPath(t)
	a := &apart{log: &fixture.Log{}, enforcer: files, own: own, acked: make(chan string, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })

	settings := model.Settings{
		HTTP: "127.0.0.1:0", Routing: model.Routing{Segment: 1}, HeaderBytes: 60 << 10, BodyBytes: 1 << 20,
		Timeouts:    model.Timeouts{Request: 10 * time.Second, Idle: time.Minute, MaxRequest: time.Minute},
		ErrorFormat: model.ErrorsProblem, OnFailure: model.FailLocal,
	}
	delta, problems := translate.NewIndex(settings).Plan([]model.API{api}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	settings.Enforcer = model.Service{Address: serveEnforcer(t, a, delta.Policies.Put), Timeout: fixture.Patience, Role: mtls.RoleEnforcer}
	listeners, clusters := translate.Static(settings)
	caches := map[string]*xds.Cache{xds.SecretType: xds.NewCache()}
	for typeURL, resources := range map[string][]translate.Resource{
		xds.ListenerType: listeners, xds.ClusterType: append(clusters, delta.Clusters.Put...), xds.ScopeType: delta.Scopes.Put, xds.RouteType: delta.Routes.Put,
	} {
		caches[typeURL] = xds.NewCache()
		caches[typeURL].Update(encode(t, resources), nil)
	}
	identity := load(t, own, nil)
	running.Add(1)
	go func() { defer running.Done(); _ = identity.ServeSecrets(ctx, caches[xds.SecretType]) }()
	server := xds.NewServer(xds.ServerOptions{
		Find: func(_ context.Context, _ xds.Node, typeURL string) (*xds.Cache, error) { return caches[typeURL], nil },
		Notify: func(e xds.Event) {
			if e.Kind == xds.Acked && e.TypeURL == xds.SecretType {
				for _, r := range e.Resources {
					a.acked <- r.Version
				}
			}
		},
	})
	unix := fixture.StartGRPC(t, func(g *grpc.Server) { server.Register(g); server.RegisterSecrets(g) })
	bootstrap, err := envoy.Bootstrap{ID: "envoy-1", Label: xds.DefaultLabel, XDS: unix.Address, Admin: "unix:admin.sock", MaxConnections: 1000}.Render()
	if err != nil {
		t.Fatal(err)
	}
	a.envoy = fixture.StartEnvoy(t, fixture.EnvoyOptions{Bootstrap: string(bootstrap)})
	a.url = "http://" + a.envoy.Address(t, translate.HTTPListener) + "/pets/pet"
	return a
}

func encode(t *testing.T, resources []translate.Resource) []*discoveryv3.Resource {
	t.Helper()
	var encoded []*discoveryv3.Resource
	for _, r := range resources {
		e, err := xds.Encode(r.Name, r.Version, r.Message)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, e)
	}
	return encoded
}

// serveEnforcer is a real enforcer on TCP that Envoys alone may ask.
func serveEnforcer(t *testing.T, a *apart, policies []translate.Resource) string {
	t.Helper()
	service := enforcer.New(enforcer.Options{})
	for _, u := range []xds.Update{
		{TypeURL: posternv1.PolicyType, Resources: encode(t, policies), Complete: true}, {TypeURL: posternv1.IssuerType, Complete: true},
	} {
		if err := service.Apply(u); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(service.ServerOptions(),
		grpc.Creds(load(t, a.enforcer, a.log.Logger()).ServerCredentials(mtls.RoleEnvoy)),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 50 * time.Millisecond}))...)
	service.Register(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

func (a *apart) get() (status int, body string) {
	response, err := http.Get(a.url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

// ready waits until the enforcer is heard.
func (a *apart) ready(t *testing.T) {
	t.Helper()
	fixture.WaitFor(t, "the enforcer answers through Envoy", func() bool {
		status, body := a.get()
		return status == http.StatusUnauthorized && strings.Contains(body, "900902")
	})
}

// confirmed waits until Envoy has taken so many more secrets in.
func (a *apart) confirmed(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-a.acked:
		case <-time.After(fixture.Patience):
			t.Fatal("Envoy does not take the new secrets in")
		}
	}
}

// TestEnvoyCallsByMutualTLS renews the certificates of both sides, and then changes their authority, under requests.
func TestEnvoyCallsByMutualTLS(t *testing.T) {
	t.Parallel()
	ours, next := newAuthority(t), newAuthority(t)
	a := startApart(t, ours.issue(mtls.RoleEnforcer, "enforcer-1", 0), ours.issue(mtls.RoleEnvoy, "envoy-1", 0))
	a.ready(t)
	a.confirmed(t, 2)
	var requests, failed atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			requests.Add(1)
			if status, body := a.get(); status != http.StatusUnauthorized {
				failed.Add(1)
				t.Errorf("%d %s", status, body)
			}
		}
	}()

	handshakes := a.envoy.Stat(t, "cluster.postern-enforcer.ssl.handshake")
	more := func() { // connections made with what there is now
		fixture.WaitFor(t, "new connections", func() bool { return a.envoy.Stat(t, "cluster.postern-enforcer.ssl.handshake") > handshakes+2 })
		handshakes = a.envoy.Stat(t, "cluster.postern-enforcer.ssl.handshake")
	}
	more()
	ours.issue(mtls.RoleEnforcer, "enforcer-1", -time.Minute)
	ours.issue(mtls.RoleEnvoy, "envoy-1", -time.Minute)
	a.confirmed(t, 1)
	more()

	trust(t, ours.ca(), ours.ca(), next.ca()) // 1: both authorities are believed
	a.confirmed(t, 1)
	more()
	replace(t, next.issue(mtls.RoleEnforcer, "enforcer-1", 0), a.enforcer) // 2: certificates of the new one
	replace(t, next.issue(mtls.RoleEnvoy, "envoy-1", 0), a.own)
	a.confirmed(t, 1)
	more()
	trust(t, ours.ca(), next.ca()) // 3: the old one is not believed any more
	a.confirmed(t, 1)
	more()

	close(stop)
	<-done
	t.Logf("%d requests over %d connections, %d failed", requests.Load(), handshakes, failed.Load())
	if n := strings.Count(a.log.String(), "connection refused"); n > 0 {
		t.Errorf("the enforcer has refused Envoy:\n%s", a.log)
	}
}

// trust makes a file of authorities of these.
func trust(t *testing.T, file string, authorities ...string) {
	t.Helper()
	var text []byte
	for _, path := range authorities {
		one, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, one...)
	}
	all := filepath.Join(t.TempDir(), "all.pem")
	if err := os.WriteFile(all, text, 0o600); err != nil {
		t.Fatal(err)
	}
	copyFile(t, all, file)
}

func replace(t *testing.T, by, files mtls.Files) {
	t.Helper()
	copyFile(t, by.Key, files.Key)
	copyFile(t, by.Cert, files.Cert)
}

// TestEnvoyWithAWrongCertificate: the enforcer tells it nothing, and says why in its log; and an Envoy tells nothing to an
// enforcer that is none.
func TestEnvoyWithAWrongCertificate(t *testing.T) {
	t.Parallel()
	ours, foreign := newAuthority(t), newAuthority(t)
	good := ours.issue(mtls.RoleEnforcer, "enforcer-1", 0)
	for name, c := range map[string]struct {
		enforcer, envoy mtls.Files
		words           string
	}{
		"expired":    {good, ours.issue(mtls.RoleEnvoy, "old", 2*time.Hour), "its certificate expired at "},
		"wrong role": {good, ours.issue(mtls.RoleClient, "ann", 0), `its certificate is for role \"client\"`},
		"foreign": {good, func() mtls.Files {
			f := foreign.issue(mtls.RoleEnvoy, "envoy-1", 0)
			f.CA = ours.ca()
			return f
		}(), "its certificate comes from an unknown authority"},
		"an enforcer that is a ratelimiter": {
			ours.issue(mtls.RoleRateLimiter, "limiter-1", 0), ours.issue(mtls.RoleEnvoy, "envoy-2", 0), "it does not accept our certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startApart(t, c.enforcer, c.envoy)
			fixture.WaitFor(t, "the enforcer's log says why", func() bool {
				if status, body := a.get(); status == http.StatusUnauthorized {
					t.Fatal(fmt.Sprint("the enforcer has answered: ", body))
				}
				return strings.Contains(a.log.String(), c.words)
			})
			if status, body := a.get(); status != http.StatusServiceUnavailable {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}
