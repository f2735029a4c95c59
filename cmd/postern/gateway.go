package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/enforcer"
	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/envoy/accesslog"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/observe"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/internal/xds"
	"github.com/postern-gateway/postern/ratelimiter"
)

// gateway is all services in one process, and Envoy as its child. They speak the same gRPC as they do apart.
type gateway struct {
	cfg       *config.Config
	log       *slog.Logger
	binary    envoy.Binary
	folder    *socket.Folder
	registry  *prometheus.Registry
	readiness *readiness
	node      string
	out       io.Writer // gets the access log

	management net.Addr
	adapter    *adapter.Adapter

	services *errgroup.Group // everything but Envoy; it ends after Envoy
	ctx      context.Context // of the services
	closers  []func()
}

// service is one gRPC server.
type service interface {
	Register(*grpc.Server)
	ServerOptions() []grpc.ServerOption
}

// serve listens on an address and has a service answer there until the services end.
func (g *gateway) serve(key, address string, s service) error {
	l, err := socket.Listen(address)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	server := grpc.NewServer(s.ServerOptions()...)
	s.Register(server)
	g.services.Go(func() error { return server.Serve(l) })
	g.closers = append(g.closers, server.Stop)
	return nil
}

// follower is a service that lives by what it gets over xDS.
type follower interface {
	service
	Apply(xds.Update) error
	Ready() bool
	Run(context.Context) error
}

// follow serves a follower and keeps it up to date.
func (g *gateway) follow(role, name, address string, types []string, s follower) error {
	if err := g.serve(name+".listen", address, s); err != nil {
		return err
	}
	g.readiness.until(s.Ready, "the "+name+" has not received everything")
	log := g.log.With("service", name)
	g.services.Go(func() error { return s.Run(g.ctx) })
	g.services.Go(func() error {
		return xds.Run(g.ctx, xds.ClientOptions{
			Addresses: []string{g.place(g.cfg.XDS.Listen)}, Node: g.node + "/" + name, Label: g.cfg.Label, Role: role,
			Version: versionName(), Types: types, Apply: s.Apply, Log: log,
		})
	})
	return nil
}

// startServices starts what Envoy calls, and what it needs before its first request.
func (g *gateway) startServices() error {
	settings := g.settings()
	if err := g.follow(xds.RoleEnforcer, "enforcer", settings.Enforcer.Address, enforcer.Types,
		enforcer.New(enforcer.Options{Log: g.log.With("service", "enforcer"), Registerer: g.registry})); err != nil {
		return err
	}
	for name, address := range map[string]string{"ratelimiter": settings.RateLimiter.Address, "ratelimiter-local": settings.LocalLimiter.Address} {
		limiter := ratelimiter.New(ratelimiter.Options{Name: name, Log: g.log.With("service", name), Registerer: g.registry})
		if err := g.follow(xds.RoleRateLimiter, name, address, ratelimiter.Types, limiter); err != nil {
			return err
		}
	}
	return g.serveAccessLog(settings.AccessLog.Address)
}

// serveAccessLog counts what Envoy has answered, and writes a line for each request.
func (g *gateway) serveAccessLog(address string) error {
	s := accesslog.New(accesslog.Options{Output: g.out, Log: g.log, Registerer: g.registry})
	g.services.Go(func() error { return s.Run(g.ctx) })
	return g.serve("access log", address, s)
}

// settings are the configuration's, with the addresses this process really uses.
func (g *gateway) settings() model.Settings {
	s := g.cfg.Settings()
	s.Enforcer.Address = g.place(s.Enforcer.Address)
	s.RateLimiter.Address = g.place(s.RateLimiter.Address)
	s.LocalLimiter = model.Service{Address: g.socket("ratelimiter-local.sock"), Timeout: s.RateLimiter.Timeout}
	s.AccessLog = model.Service{Address: g.socket("accesslog.sock")}
	s.SystemCA = envoy.SystemCA()
	return s
}

// socket is a socket of our own.
func (g *gateway) socket(name string) string { return "unix:" + filepath.Join(g.folder.Sockets, name) }

// place is an address of the configuration, with sockets of the data folder where they have room.
func (g *gateway) place(address string) string {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return address
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if filepath.Dir(path) == g.folder.Path {
		return g.socket(filepath.Base(path))
	}
	return "unix:" + path
}

// serveManagement answers for health and metrics.
func (g *gateway) serveManagement(pprof bool) (net.Addr, error) {
	l, err := socket.Listen(g.place(g.cfg.Management.Listen))
	if err != nil {
		return nil, fmt.Errorf("management.listen: %w", err)
	}
	host, _, _ := net.SplitHostPort(g.cfg.Management.Listen)
	server := &http.Server{
		Handler: observe.Handler(observe.Options{
			Metrics: g.registry, NotReady: g.readiness.reasons, Pprof: pprof, Loopback: config.Loopback(host),
		}),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	g.services.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("management: %w", err)
		}
		return nil
	})
	g.closers = append(g.closers, func() { server.Close() })
	return l.Addr(), nil
}

// runEnvoy runs Envoy until ctx is done, and drains it.
func (g *gateway) runEnvoy(ctx context.Context, hurry <-chan struct{}) error {
	return envoy.Run(ctx, envoy.Options{
		Binary: g.binary.Path,
		Bootstrap: envoy.Bootstrap{
			ID: g.node, Label: g.cfg.Label, XDS: g.place(g.cfg.XDS.Listen), Admin: g.place(g.cfg.Envoy.Admin), MaxConnections: maxConnections(),
		},
		Dir: g.folder.Path, Concurrency: g.cfg.Envoy.Concurrency, Drain: g.cfg.Envoy.Drain, Hurry: hurry,
		Live: g.readiness.setEnvoy, Log: g.log,
	})
}

// maxConnections leaves a file descriptor to each client for its request to the backend.
func maxConnections() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 10_000
	}
	return int64(min(max(limit.Cur/2, 100), 100_000))
}

// close ends the services and leaves nothing behind.
func (g *gateway) close(stop context.CancelFunc) {
	stop()
	for _, end := range g.closers {
		end()
	}
	_ = g.services.Wait() // what went wrong was told when it did
	g.folder.Release()
}

// nodeName is who this gateway is: envoy.id, or the host's name.
func nodeName(cfg *config.Config) string {
	if cfg.Envoy.ID != "" {
		return cfg.Envoy.ID
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "postern"
}
