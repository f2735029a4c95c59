// Package adapter is the control plane: it compiles the projects it is given, translates what changed,
// publishes it over delta ADS, and says what became of it. One goroutine hands projects to the labels they
// are for (desk.go), and one of each label owns its state (loop.go); this package ties project, translate,
// publish and source together and must not import the enforcer or the ratelimiter.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/adapter/certificate"
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
	// AutoRouting decides Settings.Routing.Flat once, at the start: by DecideRouting, where there is a Label.
	// What an adapter of all labels will serve is not known at its start: it is scoped.
	AutoRouting bool

	// Listen is where gateways connect (delta ADS). The Adapter closes it.
	Listen net.Listener
	// GRPC are further options of that server: credentials.
	GRPC []grpc.ServerOption
	// Authorize is asked about each gateway that connects (xds.ServerOptions); nil: everybody may.
	Authorize func(context.Context, xds.Node) error

	Folders []string // project folders and archives, watched
	// Sources are where more projects come from.
	Sources []source.Source
	// Store keeps what is pushed; nil: nothing can be. The adapter uses it alone, and does not close it.
	Store Store
	// Pushes are the defaults of what a push does not say.
	Pushes      PushDefaults
	Label       string // the only one of which projects and gateways are served; "" serves all
	Environment string // environments/NAME.yaml; "" is none

	// Lookup, OwnAddresses and AllowBackends are what projects are compiled with (project.Options).
	Lookup        func(name string) (string, bool)
	OwnAddresses  []string
	AllowBackends []string

	Issuers []*posternv1.Issuer // SetIssuers replaces them
	// Certificates are the files of those that Settings.TLS names; new content is published as it comes.
	Certificates []model.CertificateFiles
	Version      string       // of this build, for the metrics
	Log          *slog.Logger // nil: slog.Default()
	Registerer   prometheus.Registerer

	// Watch and Publish tune the parts; their zero values are the defaults. Paths, label, log, and
	// metrics are set by the Adapter.
	Watch   source.Options
	Publish publish.Options
}

// PushDefaults hold for pushes that say nothing else. Zero values are 30 s and all healthy gateways.
type PushDefaults struct {
	Wait    time.Duration
	Require publish.Require
	// RefuseBreaking refuses what breaks consumers of what is served.
	RefuseBreaking bool
}

// Adapter is the control plane.
type Adapter struct {
	options Options
	log     *slog.Logger
	metrics *publish.Metrics
	labels  labels
	https   *certificate.Set
	sources source.Source
	names   *register
	pushes  *pushes
	keeper  *keeper
	again   again // paths that the desk is to look at
	board   projectBoard
	started atomic.Bool // the first state is published
}

// New makes an Adapter; Run starts it.
func New(o Options) (*Adapter, error) {
	if o.Listen == nil {
		return nil, errors.New("adapter: no listener for gateways")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Pushes.Wait == 0 {
		o.Pushes.Wait = 30 * time.Second
	}
	if o.Pushes.Require == (publish.Require{}) {
		o.Pushes.Require = publish.All
	}
	o.Watch.Paths, o.Watch.Log = o.Folders, o.Log
	a := &Adapter{
		options: o, log: o.Log, names: newRegister(), pushes: newPushes(o.Store), keeper: newKeeper(o.Store), again: again{ready: make(chan struct{}, 1)},
		sources: source.All(append([]source.Source{source.Folders(o.Watch)}, o.Sources...)...),
	}
	var err error
	if a.metrics, err = publish.NewMetrics(o.Registerer, a.gateways); err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	if o.Registerer != nil {
		for _, c := range []prometheus.Collector{served{a}, a.pushes.took} {
			if err := o.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("adapter: %w", err)
			}
		}
	}
	if a.https, err = certificate.Load(certificate.Options{Files: o.Certificates, Log: o.Log, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if err := a.share(xds.SecretType, translate.Secrets(a.https.Certificates())); err != nil {
		return nil, err
	}
	return a, a.SetIssuers(o.Issuers)
}

// Secrets are what is published of these certificates.
func Secrets(files []model.CertificateFiles) ([]translate.Resource, error) {
	set, err := certificate.Load(certificate.Options{Files: files, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return translate.Secrets(set.Certificates()), nil
}

// followCertificates publishes each certificate that is replaced, until ctx is done.
func (a *Adapter) followCertificates(ctx context.Context) {
	a.https.Follow(ctx, func(all []model.Certificate) {
		if err := a.share(xds.SecretType, translate.Secrets(all)); err != nil {
			a.log.Error("certificates cannot be published", "err", err)
		}
	})
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
	return a.share(posternv1.IssuerType, resources)
}

// Run serves until ctx is done. Gateways are answered once everything there is has been compiled: one
// that was connected before must not be told that its APIs are gone.
func (a *Adapter) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := a.sources.Watch(ctx)
	defer func() {
		cancel()
		for range changes { // until it has ended
		}
	}()
	d, err := a.start(ctx)
	if err != nil {
		_ = a.options.Listen.Close()
		return err
	}
	var following sync.WaitGroup
	following.Go(func() { a.followCertificates(ctx) })
	following.Go(func() { a.keepGood(ctx) })
	defer following.Wait()
	wait := a.beginLoops(ctx)
	defer wait()
	defer a.pushes.background.Wait()
	defer cancel()

	options := append(xds.GRPCOptions(), a.options.GRPC...)
	server := grpc.NewServer(options...)
	xds.NewServer(xds.ServerOptions{Authorize: a.admit, Find: a.find, Notify: a.notify}).Register(server)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(a.options.Listen) }()
	a.started.Store(true)
	a.pushes.open(ctx)

	err = d.run(ctx, changes, failed)
	server.Stop()
	return err
}

// start compiles and publishes what there is, before anybody is connected.
func (a *Adapter) start(ctx context.Context) (*desk, error) {
	began := time.Now()
	known := memories{}
	found := a.compileAll(a.sources.Paths(), known.of)
	kept := a.recall(ctx, found)
	pushed, err := a.loadPushed(ctx)
	if err != nil {
		return nil, err
	}
	if a.options.AutoRouting {
		routing := &a.options.Settings.Routing
		*routing = DecideRouting(projectsOf(slices.Concat(pushed, kept, found), a.options.Label), *routing)
		a.log.Info("routing decided", "mode", routingMode(*routing))
	}
	listeners, clusters := translate.Static(a.options.Settings)
	if err := a.share(xds.ListenerType, listeners); err != nil {
		return nil, err
	}
	a.labels.static = clusters
	d := newDesk(a, known)
	// why this order: who pushed was told that it is served, whatever a folder has got since; and what is refused leaves
	// what is served
	for _, these := range [][]compiled{pushed, kept, found} {
		if err := d.deliver(these); err != nil {
			return nil, err
		}
		a.settle(ctx)
	}
	d.sayRecalled(kept)
	d.handOver()
	apis := 0
	for _, l := range a.known() {
		apis += len(l.live)
	}
	a.log.Info("adapter ready", "projects", len(pushed)+len(found), "apis", apis, "labels", len(a.known()), "took", time.Since(began).Round(time.Millisecond))
	return d, nil
}

// settle has all labels publish what they have been handed.
func (a *Adapter) settle(ctx context.Context) {
	var group errgroup.Group
	for _, l := range a.known() {
		group.Go(func() error { l.settle(ctx); return nil })
	}
	_ = group.Wait() // nothing above returns an error
}

// projectsOf are the projects that are for a label.
func projectsOf(found []compiled, label string) []model.Project {
	var projects []model.Project
	for _, c := range found {
		if slices.Contains(c.project.Labels, label) {
			projects = append(projects, c.project)
		}
	}
	return projects
}

// beginLoops starts the loops there are, and those that are made from now on, until ctx is done. The returned function
// waits for all of them.
func (a *Adapter) beginLoops(ctx context.Context) (wait func()) {
	var group sync.WaitGroup
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	a.labels.begin = func(l *loop) (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		group.Go(func() { l.run(ctx, a.pace()) })
		return cancel
	}
	for _, l := range a.labels.all {
		l.stop = a.labels.begin(l.loop)
	}
	return func() {
		a.labels.mu.Lock()
		a.labels.begin = nil
		a.labels.mu.Unlock()
		group.Wait()
	}
}

// pace is how often what time brings about is looked after.
func (a *Adapter) pace() time.Duration {
	const most = 5 * time.Second
	if linger := a.options.Publish.Linger; linger > 0 {
		return min(most, linger)
	}
	return most
}

// gateways are those of all labels.
func (a *Adapter) gateways() []publish.Gateway {
	var all []publish.Gateway
	for _, l := range a.known() {
		all = append(all, l.publisher.Gateways()...)
	}
	return all
}
