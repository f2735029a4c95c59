// Package rest is the management API (design §3.5): it maps HTTP to the adapter's calls and back, says who may make them, and
// keeps an audit log of those that change something. What it speaks is written down in openapi.yaml, of which the types in
// package api are made. It must not import the enforcer, the ratelimiter, or anything of cmd and toolkit.
package rest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/jwt"
	"github.com/postern-gateway/postern/internal/mtls"
)

// Gateway is what the calls are about; *adapter.Adapter is one. Its errors are *adapter.PushError, or what Push.Allowed
// has returned.
type Gateway interface {
	Push(ctx context.Context, p adapter.Push) (adapter.Outcome, error)
	// Begin is Push that goes on in the background: the Rollout of its Outcome tells what becomes of it. Where nothing is to
	// be done there is none.
	Begin(ctx context.Context, p adapter.Push) (adapter.Outcome, error)
	Rollout(ctx context.Context, id string) (adapter.RolloutInfo, error)
	// Projects are those after a name that are visible, sorted, of at most limit names.
	Projects(ctx context.Context, after string, limit int, visible func(labels []string) bool) (projects []adapter.ProjectInfo, more bool, err error)
	Project(ctx context.Context, name string) (adapter.ProjectInfo, error)
	// Archive is that of a revision, also of a project that is undeployed now; 0 is the one that is served.
	Archive(ctx context.Context, name string, revision uint64) ([]byte, adapter.RevisionInfo, error)
	// Revisions are the newest first, also of a project that is undeployed now.
	Revisions(ctx context.Context, name string) ([]adapter.RevisionInfo, error)
	Diff(ctx context.Context, p adapter.Push) (diff.Report, error)
	// APIs are those after an id that are wanted, by id, of at most limit ids.
	APIs(ctx context.Context, after string, limit int, wanted func(adapter.APIStatus) bool) (apis []adapter.APIStatus, more bool, err error)
	API(id string) []adapter.APIStatus
	APIsOf(project string) []adapter.APIStatus
	Gateways() []publish.Gateway
	Labels() []adapter.LabelStatus
	CrowdedScopes() []adapter.Crowded
	// Served are the APIs that gateways of a label serve.
	Served(label string) []model.API
}

// register knows tokens and client certificates; *access.Register is one.
type register interface {
	Token(token string) (access.Caller, bool)
	Certificate(i mtls.Identity) (access.Caller, bool)
}

// verifier judges JWTs; *jwt.Verifier is one.
type verifier interface {
	Verify(ctx context.Context, token []byte) jwt.Result
}

// Options of a Server.
type Options struct {
	Gateway  Gateway
	Settings model.Settings // those that requests are explained with
	Label    string         // the only one that the adapter serves; "" is all
	Version  string         // of this build
	// Backup writes everything that is stored.
	Backup func(ctx context.Context, w io.Writer) error

	Register register
	Issuers  verifier // of the JWTs that carry roles; nil: none are taken
	Audit    *audit.Log

	Limits     Limits // zero values are the defaults
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Limits bound what callers can make the adapter do at a time.
type Limits struct {
	Archive int64 // bytes of one; 64 MiB
	JSON    int64 // bytes of any other body; 1 MiB
	Bodies  int64 // bytes of all bodies that are being read or pushed; 256 MiB
	Pushes  int64 // that are under way; 32

	Calls    Rate // of one caller; 500 a second, 1,000 at once
	Failures Rate // wrong or no credentials from one address; one in 2 s, 20 at once

	Body   time.Duration // within which a body must have arrived; 60 s
	Answer time.Duration // for which a caller may take nothing of an answer; 30 s
}

func (l *Limits) fill() {
	for into, fallback := range map[*int64]int64{&l.Archive: 64 << 20, &l.JSON: 1 << 20, &l.Bodies: 256 << 20, &l.Pushes: 32} {
		if *into == 0 {
			*into = fallback
		}
	}
	if l.Calls == (Rate{}) {
		l.Calls = Rate{PerSecond: 500, Burst: 1000}
	}
	if l.Failures == (Rate{}) {
		l.Failures = Rate{PerSecond: 0.5, Burst: 20}
	}
	if l.Body == 0 {
		l.Body = time.Minute
	}
	if l.Answer == 0 {
		l.Answer = 30 * time.Second
	}
}

// Server answers the management API, at any address below /api/.
type Server struct {
	Options
	bodies, pushes  *semaphore.Weighted
	calls, failures *limiter
	// what one caller may have of these, who is no admin: half
	bodiesOf, pushesOf *shares
	floods, denials    *limiter // lines of the audit log about callers who ask too often, or for what they may not do
	answered           *prometheus.CounterVec
}

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Limits.fill()
	s := &Server{
		Options: o,
		bodies:  semaphore.NewWeighted(o.Limits.Bodies), pushes: semaphore.NewWeighted(o.Limits.Pushes),
		bodiesOf: newShares(max(o.Limits.Bodies/2, o.Limits.Archive)), pushesOf: newShares(max(o.Limits.Pushes/2, 1)),
		calls: newLimiter(o.Limits.Calls), failures: newLimiter(o.Limits.Failures),
		floods: newLimiter(Rate{PerSecond: 1. / 60, Burst: 1}), denials: newLimiter(Rate{PerSecond: 0.5, Burst: 20}),
		answered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_management_requests_total",
			Help: "Calls of the management API, by operation (none: it was refused before) and status.",
		}, []string{"operation", "status"}),
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(s.answered); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	defer c.end()
	defer c.survive()
	c.awaitBody()
	if err := c.serve(legacy(r.URL.Path)); err != nil {
		c.fail(err)
	}
}

// serve is every call, from top to bottom.
func (c *call) serve(legacy bool) error {
	base, routes := basePath, allRoutes
	if legacy {
		base, routes = legacyBase, legacyRoutes
	}
	if err := c.admit(legacy); err != nil { // who calls
		return err
	}
	if err := c.withinRate(); err != nil { // not too often
		return err
	}
	path, _ := strings.CutPrefix(c.r.URL.EscapedPath(), base)
	route, err := c.find(routes, path) // what for
	if err != nil || route.handle == nil {
		return err
	}
	c.route = route
	if err := c.may(route.role); err != nil { // somewhere at least; the call itself looks where
		return err
	}
	if err := c.readQuery(route.query); err != nil {
		return err
	}
	return route.handle(c)
}

var _ Gateway = (*adapter.Adapter)(nil)
