// Package probe asks the Envoy beside this process what it makes of requests, and compares that with what an adapter says
// it must: a gateway that took new routes is known to serve them only when it has been asked. It must not import the
// adapter, the enforcer or the ratelimiter.
//
// Who asks is an xDS client of its own, beside its Envoy's: each Probe that comes is answered by asking (ACK), or by saying
// in words what was wrong (NACK). Requests go to a listener of Envoy's that answers them itself, so that no backend sees any.
package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Options of a Prober.
type Options struct {
	// Address of Envoy's listener for probes: "unix:/path".
	Address string
	// Patience is how long the answers to one probe may be other than they must: Envoy's workers have new routes some
	// milliseconds after it says so. 0 is 2 s.
	Patience time.Duration
	// Registerer of the metrics; nil: nobody's.
	Registerer prometheus.Registerer
}

// Prober answers the probes of one Envoy.
type Prober struct {
	options  Options
	failed   time.Time // when an adapter's probe failed last; Run's goroutine alone knows it
	client   *http.Transport
	probes   *prometheus.CounterVec
	duration prometheus.Histogram
}

// atOnce is how many requests are under way at a time; again is how soon one is repeated.
const (
	atOnce = 4
	again  = 10 * time.Millisecond
)

// New returns a Prober; Run has it work.
func New(o Options) (*Prober, error) {
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	path := strings.TrimPrefix(o.Address, "unix:")
	p := &Prober{
		options: o,
		client: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
			MaxIdleConnsPerHost: atOnce, IdleConnTimeout: 10 * time.Second, DisableCompression: true,
		},
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_probes_total",
			Help: "Probes of one API each that Envoy was asked for an adapter's rollout, by outcome: passed, failed.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postern_probe_duration_seconds",
			Help:    "How long it took until Envoy answered one probe, which is of one API, as it must, or was given up.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
	}
	for _, outcome := range []string{passed, failed} {
		p.probes.WithLabelValues(outcome)
	}
	if o.Registerer == nil {
		return p, nil
	}
	for _, c := range []prometheus.Collector{p.probes, p.duration} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// The outcomes of a probe.
const (
	passed = "passed"
	failed = "failed"
)

// Run follows the adapters that the options name, which say who we are but for the role, until ctx is done.
func (p *Prober) Run(ctx context.Context, o xds.ClientOptions) error {
	defer p.client.CloseIdleConnections()
	o.Role, o.Types = xds.RoleProber, []string{posternv1.ProbeType}
	o.Apply = func(u xds.Update) error { return p.apply(ctx, u) }
	return xds.Run(ctx, o)
}

// apply answers one update: its error is why it is refused.
func (p *Prober) apply(ctx context.Context, u xds.Update) error {
	for _, r := range u.Resources {
		probe := new(posternv1.Probe)
		if err := proto.Unmarshal(r.GetResource().GetValue(), probe); err != nil {
			return fmt.Errorf("probe %q: %w", r.GetName(), err)
		}
		if words := probe.GetRequires(); len(words) > 0 {
			return fmt.Errorf("probe %q requires %q, which this build does not know; update it", r.GetName(), words)
		}
		patience := p.options.Patience
		if time.Since(p.failed) < remember {
			patience /= 10 // why: what lags has caught up, and a rollout of many that fail is to be told so in time
		}
		if err := p.ask(ctx, probe, patience); err != nil {
			p.failed = time.Now()
			return err
		}
	}
	return nil
}

// remember is for how long a failure makes impatient.
const remember = 5 * time.Second

// Ask asks Envoy for everything that a probe says, and again what it does not answer as it must, for as long as there is
// patience. The error says which operations those are, what was asked and what came back, in at most 500 bytes.
func (p *Prober) Ask(ctx context.Context, probe *posternv1.Probe) error {
	return p.ask(ctx, probe, p.options.Patience)
}

func (p *Prober) ask(ctx context.Context, probe *posternv1.Probe, patience time.Duration) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	failures := make([]error, len(probe.GetChecks()))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(atOnce, len(failures)) {
		all.Go(func() {
			for i := range next {
				failures[i] = p.insist(ctx, probe.GetApi(), probe.GetChecks()[i])
			}
		})
	}
	for i := range failures {
		next <- i
	}
	close(next)
	all.Wait()
	err := summary(probe, failures)
	p.duration.Observe(time.Since(began).Seconds())
	if err != nil {
		p.probes.WithLabelValues(failed).Inc()
		return err
	}
	p.probes.WithLabelValues(passed).Inc()
	return nil
}

// insist asks until the answer is what it must be, or ctx is done; at least once.
func (p *Prober) insist(ctx context.Context, api string, c *posternv1.Check) error {
	var last error
	for {
		a, err := p.request(ctx, c)
		if err == nil {
			err = judge(api, c, a)
		}
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // else it was not given its time
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(again):
		}
	}
}
