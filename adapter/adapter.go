// Package adapter is the control plane: it compiles the projects it is given, translates what changed,
// publishes it over delta ADS, and says what became of it. One goroutine owns the state (loop.go); this
// package ties project, translate, publish and source together and must not import the enforcer or the
// ratelimiter.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Options of an Adapter.
type Options struct {
	Settings model.Settings
	// AutoRouting decides Settings.Routing.Flat once, at the start, by DecideRouting.
	AutoRouting bool

	// Listen is where gateways connect (delta ADS). The Adapter closes it.
	Listen net.Listener
	// GRPC are further options of that server: credentials.
	GRPC []grpc.ServerOption
	// Authorize is asked about each gateway that connects (xds.ServerOptions); nil: everybody may.
	Authorize func(context.Context, xds.Node) error

	Folders     []string // project folders and archives, watched
	Label       string   // of the projects and gateways served; "" is xds.DefaultLabel
	Environment string   // environments/NAME.yaml; "" is none

	// Lookup, OwnAddresses and AllowBackends are what projects are compiled with (project.Options).
	Lookup        func(name string) (string, bool)
	OwnAddresses  []string
	AllowBackends []string

	Issuers    []*posternv1.Issuer // SetIssuers replaces them
	Log        *slog.Logger        // nil: slog.Default()
	Registerer prometheus.Registerer

	// Watch and Publish tune the parts; their zero values are the defaults. Paths, label, log, and
	// registerer are set by the Adapter.
	Watch   source.Options
	Publish publish.Options
}

// Adapter is the control plane of one label.
type Adapter struct {
	options   Options
	log       *slog.Logger
	publisher *publish.Publisher
	board     board
	started   atomic.Bool // the first state is published
}

// New makes an Adapter; Run starts it.
func New(o Options) (*Adapter, error) {
	if o.Listen == nil {
		return nil, errors.New("adapter: no listener for gateways")
	}
	if o.Label == "" {
		o.Label = xds.DefaultLabel
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Publish.Label, o.Publish.Registerer = o.Label, o.Registerer
	o.Watch.Paths, o.Watch.Log = o.Folders, o.Log
	publisher, err := publish.New(o.Publish)
	if err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	a := &Adapter{options: o, log: o.Log, publisher: publisher}
	return a, a.SetIssuers(o.Issuers)
}

// SetIssuers replaces the issuers of tokens. Their names must differ. It may be called at any time.
func (a *Adapter) SetIssuers(issuers []*posternv1.Issuer) error {
	resources := make([]translate.Resource, len(issuers))
	seen := map[string]bool{}
	for i, issuer := range issuers {
		if seen[issuer.Issuer] {
			return fmt.Errorf("issuer %q is configured twice", issuer.Issuer)
		}
		seen[issuer.Issuer] = true
		resources[i] = translate.Resource{Name: issuer.Issuer, Version: posternv1.ContentHash(issuer), Message: issuer}
	}
	return a.publisher.Replace(posternv1.IssuerType, resources)
}

// Run serves until ctx is done. Gateways are answered once everything there is has been compiled: one
// that was connected before must not be told that its APIs are gone.
func (a *Adapter) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := source.Watch(ctx, a.options.Watch)
	defer func() {
		cancel()
		for range changes { // until it has ended
		}
	}()
	l, err := a.start(ctx)
	if err != nil {
		_ = a.options.Listen.Close()
		return err
	}

	options := append(xds.GRPCOptions(), a.options.GRPC...)
	server := grpc.NewServer(options...)
	xds.NewServer(xds.ServerOptions{Find: a.publisher.Find, Authorize: a.options.Authorize, Notify: a.notify}).Register(server)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(a.options.Listen) }()
	a.started.Store(true)

	err = l.run(ctx, changes, failed)
	server.Stop()
	return err
}

// start compiles and publishes what there is, before anybody is connected.
func (a *Adapter) start(ctx context.Context) (*loop, error) {
	began := time.Now()
	found := a.compileAll(a.options.Folders)
	settings := a.options.Settings
	if a.options.AutoRouting {
		var projects []model.Project
		for _, c := range found {
			projects = append(projects, c.project)
		}
		settings.Routing = DecideRouting(projects, settings.Routing)
		a.log.Info("routing decided", "mode", routingMode(settings.Routing))
	}
	listeners, clusters := translate.Static(settings)
	if err := a.publisher.Replace(xds.ListenerType, listeners); err != nil {
		return nil, err
	}
	if err := a.publisher.Add(xds.ClusterType, clusters); err != nil {
		return nil, err
	}
	l := newLoop(a, translate.NewIndex(settings))
	for _, c := range found {
		l.take(c)
	}
	l.settle(ctx)
	a.log.Info("adapter ready", "projects", len(found), "apis", len(l.live), "took", time.Since(began).Round(time.Millisecond))
	return l, nil
}

// notify tells the publisher and the log what happens on the wire.
func (a *Adapter) notify(e xds.Event) {
	log := a.log.With("gateway", e.Node.ID, "role", e.Node.Role)
	switch e.Kind {
	case xds.Connected:
		if e.Node.Label != a.options.Label {
			log.Warn("gateway refused: it has another label", "label", e.Node.Label, "want", a.options.Label)
			break
		}
		log.Info("gateway connected")
	case xds.Disconnected:
		log.Info("gateway disconnected")
	}
	a.publisher.Notify(e)
}
