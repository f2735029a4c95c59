// Package enforcer is the ext_authz service: it answers Envoy's question whether a request may pass, by the policies and
// issuers it was given over xDS. It must not import the adapter or the ratelimiter.
package enforcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/enforcer/policy"
	"github.com/postern-gateway/postern/internal/jwt"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Types are the resources the enforcer lives by, for xds.ClientOptions.
var Types = []string{posternv1.PolicyType, posternv1.IssuerType}

// Options of a Server. The zero value works.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: nothing is registered
	Client     *http.Client          // fetches the keys of issuers; nil: a plain one
	Now        func() time.Time      // the clock; nil: the real one
}

// Server answers checks. It refuses everything until Apply has told it what to admit.
type Server struct {
	log      *slog.Logger
	tokens   *jwt.Verifier
	policies *policy.Table
	metrics  *metrics
	health   *health.Server

	applying sync.Mutex
	complete map[string]bool // types whose first full set was received
}

// New returns a Server that knows no policy and no issuer yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log:      o.Log,
		tokens:   jwt.NewVerifier(jwt.Options{Log: o.Log, Registerer: o.Registerer, Client: o.Client, Now: o.Now}),
		policies: policy.NewTable(),
		metrics:  newMetrics(o.Registerer),
		health:   health.NewServer(),
		complete: make(map[string]bool, len(Types)),
	}
	s.serveHealth(false)
	return s
}

// Register offers the Authorization service, and gRPC health unless the server has it already.
func (s *Server) Register(server *grpc.Server) {
	server.RegisterService(&service, s)
	if _, there := server.GetServiceInfo()[healthv1.Health_ServiceDesc.ServiceName]; !there {
		healthv1.RegisterHealthServer(server, s.health)
	}
}

// ServerOptions are those the grpc.Server given to Register must be made with.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		// Envoy pings every few seconds; the default would end its connection for that.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// Run keeps the keys of issuers fresh until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	defer s.health.Shutdown()
	return s.tokens.Run(ctx)
}

// Ready says whether the first full set of policies and issuers was received.
func (s *Server) Ready() bool {
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.ready()
}

func (s *Server) ready() bool {
	for _, t := range Types {
		if !s.complete[t] {
			return false
		}
	}
	return true
}

func (s *Server) serveHealth(ready bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(service.ServiceName, status)
}

// Apply takes in one update. An error refuses it as a whole: nothing of it was applied.
func (s *Server) Apply(u xds.Update) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	var err error
	switch u.TypeURL {
	case posternv1.PolicyType:
		err = s.applyPolicies(u)
	case posternv1.IssuerType:
		err = s.applyIssuers(u)
	default:
		err = fmt.Errorf("resources of type %s are of no use to an enforcer", u.TypeURL)
	}
	if err == nil && u.Complete && !s.complete[u.TypeURL] {
		s.complete[u.TypeURL] = true
		s.serveHealth(s.ready())
	}
	return err
}

// applyPolicies costs what the update holds, not what the table does.
func (s *Server) applyPolicies(u xds.Update) error {
	compiled := make(map[string]*policy.Policy, len(u.Resources))
	var errs []error
	for _, r := range u.Resources {
		if s.policies.Has(r.GetName()) {
			continue // a name is its content
		}
		m, err := policy.Decode(r.GetResource().GetValue())
		if err == nil {
			compiled[r.GetName()], err = policy.Compile(r.GetName(), r.GetResource().GetValue(), m, s.tokens)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for name, p := range compiled {
		s.metrics.serve(p)
		s.policies.Add(name, p)
	}
	for _, name := range u.Removed {
		if p, found := s.policies.Remove(name); found {
			s.metrics.forget(p)
		}
	}
	return nil
}

func (s *Server) applyIssuers(u xds.Update) error {
	issuers := make([]*posternv1.Issuer, 0, len(u.Resources))
	var errs []error
	for _, r := range u.Resources {
		m := new(posternv1.Issuer)
		err := proto.Unmarshal(r.GetResource().GetValue(), m)
		switch {
		case err != nil:
			err = fmt.Errorf("issuer %s: not an issuer: %w", r.GetName(), err)
		case m.GetIssuer() != r.GetName():
			err = fmt.Errorf("issuer %s: its name is not its issuer %q", r.GetName(), m.GetIssuer())
		}
		errs = append(errs, err)
		issuers = append(issuers, m)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.tokens.Apply(issuers, u.Removed, u.Complete)
}
