package relay_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/toolkit/certs"
)

// authority issues certificates.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t, t.TempDir()}
	if _, err := certs.Init(a.dir, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue is a certificate made so long ago, good for an hour.
func (a authority) issue(role, name string, ago time.Duration, labels ...string) *mtls.Set {
	a.t.Helper()
	dir := a.t.TempDir() // why: a leaf's file has its name, and several here have the same
	if err := os.CopyFS(dir, os.DirFS(a.dir)); err != nil {
		a.t.Fatal(err)
	}
	leaf := certs.Leaf{Identity: mtls.Identity{Role: role, Name: name, Labels: labels}, TTL: time.Hour}
	w, err := certs.Issue(dir, leaf, certs.Replace, time.Now().Add(-ago))
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := mtls.Load(mtls.Files{Cert: w.Cert, Key: w.Key, CA: w.CA}, mtls.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// TestMutualTLS: a gateway with the right certificate is served; with another it gets nothing, and its log says why.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ours, foreign := newAuthority(t), newAuthority(t)
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	start := func(t *testing.T, set *mtls.Set) *adapter {
		t.Helper()
		a := newAdapter(t, c)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a.address = l.Addr().String()
		l.Close()
		a.options = []grpc.ServerOption{grpc.Creds(set.ServerCredentials(mtls.RoleEnvoy))}
		a.allow = set.Authorize
		return a.start()
	}
	for name, test := range map[string]struct{ adapter, envoy *mtls.Set }{
		"":                                  {ours.issue(mtls.RoleAdapter, "one", 0), ours.issue(mtls.RoleEnvoy, "gw", 0, "default")},
		"bad certificate":                   {ours.issue(mtls.RoleAdapter, "two", 0), ours.issue(mtls.RoleEnforcer, "gw", 0)},
		"expired":                           {ours.issue(mtls.RoleAdapter, "three", 0), ours.issue(mtls.RoleEnvoy, "late", 2*time.Hour)},
		"unknown authority":                 {ours.issue(mtls.RoleAdapter, "four", 0), foreign.issue(mtls.RoleEnvoy, "gw", 0)},
		"its certificate is for role":       {ours.issue(mtls.RoleRateLimiter, "five", 0), ours.issue(mtls.RoleEnvoy, "gw", 0)},
		"is not what its certificate names": {ours.issue(mtls.RoleAdapter, "six", 0), ours.issue(mtls.RoleEnvoy, "other", 0)},
		"its certificate is for [\\\"blue":  {ours.issue(mtls.RoleAdapter, "seven", 0), ours.issue(mtls.RoleEnvoy, "gw", 0, "blue")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := start(t, test.adapter)
			r := newRig(t, "", a.address).with(relay.Options{
				Addresses: []string{a.address}, Credentials: test.envoy.ClientCredentials(mtls.RoleAdapter),
			}).serve()
			if name == "" {
				r.connect(nil).Wait("it is served", has(xds.ClusterType, "a@1"))
				return
			}
			if err := ask(t, r.socket); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			r.log.Wait(t, name)
			if len(a.count()) > 0 {
				t.Errorf("it was sent %v", a.count())
			}
		})
	}
}

// TestOwnSecrets: what of Envoy asks for secrets at its socket gets this process's, whatever the adapter does.
func TestOwnSecrets(t *testing.T) {
	t.Parallel()
	cache := xds.NewCache()
	ctx, cancel := context.WithTimeout(t.Context(), fixture.Patience)
	defer cancel()
	followed := make(chan error, 1)
	set := newAuthority(t).issue(mtls.RoleEnvoy, "gw", 0)
	go func() { followed <- set.ServeSecrets(ctx, cache) }()
	r := newRig(t, "", "unix:/nobody").with(relay.Options{Addresses: []string{"unix:/nobody"}, Secrets: cache}).serve()
	conn, err := grpc.NewClient(r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := secretv3.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fixture.WaitFor(t, "the secrets to be there", func() bool { return cache.Len() == 2 })
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: xds.Node{ID: "gw"}.Proto(), TypeUrl: xds.SecretType, ResourceNamesSubscribe: []string{posternv1.IdentitySecret},
	}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil || len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != posternv1.IdentitySecret {
		t.Errorf("got %v, %v", m, err)
	}
	cancel()
	if err := <-followed; err != nil {
		t.Error(err)
	}
}
