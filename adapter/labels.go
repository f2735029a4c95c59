package adapter

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/xds"
)

// Bounds of what a gateway can bring along by saying so.
const (
	maxLabelsOfGateways = 100 // labels that no project names
	maxNodeID           = 256 // bytes of its id, which ends up in metrics
)

// labels are the labels in use, each with its loop. One is in use while a project names it, or while a gateway of it is
// connected or is remembered; a gateway that is the first of its label finds it made.
type labels struct {
	mu     sync.Mutex
	all    map[string]*label
	shared map[string][]translate.Resource // by type: what gateways of every label get, whatever they serve
	static []translate.Resource            // clusters that they get besides
	begin  func(*loop) (stop func())       // starts a loop; nil: not yet, or no longer
	told   map[string]time.Time            // by gateway and code: when its refusal was logged
}

// label is one of them.
type label struct {
	*loop
	projects int       // that name it
	unused   time.Time // since when nobody has use for it; zero: somebody has
	stop     func()
}

// label returns a label's, which is made if it is not there. labels.mu is held.
func (a *Adapter) label(name string) (*label, error) {
	if l := a.labels.all[name]; l != nil {
		return l, nil
	}
	o := a.options.Publish
	o.Label, o.Metrics = name, a.metrics
	p := publish.New(o)
	for typeURL, resources := range a.labels.shared {
		if err := p.Replace(typeURL, resources); err != nil {
			return nil, err
		}
	}
	if err := p.Add(xds.ClusterType, a.labels.static); err != nil {
		return nil, err
	}
	log := a.log
	if a.options.Label == "" {
		log = log.With("label", name)
	}
	l := &label{loop: newLoop(name, log, p, translate.NewIndex(a.options.Settings))}
	if a.labels.all == nil {
		a.labels.all = map[string]*label{}
	}
	a.labels.all[name] = l
	if a.labels.begin != nil {
		l.stop = a.labels.begin(l.loop)
	}
	return l, nil
}

// engage returns a label's loop for a push. A project that is new to it keeps it from ending, until disengage.
func (a *Adapter) engage(name string, joins bool) (*loop, error) {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	l, err := a.label(name)
	if err != nil {
		return nil, err
	}
	if joins {
		l.projects++
	}
	return l.loop, nil
}

// disengage says that a project is in these labels no more.
func (a *Adapter) disengage(names []string) {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	for _, name := range names {
		if l := a.labels.all[name]; l != nil {
			l.projects--
		}
	}
}

// lookupLoop is a label's loop, or nil.
func (a *Adapter) lookupLoop(name string) *loop {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	if l := a.labels.all[name]; l != nil {
		return l.loop
	}
	return nil
}

// share gives all labels, now and later, these and no other resources of a type.
func (a *Adapter) share(typeURL string, resources []translate.Resource) error {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	if a.labels.shared == nil {
		a.labels.shared = map[string][]translate.Resource{}
	}
	a.labels.shared[typeURL] = resources
	for _, l := range a.labels.all {
		if err := l.publisher.Replace(typeURL, resources); err != nil {
			return err
		}
	}
	return nil
}

// known are the labels there are now, sorted by name.
func (a *Adapter) known() []*label {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	var all []*label
	for _, name := range slices.Sorted(maps.Keys(a.labels.all)) {
		all = append(all, a.labels.all[name])
	}
	return all
}

// lookup is a label's publisher, or nil.
func (a *Adapter) lookup(name string) *publish.Publisher {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	if l := a.labels.all[name]; l != nil {
		return l.publisher
	}
	return nil
}

// admit decides about a gateway that connects, and sees to it that its label is there.
func (a *Adapter) admit(ctx context.Context, n xds.Node) error {
	if a.options.Authorize != nil {
		if err := a.options.Authorize(ctx, n); err != nil {
			return err
		}
	}
	err := a.join(ctx, n)
	if err != nil && a.tellAgain(n.ID+": "+status.Code(err).String(), time.Now()) {
		a.log.Warn("gateway refused", "gateway", n.ID, "role", n.Role, "label", n.Label, "err", status.Convert(err).Message())
	}
	return err
}

// tellAgain says whether a refusal is worth a line: who is refused comes back every second.
func (a *Adapter) tellAgain(refusal string, now time.Time) bool {
	const pause, most = time.Minute, 1000
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	if now.Sub(a.labels.told[refusal]) < pause {
		return false
	}
	if a.labels.told == nil || len(a.labels.told) >= most {
		a.labels.told = map[string]time.Time{}
	}
	a.labels.told[refusal] = now
	return true
}

// join makes the label of a gateway that connects, or says why not.
func (a *Adapter) join(ctx context.Context, n xds.Node) error {
	if only := a.options.Label; only != "" && n.Label != only {
		return status.Errorf(codes.PermissionDenied, "its label is %q, and this adapter serves label %q", n.Label, only)
	}
	if len(n.ID) > maxNodeID {
		return status.Errorf(codes.InvalidArgument, "its id is %d bytes long; at most %d will do", len(n.ID), maxNodeID)
	}
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	if l := a.labels.all[n.Label]; l != nil {
		l.unused = time.Time{}
		return nil
	}
	switch {
	case a.labels.begin == nil:
		return status.Error(codes.Unavailable, "the adapter is stopping")
	case !model.ValidLabel(n.Label):
		return status.Errorf(codes.InvalidArgument, "%q cannot be a label; use up to 63 letters, digits and . _ -, a letter or digit first and last", n.Label)
	case !trusted(ctx):
		return status.Errorf(codes.PermissionDenied, "no project is for label %q, and a gateway without a certificate cannot bring a new one from elsewhere", n.Label)
	case a.labels.unnamed() >= maxLabelsOfGateways:
		return status.Errorf(codes.ResourceExhausted, "no project is for label %q, and gateways of %d others such labels are there already", n.Label, maxLabelsOfGateways)
	}
	if _, err := a.label(n.Label); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	a.log.Info("label begun for a gateway; no project is for it yet", "label", n.Label, "gateway", n.ID)
	return nil
}

// unnamed is how many labels there are that no project names. mu is held.
func (s *labels) unnamed() int {
	n := 0
	for _, l := range s.all {
		if l.projects == 0 {
			n++
		}
	}
	return n
}

// trusted says that a client has shown a certificate or is on this machine.
func trusted(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	if p.AuthInfo != nil && p.AuthInfo.AuthType() == "tls" {
		return true // why: the listener of an adapter takes no client without one
	}
	switch addr := p.Addr.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	}
	return false
}

// sweep ends the labels nobody has had use for in a while. A gateway that comes back later finds its label made anew.
func (a *Adapter) sweep(now time.Time, patience time.Duration) {
	a.labels.mu.Lock()
	defer a.labels.mu.Unlock()
	for name, l := range a.labels.all {
		switch {
		case name == a.options.Label:
		case l.projects > 0 || !l.publisher.Unused():
			l.unused = time.Time{}
		case l.unused.IsZero():
			l.unused = now // why not at once: a gateway may be admitted and about to connect
		case now.Sub(l.unused) >= patience:
			delete(a.labels.all, name)
			l.stop()
			a.metrics.Forget(name)
			a.log.Info("label ended: no project is for it, and no gateway of it has been seen lately", "label", name)
		}
	}
}

// find is the Find of the xDS server: a node gets what its label has.
func (a *Adapter) find(ctx context.Context, n xds.Node, typeURL string) (*xds.Cache, error) {
	p := a.lookup(n.Label)
	if p == nil {
		return nil, status.Errorf(codes.Unavailable, "label %q has ended; connect again", n.Label)
	}
	if typeURL == xds.SecretType && !mtls.Private(ctx) {
		return nil, status.Error(codes.PermissionDenied, "private keys are told by a unix socket, or to who shows a certificate (xds.tls)")
	}
	return p.Find(ctx, n, typeURL)
}

// notify tells the label's publisher and the log what happens on the wire.
func (a *Adapter) notify(e xds.Event) {
	p := a.lookup(e.Node.Label)
	if p == nil {
		return
	}
	switch e.Kind {
	case xds.Connected:
		a.log.Info("gateway connected", "gateway", e.Node.ID, "role", e.Node.Role, "label", e.Node.Label, "version", e.Node.Version)
	case xds.Disconnected:
		a.log.Info("gateway disconnected", "gateway", e.Node.ID, "role", e.Node.Role, "label", e.Node.Label)
	case xds.Acked:
		if !e.Known {
			a.log.Debug("gateway acknowledged", "gateway", e.Node.ID, "role", e.Node.Role, "type", e.TypeURL, "resources", e.Resources, "removed", e.Removed)
		}
	}
	p.Notify(e)
}
