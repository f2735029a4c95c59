package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/puzpuzpuz/xsync/v4"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// What the caches hold at most, and for how long a judgement is kept though nothing speaks against it.
const (
	verifiedBytes = 32 << 20
	verifiedFor   = 5 * time.Minute
	refusedTokens = 10_000
	refusedFor    = 10 * time.Second
)

// Options are what a Verifier works with. The zero value works.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Client     *http.Client     // fetches keys
	Now        func() time.Time // the clock
}

// Verifier judges JWTs by the keys of their issuers.
type Verifier struct {
	log     *slog.Logger
	client  *http.Client
	now     func() time.Time
	metrics *metrics

	issuers  *xsync.Map[string, *issuer]
	complete atomic.Bool // the first full set of issuers was received

	// By SHA-256 of the whole token, each entry bound to the generation of keys that judged it.
	verified *otter.Cache[[sha256.Size]byte, *verified]
	refused  *otter.Cache[[sha256.Size]byte, generation]

	wake     chan struct{}
	lifetime context.Context // of fetches; they outlive the request that asked
	stop     context.CancelFunc
}

// generation ties a judgement to the keys it was made with.
type generation struct {
	issuer *issuer
	keys   *keySet
	until  time.Time
}

func (g generation) holds(now time.Time) bool {
	return g.issuer.keys.Load() == g.keys && now.Before(g.until)
}

// verified is a token whose signature was good.
type verified struct {
	generation
	span     span
	identity *Identity
	weight   uint32
}

// NewVerifier returns a Verifier without issuers: it can not tell about any token until Apply says so.
func NewVerifier(o Options) *Verifier {
	v := &Verifier{log: o.Log, client: o.Client, now: o.Now, issuers: xsync.NewMap[string, *issuer](), wake: make(chan struct{}, 1)}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.client == nil {
		v.client = newClient()
	}
	if v.now == nil {
		v.now = time.Now
	}
	v.verified = otter.Must(&otter.Options[[sha256.Size]byte, *verified]{
		MaximumWeight: verifiedBytes,
		Weigher:       func(_ [sha256.Size]byte, e *verified) uint32 { return e.weight },
	})
	v.refused = otter.Must(&otter.Options[[sha256.Size]byte, generation]{MaximumSize: refusedTokens})
	v.lifetime, v.stop = context.WithCancel(context.Background())
	v.metrics = newMetrics(o.Registerer, v)
	return v
}

// Apply makes an update of the issuers the present state, or returns why it can not, having changed nothing. complete
// says that after it all issuers are known, so that the tokens of any other are wrong.
func (v *Verifier) Apply(put []*posternv1.Issuer, remove []string, complete bool) error {
	var compiled []*issuer
	var errs []error
	for _, config := range put {
		if known, ok := v.issuers.Load(config.GetIssuer()); ok && known.same(config) {
			continue // its keys and everything verified with them stay
		}
		i, err := newIssuer(config)
		errs = append(errs, err)
		compiled = append(compiled, i)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, i := range compiled {
		older, _ := v.issuers.Load(i.name)
		if i.source != nil && older != nil {
			i.inherit(older)
		}
		v.issuers.Store(i.name, i)
		older.retire()
	}
	for _, name := range remove {
		if i, found := v.issuers.LoadAndDelete(name); found {
			i.retire()
			v.metrics.forget(name)
		}
	}
	if complete && !v.complete.Swap(true) || complete && len(compiled)+len(remove) > 0 {
		v.announce()
	}
	v.poke()
	return nil
}

func (v *Verifier) announce() {
	if v.issuers.Size() == 0 {
		v.log.Warn("no issuer is configured: answering 401 to whatever needs a token")
	}
}

// Verify judges a token. Every judgement but Accepted comes with a detail.
func (v *Verifier) Verify(ctx context.Context, raw []byte) Result {
	if len(raw) > maxToken {
		return refuse(errSize.Error())
	}
	now, sum := v.now(), sha256.Sum256(raw)
	if known, ok := v.verified.GetIfPresent(sum); ok && known.holds(now) {
		v.metrics.hits.Inc()
		return known.result(now)
	}
	if known, ok := v.refused.GetIfPresent(sum); ok && known.holds(now) {
		v.metrics.hits.Inc()
		return refuse(badSignature)
	}
	v.metrics.misses.Inc()
	return v.verify(ctx, raw, sum, now)
}

func (t *verified) result(now time.Time) Result {
	r := t.span.judge(now)
	if r.Reason == Accepted {
		r.Identity = t.identity
	}
	return r
}

const (
	badSignature  = "the signature of the token is not valid"
	badAlgorithm  = "the algorithm of the token is not accepted"
	foreignIssuer = "the issuer of the token is not accepted here"
	noIssuersYet  = "the issuers of tokens are not known yet"
	noKeysYet     = "the keys of the token's issuer can not be had at the moment"
)

// verify judges a token that no cache knows: what it says first, then who signed it.
func (v *Verifier) verify(ctx context.Context, raw []byte, sum [sha256.Size]byte, now time.Time) Result {
	t, err := parseToken(raw)
	if err != nil {
		return refuse(err.Error())
	}
	name, _ := t.claims.text("iss")
	i, found := v.issuers.Load(name)
	switch {
	case !found && !v.complete.Load():
		return Result{Reason: Unavailable, Detail: noIssuersYet}
	case !found || name == "":
		return refuse(foreignIssuer)
	}
	if _, known := algorithms[t.alg]; !known {
		return refuse(badAlgorithm)
	}
	validity, r := i.check(t.claims, now)
	if r.Reason != Accepted {
		return r
	}
	identity, err := i.identify(t.claims)
	if err != nil {
		return refuse(err.Error())
	}
	keys, r := v.checkSignature(ctx, i, t)
	switch r.Reason {
	case Accepted:
		known := &verified{
			generation: generation{i, keys, now.Add(verifiedFor)}, span: validity, identity: identity,
			weight: uint32(2*len(raw) + 256), // more than it takes (measured: 1,375 bytes for a token of 834)
		}
		v.verified.Set(sum, known)
		return known.result(now)
	case Invalid:
		v.refused.Set(sum, generation{i, keys, now.Add(refusedFor)})
	}
	return r
}

// checkSignature tries the issuer's keys, and newer ones if the token names a key that is not among them. It returns the
// set of keys that decided.
func (v *Verifier) checkSignature(ctx context.Context, i *issuer, t token) (*keySet, Result) {
	keys := i.keys.Load()
	r, newer := keys.judge(t)
	if !newer || i.source == nil {
		return keys, r
	}
	switch v.refetch(ctx, i) {
	case away:
		return keys, Result{Reason: Unavailable, Detail: noKeysYet}
	case fetched:
		keys = i.keys.Load()
		r, _ = keys.judge(t)
	}
	return keys, r
}

// judge looks for the key that signed t. newer says that a newer set might know better.
func (s *keySet) judge(t token) (r Result, newer bool) {
	if s == nil {
		return Result{Reason: Unavailable, Detail: noKeysYet}, true
	}
	keys, known := s.candidates(t.kid, t.alg)
	for _, k := range keys {
		if k.verify(t.raw, t.alg) == nil {
			return Result{Reason: Accepted}, false
		}
	}
	return refuse(badSignature), !known
}
