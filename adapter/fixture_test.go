package adapter

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/xdstest"
)

const patience = 60 * time.Second // the benchmarks' 10,000 APIs on a busy machine

// site is a directory with project folders, and the adapter that serves them.
type site struct {
	t      testing.TB
	dir    string
	socket string
	log    fixture.Log
	*Adapter
	stop       func()
	closeStore func()
}

func newSite(t testing.TB) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &site{t: t, dir: dir, socket: filepath.Join(dir, "xds.sock")}
}

func settings() model.Settings {
	return model.Settings{
		HTTP:        "127.0.0.1:0",
		Routing:     model.Routing{Segment: 1},
		Timeouts:    model.Timeouts{Request: time.Minute, Idle: 5 * time.Minute, MaxRequest: 5 * time.Minute},
		HeaderBytes: 60 << 10, BodyBytes: 10 << 20,
		ErrorFormat: model.ErrorsProblem, OnFailure: model.FailLocal,
		Enforcer:     model.Service{Address: "unix:/nowhere/enforcer.sock", Timeout: time.Second},
		RateLimiter:  model.Service{Address: "unix:/nowhere/ratelimiter.sock", Timeout: 100 * time.Millisecond},
		LocalLimiter: model.Service{Address: "unix:/nowhere/local.sock", Timeout: 100 * time.Millisecond},
		AccessLog:    model.Service{Address: "unix:/nowhere/als.sock"},
	}
}

// start runs an adapter over the named folders until the test ends or stop is called.
func (p *site) start(change func(*Options), folders ...string) {
	p.t.Helper()
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	o := Options{Settings: settings(), Listen: l, Log: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range folders {
		o.Folders = append(o.Folders, p.path(f))
	}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Adapter = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("Run: %v", err)
		}
	})
	p.t.Cleanup(p.stop)
}

func (p *site) path(name string) string { return filepath.Join(p.dir, name) }

// write replaces a file as editors do: at once.
func (p *site) write(name, content string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name)+"~", []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path(name)+"~", p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *site) remove(name string) {
	p.t.Helper()
	if err := os.RemoveAll(p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

// api writes a definition into a project: its operations are the paths, GET each.
func (p *site) api(project, name, base string, paths ...string) {
	p.t.Helper()
	p.write(filepath.Join(project, "api_definitions", name+".yaml"), definition(name, base, paths...))
}

func definition(name, base string, paths ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `openapi: 3.0.3
info: {title: %s, version: 1.0.0}
x-wso2-basePath: %s
x-wso2-production-endpoints: {urls: ["http://127.0.0.1:9"]}
paths:
`, name, base)
	for _, path := range paths {
		fmt.Fprintf(&b, "  %s: {get: {responses: {\"200\": {description: ok}}}}\n", path)
	}
	return b.String()
}

// gateway connects a gateway of a role under its own name, and waits until the adapter knows it: Serving speaks of those
// alone who are connected, and a push asks no others. Its label is the default one, if o.Node says no other.
func (p *site) gateway(id, role string, o xdstest.Options) *xdstest.Gateway {
	p.t.Helper()
	o.Node.ID, o.Node.Role = id, role
	if o.Node.Label == "" {
		o.Node.Label = xds.DefaultLabel
	}
	g := xdstest.Connect(p.t, "unix:"+p.socket, o)
	p.until("gateway "+id+" is known", func() bool {
		return slices.ContainsFunc(p.Gateways(), func(known publish.Gateway) bool {
			return known.ID == id && known.Role == role && known.Label == o.Node.Label && known.State != publish.Lost
		})
	})
	return g
}

// labels writes a project.yaml that says which gateways a project is for.
func (p *site) labels(project string, labels ...string) {
	p.t.Helper()
	p.write(project+"/project.yaml", "labels: ["+strings.Join(labels, ", ")+"]\n")
}

// until waits for a condition of what the adapter says of itself.
func (p *site) until(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not in time\n%.3000s\n%.3000s", what, fmt.Sprintf("%+v", p.Status()), p.log.String())
		}
	}
}

// of is the status of an API in a project folder, in its first label.
func (p *site) of(project, id string) APIStatus {
	all := p.ofAll(project, id)
	for _, label := range slices.Sorted(maps.Keys(all)) {
		return all[label]
	}
	return APIStatus{}
}

// ofAll is the status of an API by label.
func (p *site) ofAll(project, id string) map[string]APIStatus {
	all := map[string]APIStatus{}
	for _, s := range p.Status().APIs {
		if s.ID == id && s.Path == p.path(project) {
			all[s.Label] = s
		}
	}
	return all
}

func (p *site) untilState(project, id string, want State) APIStatus {
	p.t.Helper()
	p.until(fmt.Sprintf("%s of %s is %q", id, project, want), func() bool { return p.of(project, id).State == want })
	return p.of(project, id)
}
