package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/observe"
	"github.com/postern-gateway/postern/internal/socket"
)

// process is what every server process has, whichever parts of the gateway are in it: a data folder that is its own, a
// listener for health and metrics, and services that end together.
type process struct {
	cfg       *config.Config
	log       *slog.Logger
	folder    *socket.Folder
	registry  *prometheus.Registry
	readiness *readiness
	node      string // its name among the gateway's parts

	management net.Addr // where health and metrics are

	services *errgroup.Group
	ctx      context.Context // of the services
	stop     context.CancelFunc
	closers  []func() // run at the end, last in first
}

// newProcess takes the data folder. The services do not end with ctx but with close, after what depends on them.
func newProcess(ctx context.Context, cfg *config.Config, log *slog.Logger, holder string) (*process, error) {
	folder, err := socket.Claim(cfg.DataDir, "", fmt.Sprintf("postern (pid %d, %s)", os.Getpid(), holder))
	if err != nil {
		return nil, err
	}
	p := &process{
		cfg: cfg, log: log, folder: folder, registry: observe.NewRegistry(), readiness: &readiness{}, node: nodeName(cfg),
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.services, p.ctx = errgroup.WithContext(ctx)
	return p, nil
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

// service is one gRPC server.
type service interface {
	Register(*grpc.Server)
	ServerOptions() []grpc.ServerOption
}

// finish is how long the calls in flight of a service that ends are waited for.
const finish = 5 * time.Second

// serve listens at an address, which a key of the configuration says, and has a service answer there until the end.
func (p *process) serve(key, address string, s service) error {
	l, err := socket.Listen(address)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	server := grpc.NewServer(s.ServerOptions()...)
	s.Register(server)
	p.services.Go(func() error { return server.Serve(l) })
	p.closers = append(p.closers, func() {
		hurry := time.AfterFunc(finish, server.Stop)
		defer hurry.Stop()
		server.GracefulStop()
	})
	return nil
}

// serveManagement answers for health and metrics, at the address that a key of the configuration says.
func (p *process) serveManagement(key, address string, pprof bool) error {
	l, err := socket.Listen(p.place(address))
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	host, _, _ := net.SplitHostPort(address)
	server := &http.Server{
		Handler: observe.Handler(observe.Options{
			Metrics: p.registry, NotReady: p.readiness.reasons, Pprof: pprof, Loopback: config.Loopback(host),
		}),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.services.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("management: %w", err)
		}
		return nil
	})
	p.closers = append(p.closers, func() { server.Close() })
	p.management = l.Addr()
	return nil
}

// managementURL is where health and metrics are, for people.
func (p *process) managementURL() string {
	if p.management.Network() == "unix" {
		return "unix:" + p.management.String()
	}
	return "http://" + p.management.String()
}

// socket is a socket of our own.
func (p *process) socket(name string) string { return "unix:" + filepath.Join(p.folder.Sockets, name) }

// place is an address of the configuration, with sockets of the data folder where they have room.
func (p *process) place(address string) string {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return address
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if filepath.Dir(path) == p.folder.Path {
		return p.socket(filepath.Base(path))
	}
	return "unix:" + path
}

// attend says, until ctx is done, that a service has failed, and then that the process is ending.
func (p *process) attend(ctx context.Context, failed func(error)) {
	select {
	case <-ctx.Done():
	case <-p.ctx.Done():
		failed(fmt.Errorf("a service has failed: %w", context.Cause(p.ctx)))
	}
	p.readiness.end()
}

// close ends the services and leaves nothing behind.
func (p *process) close() {
	p.stop()
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
	_ = p.services.Wait() // what went wrong was told when it did
	p.folder.Release()
}
