package xds

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// BenchmarkChange is one changed RouteConfiguration, from the cache to the client's ACK, with 10 and
// with 10,000 subscribed by name: this server, and go-control-plane's delta server over its
// LinearCache. The numbers stand in docs/decisions/0008-own-delta-server.md.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("own/%d", n), func(b *testing.B) {
			r := newRig(b)
			c := r.cache(RouteType)
			c.Update(routes(b, n), nil)
			go func() {
				for range r.events { // nobody listens: the channel must not fill up
				}
			}()
			change(b, r, n, func(rc *routev3.RouteConfiguration, version string) {
				res, err := Encode(rc.Name, version, rc)
				if err != nil {
					b.Fatal(err)
				}
				c.Update([]*discoveryv3.Resource{res}, nil)
			})
		})
		b.Run(fmt.Sprintf("go-control-plane/%d", n), func(b *testing.B) {
			initial := map[string]types.Resource{}
			for i := range n {
				initial[routeName(i)] = route(i, "0")
			}
			c := cachev3.NewLinearCache(RouteType, cachev3.WithInitialResources(initial))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			g := grpc.NewServer(GRPCOptions()...)
			discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(context.Background(), c, nil))
			done := make(chan struct{})
			go func() { defer close(done); _ = g.Serve(l) }()
			b.Cleanup(func() { g.Stop(); <-done })
			change(b, &rig{t: b, address: l.Addr().String()}, n, func(rc *routev3.RouteConfiguration, _ string) {
				if err := c.UpdateResource(rc.Name, rc); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func change(b *testing.B, r *rig, n int, update func(*routev3.RouteConfiguration, string)) {
	names := make([]string, n)
	for i := range names {
		names[i] = routeName(i)
	}
	gw := r.connect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResourceNamesSubscribe: names})
	for got := 0; got < n; {
		m := gw.next()
		got += len(m.Resources)
		gw.ack(m)
	}
	bytes, cpu, i := 0, cpuTime(b), 0
	for b.Loop() {
		i++
		version := strconv.Itoa(i)
		update(route(i%n, version), version)
		m := gw.next()
		bytes += proto.Size(m)
		gw.ack(m)
	}
	// why CPU and not time alone: what follows an ACK is work that the next change need not wait for
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(bytes)/float64(b.N), "wire-B/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func routeName(i int) string { return fmt.Sprintf("api-%05d", i) }

func route(i int, version string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:         routeName(i),
		VirtualHosts: []*routev3.VirtualHost{{Name: version, Domains: []string{"*"}}},
	}
}

func routes(b *testing.B, n int) []*discoveryv3.Resource {
	all := make([]*discoveryv3.Resource, n)
	for i := range all {
		r, err := Encode(routeName(i), "0", route(i, "0"))
		if err != nil {
			b.Fatal(err)
		}
		all[i] = r
	}
	return all
}
