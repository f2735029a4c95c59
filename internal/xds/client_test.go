package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
)

var silentLog = slog.New(slog.DiscardHandler)

func or(log, fallback *slog.Logger) *slog.Logger {
	if log == nil {
		return fallback
	}
	return log
}

// follower is a client of the rig whose updates are read from a channel.
type follower struct {
	t       *testing.T
	updates chan Update
	refuse  string // an update with this resource is refused
	stop    func()
}

func follow(t *testing.T, refuse string, addresses ...string) *follower {
	t.Helper()
	return followWith(t, refuse, ClientOptions{Addresses: addresses})
}

// followWith fills in the rest of o.
func followWith(t *testing.T, refuse string, o ClientOptions) *follower {
	t.Helper()
	f := &follower{t: t, refuse: refuse, updates: make(chan Update, 100)}
	o.Node, o.Label, o.Role, o.Types, o.Apply, o.Log = "enf-1", "default", RoleEnforcer, []string{ownType}, f.apply, or(o.Log, silentLog)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

func (f *follower) apply(u Update) error {
	for _, r := range u.Resources {
		if r.Name == f.refuse {
			return errors.New("do not know " + r.Name)
		}
	}
	f.updates <- u
	return nil
}

// expect is the next update: "+name@version", "-name", and "complete" at its end.
func (f *follower) expect(want string) {
	f.t.Helper()
	select {
	case u := <-f.updates:
		got := ""
		for _, r := range u.Resources {
			got += fmt.Sprintf("+%s@%s ", r.Name, r.Version)
		}
		for _, name := range u.Removed {
			got += "-" + name + " "
		}
		if u.Complete {
			got += "complete"
		}
		if got != want {
			f.t.Fatalf("update %q, want %q", got, want)
		}
	case <-time.After(patience):
		f.t.Fatalf("no update, want %q", want)
	}
}

func TestClientFollows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"a", "1"})
	f := follow(t, "", r.address)
	f.expect("+a@1 complete")
	if e := r.event(Acked); e.Node != (Node{ID: "enf-1", Label: "default", Role: RoleEnforcer}) {
		t.Errorf("node %+v", e.Node)
	}
	r.put(ownType, Item{"b", "1"})
	f.expect("+b@1 complete")
	r.remove(ownType, "a")
	f.expect("-a complete")
}

func TestClientCompletesAnEmptyFill(t *testing.T) {
	t.Parallel()
	follow(t, "", newRig(t).address).expect("complete")
}

func TestClientRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(ownType, Item{"bad", "1"}, Item{"good", "1"})
	f := follow(t, "bad", "127.0.0.1:1", r.address) // the first address answers nobody
	e := r.event(Nacked)
	if e.Words != "do not know bad" || !e.Retried {
		t.Errorf("nacked %+v", e)
	}
	f.expect("complete") // of nothing: one bad resource keeps nobody waiting
	f.expect("+good@1~1 complete")
	if e := r.event(Nacked); e.Retried || !slices.Equal(e.Resources, []Item{{"bad", "1"}}) {
		t.Errorf("nacked %+v", e)
	}
}

func TestClientReconnects(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "xds.sock")
	caches := map[string]*Cache{ownType: NewCache()}
	serve := func() (stop func()) {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		g := grpc.NewServer(GRPCOptions()...)
		NewServer(ServerOptions{Find: func(_ context.Context, _ Node, u string) (*Cache, error) { return caches[u], nil }}).Register(g)
		done := make(chan struct{})
		go func() { defer close(done); _ = g.Serve(l) }()
		return func() { g.Stop(); <-done }
	}
	f := follow(t, "", "unix:"+socket) // nobody there yet
	caches[ownType].Update(resources(Item{"a", "1"}, Item{"b", "1"}, Item{"c", "1"}), nil)
	stop := serve()
	f.expect("+a@1 +b@1 +c@1 complete")
	stop()

	caches[ownType].Update(resources(Item{"b", "2"}), []string{"c"})
	defer serve()()
	f.expect("+b@2 -c complete")
}

// The roles are on the wire and in metrics: they are the names the services have everywhere else.
func TestRoles(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"envoy", "enforcer", "ratelimiter"} {
		node := Node{ID: "n", Label: "l", Role: role}
		if !slices.Contains([]string{RoleEnvoy, RoleEnforcer, RoleRateLimiter}, role) || NodeOf(node.Proto()) != node {
			t.Errorf("nobody has the role %q", role)
		}
	}
}

func TestClientOptions(t *testing.T) {
	apply := func(Update) error { return nil }
	for name, o := range map[string]ClientOptions{
		"address": {Node: "n", Types: []string{ownType}, Apply: apply},
		"id":      {Addresses: []string{"x:1"}, Types: []string{ownType}, Apply: apply},
		"follow":  {Addresses: []string{"x:1"}, Node: "n", Apply: apply},
	} {
		if err := Run(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
