package relay

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/internal/xds"
)

// freeEvery is how often an address that somebody else has is looked at again.
const freeEvery = 500 * time.Millisecond

// ports are those that Envoy listens on. It is given no listener on one that somebody else has: Envoy would share it instead
// of failing, and each of the two would get some of the other's requests. Listeners that share are worth it all the same:
// the kernel spreads connections evenly over Envoy's workers only so.
type ports struct {
	mu    sync.Mutex
	of    map[string]uint32 // by listener; 0: one that it had before
	taken error             // what is waited for
}

// had is what Envoy says it has when it connects; a port of anything else is free again, or somebody's.
func (p *ports) had(names map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := map[string]uint32{}
	for name := range names {
		of[name] = p.of[name]
	}
	p.of = of
}

// sent notes that Envoy is given a listener, unless it may not be.
func (p *ports) sent(name, address string, port uint32) error {
	p.mu.Lock()
	before, has := p.of[name]
	p.mu.Unlock()
	var err error
	if !has || before != 0 && before != port {
		err = socket.Free(net.JoinHostPort(address, strconv.Itoa(int(port))))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken = nil; errors.Is(err, socket.ErrTaken) { // why only that: Envoy has words for the rest
		p.taken = err
		return err
	}
	p.of[name] = port
	return nil
}

func (p *ports) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

func (p *ports) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken = nil
}

// careful is Envoy's stream, on which listeners wait for their ports.
type careful struct {
	downstream
	ctx   context.Context // ends with the session, which may be before the stream
	relay *Relay
}

// Recv learns what Envoy has.
func (c careful) Recv() (*request, error) {
	m, err := c.downstream.Recv()
	if err == nil && m.GetTypeUrl() == xds.ListenerType && m.GetResponseNonce() == "" {
		c.relay.ports.had(m.GetInitialResourceVersions())
	}
	return m, err
}

// Send holds back a listener, and what comes behind it, until its port is free.
func (c careful) Send(m *response) error {
	if m.GetTypeUrl() == xds.ListenerType {
		for _, r := range m.GetResources() {
			var l listenerv3.Listener
			if r.GetResource().UnmarshalTo(&l) != nil {
				continue // why: Envoy says what is wrong with it
			}
			at := l.GetAddress().GetSocketAddress()
			if at.GetPortValue() == 0 {
				continue
			}
			if err := c.wait(r.GetName(), at.GetAddress(), at.GetPortValue()); err != nil {
				return err
			}
		}
	}
	return c.downstream.Send(m)
}

func (c careful) wait(name, address string, port uint32) error {
	for told := ""; ; {
		err := c.relay.ports.sent(name, address, port)
		switch {
		case err == nil && told != "":
			c.relay.log.Info("the address is free now; envoy listens", "listener", name)
			return nil
		case err == nil:
			return nil
		case told != err.Error():
			told = err.Error()
			c.relay.log.Error("envoy does not listen until the address is free; two gateways on one machine need listen.http and listen.https of their own, "+
				"which come from their adapter", "listener", name, "err", err)
		}
		select {
		case <-time.After(freeEvery):
		case <-c.ctx.Done():
			c.relay.ports.clear()
			return context.Cause(c.ctx)
		}
	}
}
