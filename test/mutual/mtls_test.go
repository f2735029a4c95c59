package mutual

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestRenewal replaces every certificate under requests, and then the adapter, to which all come back with the new ones.
func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
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
			if got := s.get("/pets/closed"); got != http.StatusUnauthorized {
				failed.Add(1)
				t.Errorf("status %d", got)
			}
		}
	}()
	s.postern("certs", "server", "adapter", "--role", "adapter", "--renew")
	s.postern("certs", "server", "enforcer", "--role", "enforcer", "--renew")
	s.postern("certs", "server", "ratelimiter", "--role", "ratelimiter", "--renew")
	s.postern("certs", "client", "edge-1", "--role", "envoy", "--label", "default", "--renew")
	s.says("envoy", "certificate reloaded")
	s.stop("adapter")
	s.run("adapter", "adapter")
	for _, name := range []string{"enforcer", "ratelimiter", "envoy"} {
		fixture.WaitFor(t, name+" to come back", func() bool {
			return strings.Count(s.parts[name].log.String(), "following a") > 1
		})
	}
	s.says("enforcer", "certificate reloaded")
	close(stop)
	<-done
	t.Logf("%d requests, %d failed", requests.Load(), failed.Load())
}

// asks opens a stream to the adapter as a node and returns what becomes of its request for all of a type.
func (s *system) asks(creds credentials.TransportCredentials, n xds.Node, typeURL string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.address["xds"], grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), fixture.Patience)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: n.Proto(), TypeUrl: typeURL, ResourceNamesSubscribe: []string{xds.Wildcard}}); err != nil {
		_, err = stream.Recv()
		return nil, err
	}
	return stream.Recv()
}

// TestWhoMayBeWhat: a certificate says which node may be what, and which resources it is told.
func TestWhoMayBeWhat(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	s.postern("certs", "init", "--dir", "foreign")
	envoy := func(labels ...string) mtls.Identity {
		return mtls.Identity{Role: mtls.RoleEnvoy, Name: "edge-9", Labels: labels}
	}
	node := func(id, label, role string) xds.Node { return xds.Node{ID: id, Label: label, Role: role} }
	edge := node("edge-9", "default", xds.RoleEnvoy)
	for _, c := range []struct {
		name  string
		dir   string
		who   mtls.Identity
		ago   time.Duration
		node  xds.Node
		code  codes.Code
		words string // in the adapter's log
	}{
		{"good", "certs", envoy("default"), 0, edge, codes.OK, ""},
		{"a part of it", "certs", envoy(), 0, node("edge-9/ratelimiter-local", "default", xds.RoleRateLimiter), codes.OK, ""},
		{"expired", "certs", envoy(), 2 * time.Hour, edge, codes.Unavailable, "its certificate expired at "},
		{"foreign", "foreign", envoy(), 0, edge, codes.Unavailable, "its certificate comes from an unknown authority"},
		{"a client", "certs", mtls.Identity{Role: mtls.RoleClient, Name: "ann"}, 0, edge, codes.Unavailable, `its certificate is for role \"client\"`},
		{"another's id", "certs", envoy(), 0, node("edge-1", "default", xds.RoleEnvoy), codes.PermissionDenied, `node \"edge-1\" is not what its certificate names: its id must be \"edge-9\"`},
		{"another label", "certs", envoy("blue"), 0, edge, codes.PermissionDenied, `says its label is \"default\", and its certificate is for [\"blue\"]`},
		{"another role", "certs", envoy(), 0, node("edge-9", "default", xds.RoleEnforcer), codes.PermissionDenied, `says it is role \"enforcer\", and its certificate is for role \"envoy\"`},
	} {
		set := s.certificate(c.dir, c.who, c.ago)
		typeURL := xds.ClusterType
		if c.node.Role == xds.RoleRateLimiter {
			typeURL = posternv1.LimitsType
		}
		response, err := s.asks(set.ClientCredentials(mtls.RoleAdapter), c.node, typeURL)
		if status.Code(err) != c.code {
			t.Errorf("%s: got %v, %v", c.name, response, err)
		}
		if c.words != "" {
			s.says("adapter", c.words)
		}
	}
	for _, service := range []string{mtls.RoleEnforcer, mtls.RoleRateLimiter} {
		for label, want := range map[string]codes.Code{"partner": codes.Unavailable, "default": codes.OK} {
			creds := s.certificate("certs", envoy(label), 0).ClientCredentials(service)
			if err := healthy(t, s.address[service], creds); status.Code(err) != want {
				t.Errorf("an Envoy of label %s at the %s: %v", label, service, err)
			}
		}
		s.says(service, "is for the labels")
	}
	response, err := s.asks(s.certificate("certs", envoy(), 0).ClientCredentials(mtls.RoleAdapter), edge, posternv1.IssuerType)
	if err != nil || len(response.Resources) > 0 {
		t.Errorf("an Envoy was told of issuers: %v, %v", response, err)
	}
}

// healthy asks a service how it is.
func healthy(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), fixture.Patience)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// TestGatewayWithAForeignCertificate gets nothing: it does not serve, and the adapter's log says why.
func TestGatewayWithAForeignCertificate(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.postern("certs", "set", "--dir", "foreign", "envoy=edge-1")
	s.write("stranger.yaml", strings.NewReplacer("certs/edge-1", "foreign/edge-1", "data/envoy", "data/stranger").Replace(read(t, s.folder, "envoy.yaml")))
	s.run("adapter", "adapter")
	s.run("envoy", "stranger")
	s.says("adapter", "connection refused")
	s.says("adapter", "its certificate comes from an unknown authority")
	if got := s.get("/pets/open"); got != 0 {
		t.Errorf("it serves: %d", got)
	}
	if log := s.parts["adapter"].log.String(); strings.Contains(log, "gateway connected") {
		t.Error("the adapter knows it")
	}
}
