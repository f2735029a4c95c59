package adapter

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

// many writes n projects of one API with five operations each, and returns their folders.
func (p *site) many(n int) []string {
	folders := make([]string, n)
	for i := range folders {
		folders[i] = fmt.Sprintf("p%05d", i)
		p.one(i, "/v0")
	}
	return folders
}

func (p *site) one(i int, extra string) {
	name := fmt.Sprintf("api%05d", i)
	p.api(fmt.Sprintf("p%05d", i), name, "/"+name, "/a", "/b/{id}", "/c", "/d/{id}", extra)
}

// BenchmarkEdit is one edited API, from the file to the gateways' ACKs, with 10 and with 10,000 loaded.
// CPU is that of the adapter and of the gateway beside it, which is a small one; design §8 allows 1.2 ×.
func BenchmarkEdit(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newSite(b)
			p.start(func(o *Options) { o.Watch.Quiet = time.Millisecond }, p.many(n)...)
			gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
			enforcer := p.gateway("enf", xds.RoleEnforcer, xdstest.Options{})
			p.until("serving", func() bool { return p.started.Load() && p.Serving() })
			runtime.GC()
			gw.Reset()
			enforcer.Reset()
			cpu, i := cpuTime(b), 0
			for b.Loop() {
				i++
				name := fmt.Sprintf("api%05d", i%n)
				old := gw.Version(xds.RouteType, name)
				p.one(i%n, fmt.Sprint("/v", i))
				gw.Wait("the edit", func(have map[string]map[string]string) bool { return have[xds.RouteType][name] != old })
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e3, "cpu-µs/op")
			b.ReportMetric(float64(gw.Bytes()+enforcer.Bytes())/float64(b.N), "wire-B/op")
		})
	}
}

// BenchmarkEditOfMany is one edited definition of a project of 10, and of 10,000, from the file to Envoy's ACK.
func BenchmarkEditOfMany(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newSite(b)
			edit := func(i int, extra string) {
				name := fmt.Sprintf("api%05d", i)
				p.api("shop", name, "/"+name, "/a", "/b/{id}", "/c", "/d/{id}", extra)
			}
			for i := range n {
				edit(i, "/v0")
			}
			p.start(func(o *Options) { o.Watch.Quiet = time.Millisecond }, "shop")
			gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
			p.until("serving", func() bool { return p.started.Load() && p.Serving() })
			runtime.GC()
			var heap runtime.MemStats
			runtime.ReadMemStats(&heap)
			cpu, i := cpuTime(b), 0
			for b.Loop() {
				i++
				name := fmt.Sprintf("api%05d", i%n)
				old := gw.Version(xds.RouteType, name)
				edit(i%n, fmt.Sprint("/v", i))
				gw.Wait("the edit", func(have map[string]map[string]string) bool { return have[xds.RouteType][name] != old })
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e6, "cpu-ms/op")
			b.ReportMetric(float64(heap.HeapAlloc)/1e6, "heap-MB")
		})
	}
}

// revision is what is served of an API, at a cost that does not depend on how many there are.
func (p *site) revision(project, id string) string {
	for _, l := range p.known() {
		if s, ok := l.board.get(ref{p.path(project), id}); ok {
			return s.Revision
		}
	}
	return ""
}

// BenchmarkStart is from nothing to a gateway that has everything.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newSite(b)
			folders := p.many(n)
			cpu := cpuTime(b)
			for b.Loop() {
				p.start(nil, folders...)
				gw := p.gateway("gw", xds.RoleEnvoy, xdstest.Options{})
				p.until("serving", p.Serving)
				gw.Close()
				p.stop()
			}
			b.ReportMetric((cpuTime(b)-cpu).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// BenchmarkEditAmongLabels is the same edit, of 1,000 APIs in one label and spread over 100, with a gateway of each: what
// there is besides must not matter.
func BenchmarkEditAmongLabels(b *testing.B) {
	const n = 1000
	for _, labels := range []int{1, 100} {
		b.Run(fmt.Sprint(labels), func(b *testing.B) {
			p := newSite(b)
			folders := p.many(n)
			for i, folder := range folders {
				p.labels(folder, fmt.Sprint("l", i%labels))
			}
			p.start(func(o *Options) { o.Watch.Quiet = time.Millisecond }, folders...)
			var gateways []*xdstest.Gateway
			for i := range labels {
				gateways = append(gateways, p.gateway(fmt.Sprint("gw", i), xds.RoleEnvoy, xdstest.Options{Node: xds.Node{Label: fmt.Sprint("l", i)}}))
			}
			p.until("serving", func() bool { return p.Started() && p.Serving() })
			runtime.GC()
			cpu, i := cpuTime(b), 0
			for b.Loop() {
				i++
				name, gw := fmt.Sprintf("api%05d", i%n), gateways[i%n%labels]
				old := gw.Version(xds.RouteType, name)
				p.one(i%n, fmt.Sprint("/v", i))
				gw.Wait("the edit", func(have map[string]map[string]string) bool { return have[xds.RouteType][name] != old })
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
}

// BenchmarkEnvoy is an edit until a real Envoy has it, and reports how long adapter and Envoy took from
// their start until everything was served.
func BenchmarkEnvoy(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newSite(b)
			folders := p.many(n)
			began := time.Now()
			p.start(func(o *Options) { o.Watch.Quiet = time.Millisecond }, folders...)
			fixture.StartEnvoy(b, fixture.EnvoyOptions{XDS: "unix:" + p.socket})
			p.until("serving", p.Serving)
			start, i := time.Since(began), 0
			for b.Loop() {
				i++
				folder, id := fmt.Sprintf("p%05d", i%n), fmt.Sprintf("api%05d/1.0.0", i%n)
				old := p.revision(folder, id)
				p.one(i%n, fmt.Sprint("/v", i))
				p.until("the edit", func() bool { return p.revision(folder, id) != old })
			}
			b.ReportMetric(start.Seconds(), "start-s")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPush is one push, and 20 at once, of projects that are there: with gateways that answer at once, and with ones
// that take 20 ms for each answer, as those far away do.
func BenchmarkPush(b *testing.B) {
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		for _, n := range []int{1, 20} {
			b.Run(fmt.Sprintf("late=%s/atonce=%d", late, n), func(b *testing.B) {
				p := newSite(b)
				p.start(p.withStore)
				p.until("the adapter has started", func() bool { return p.pushes.running() != nil })
				for _, role := range []string{xds.RoleEnvoy, xds.RoleEnforcer} {
					p.gateway(role, role, xdstest.Options{Behaviour: xdstest.Late(late)})
				}
				p.until("serving", p.Serving)
				turn := 0
				for b.Loop() {
					turn++
					var group sync.WaitGroup
					for i := range n {
						name := fmt.Sprintf("p%02d", i)
						body := one(b, name, "/"+name, "/a", "/b/{id}", "/c", "/d/{id}", "/e", "/f", "/g", "/h", "/i", fmt.Sprint("/turn", turn))
						group.Go(func() {
							if _, err := p.Push(b.Context(), Push{Project: name, Archive: body, Wait: patience}); err != nil {
								b.Error(err)
							}
						})
					}
					group.Wait()
				}
			})
		}
	}
}
