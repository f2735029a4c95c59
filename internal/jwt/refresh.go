package jwt

import (
	"bytes"
	"context"
	"math/rand/v2"
	"time"
)

// patience is how long a request waits for keys; Envoy waits a second for the answer.
const patience = 700 * time.Millisecond

// supply is what came of asking for newer keys.
type supply int

const (
	away    supply = iota // they could not be had
	fetched               // they were fetched since the question
	tooSoon               // they were fetched a moment ago, by others who asked
)

// Run keeps the keys of all issuers up to date until ctx is done.
func (v *Verifier) Run(ctx context.Context) error {
	defer v.stop()
	for {
		timer := time.NewTimer(v.refreshDue())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-v.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// refreshDue starts the fetches that are due and returns how long nothing else will be.
func (v *Verifier) refreshDue() time.Duration {
	now, quiet := v.now(), maxLifetime
	for _, i := range v.issuers.All() {
		s := i.source
		if s == nil {
			continue
		}
		s.mu.Lock()
		switch {
		case s.inflight != nil: // it wakes the loop when it is done
		case s.due.After(now):
			quiet = min(quiet, s.due.Sub(now))
		default:
			v.start(i)
		}
		s.mu.Unlock()
	}
	return quiet
}

// refetch brings an issuer's keys up to date for a request that needs another key than the known ones. However many
// requests ask, the fetches stay within the source's budget.
func (v *Verifier) refetch(ctx context.Context, i *issuer) supply {
	s := i.source
	s.mu.Lock()
	if s.inflight == nil && !s.budget.take(v.now()) {
		defer s.mu.Unlock()
		if s.failures > 0 || s.fetched.IsZero() {
			return away
		}
		return tooSoon
	}
	done := v.start(i)
	s.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		return away
	case <-ctx.Done():
		return away
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		return away
	}
	return fetched
}

// start begins a fetch unless one is under way; the source is locked. The channel is closed when it is done.
func (v *Verifier) start(i *issuer) <-chan struct{} {
	if i.source.inflight == nil {
		i.source.inflight = make(chan struct{})
		go v.refresh(i)
	}
	return i.source.inflight
}

// refresh fetches an issuer's keys and makes them the present ones, all or nothing: on any failure the old ones stay.
func (v *Verifier) refresh(i *issuer) {
	ctx, cancel := context.WithTimeout(v.lifetime, fetchTimeout)
	defer cancel()
	s := i.source
	doc, err := s.get(ctx, v.client)
	present := i.keys.Load()
	next := present
	if err == nil && (present == nil || !bytes.Equal(doc.body, s.document.body)) {
		next, err = parseJWKS(doc.body, i.algorithms)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.inflight)
	s.inflight = nil
	if s.retired {
		return
	}
	now := v.now()
	if err != nil {
		s.failures++
		s.due = now.Add(min(firstRetry<<min(s.failures-1, 10), maxRetry))
	} else {
		i.keys.Store(next)
		s.document, s.fetched, s.failures = doc, now, 0
		s.due = now.Add(doc.lifetime - rand.N(doc.lifetime/10)) // not every enforcer at once
	}
	v.report(i, next, next != present, err)
	v.poke()
}

// report counts a fetch and says what changed: not every fetch of a long outage, but its beginning and its end.
func (v *Verifier) report(i *issuer, keys *keySet, changed bool, err error) {
	outcome := "unchanged"
	switch {
	case err != nil:
		outcome = "failed"
		if i.source.failures == 1 || keys == nil && i.source.failures < 5 {
			v.log.Warn("keys of an issuer could not be fetched", "issuer", i.name, "known", keys != nil, "err", err)
		}
	case changed:
		outcome = "changed"
		v.log.Info("keys of an issuer changed", "issuer", i.name, "keys", len(keys.keys), "skipped", keys.skipped)
	}
	v.metrics.refreshes.WithLabelValues(i.name, outcome).Inc()
}

// poke wakes Run to look at what is due.
func (v *Verifier) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}
