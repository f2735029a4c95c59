package relay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/envoy/relay"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
)

// waits: Envoy is not given the listener, and who has its address is said.
func (b *beside) waits(holder string) {
	b.t.Helper()
	want := b.address + " is taken by " + holder
	fixture.WaitFor(b.t, "the status to say "+want, func() bool {
		taken := b.Status().Taken
		return taken != nil && taken.Error() == want
	})
	b.log.Wait(b.t, want)
}

// TestTakenPort: Envoy would share its port with another, so it waits for one that somebody has; its own is never in its way.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	c := newContent()
	address := c.listening(t)
	c.scope("one", "1")
	a := newAdapter(t, c).start()
	other, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := newRig(t, "", a.address).run(address)
	b.waits(fmt.Sprintf("relay.test (pid %d)", os.Getpid()))
	_ = other.Close()
	b.answers("one", "1")
	b.log.Wait(t, "the address is free now")
	b.keeps(xds.ListenerType, "http@1")
	b.keeps(xds.RouteType, "one@1")

	a.kill()
	b.from(relay.FromDisk, "")
	b.kill() // the next one is given the listener from disk
	b.live(2)
	b.answers("one", "1")
	c.scope("one", "2")
	a.start()
	b.answers("one", "2")
	if err := b.Status().Taken; err != nil || strings.Count(b.log.String(), "does not listen") != 1 {
		t.Errorf("its own port is in its way: %v", err)
	}

	second := newRig(t, "", a.address).run(address)
	second.waits(fmt.Sprintf("envoy (pid %d)", b.pid()))
}

// slow is the stream of an Envoy that takes its time.
type slow struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	ctx             context.Context
	request         chan *discoveryv3.DeltaDiscoveryRequest
	begun, finished chan struct{}
}

func (s *slow) Context() context.Context { return s.ctx }

func (s *slow) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	select {
	case r := <-s.request:
		return r, nil
	case <-s.ctx.Done():
		return nil, io.EOF
	}
}

func (s *slow) Send(*discoveryv3.DeltaDiscoveryResponse) error {
	close(s.begun)
	<-s.finished
	return io.EOF
}

// TestNothingIsSentAfterTheEnd: a stream is over when nothing is being sent on it.
func TestNothingIsSentAfterTheEnd(t *testing.T) {
	t.Parallel()
	c := newContent()
	c.put(xds.ClusterType, "a@1")
	r := newRig(t, "", newAdapter(t, c).start().address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &slow{ctx: ctx, request: make(chan *discoveryv3.DeltaDiscoveryRequest, 1), begun: make(chan struct{}), finished: make(chan struct{})}
	s.request <- &discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.ClusterType, Node: xds.Node{ID: "gw", Label: "default", Role: xds.RoleEnvoy}.Proto()}
	over := make(chan struct{})
	go func() { defer close(over); _ = r.DeltaAggregatedResources(s) }()
	<-s.begun
	cancel()
	select {
	case <-over:
		t.Error("the stream is over while something is sent on it")
	case <-time.After(200 * time.Millisecond):
	}
	close(s.finished)
	<-over
}
