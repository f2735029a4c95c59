package main

import (
	"slices"
	"sync"
)

// readiness is why not everything committed is served. An Envoy is asked about once it is said to be needed.
type readiness struct {
	mu      sync.Mutex
	started bool // everybody who has a reason has been added
	needed  bool // an Envoy
	envoy   bool
	served  bool // it was live once
	ending  bool
	waiters []func() []string
	noters  []func() []string
}

// note adds somebody who is asked what is worth knowing of a gateway that is ready all the same.
func (r *readiness) note(notes func() []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noters = append(r.noters, notes)
}

func (r *readiness) notes() []string {
	r.mu.Lock()
	noters := slices.Clone(r.noters)
	r.mu.Unlock()
	var notes []string
	for _, n := range noters {
		notes = append(notes, n()...)
	}
	return notes
}

// also adds somebody who is asked each time.
func (r *readiness) also(reasons func() []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiters = append(r.waiters, reasons)
}

// until is a reason that holds until ready says yes.
func (r *readiness) until(ready func() bool, reason string) {
	r.also(func() []string {
		if ready() {
			return nil
		}
		return []string{reason}
	})
}

// start says that everybody has been added: who asks before must not be told that nothing is missing.
func (r *readiness) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
}

// needEnvoy says that nothing is served without one.
func (r *readiness) needEnvoy() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.needed = true
}

func (r *readiness) setEnvoy(live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.envoy, r.served = live, r.served || live
}

// end says that the gateway is on its way out, so that nobody sends it more.
func (r *readiness) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = true
}

// reasons are none if the gateway is ready.
func (r *readiness) reasons() []string {
	r.mu.Lock()
	waiters, envoy, served, started, ending := slices.Clone(r.waiters), r.envoy || !r.needed, r.served, r.started, r.ending
	r.mu.Unlock()
	switch {
	case ending:
		return []string{"the gateway is stopping"}
	case !started:
		return []string{"the gateway is starting"}
	}
	var reasons []string
	switch {
	case !envoy && served:
		reasons = append(reasons, "envoy does not answer")
	case !envoy:
		reasons = append(reasons, "envoy is not live")
	}
	for _, w := range waiters {
		reasons = append(reasons, w()...)
	}
	return reasons
}
