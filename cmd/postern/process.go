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
	"github.com/postern-gateway/postern/internal/mtls"
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
	node      string   // its name among the gateway's parts
	adapters  []string // addresses of those that are followed

	part  config.Part
	apart bool // it is one service alone
	tls   certificates

	management string             // where health and metrics are, as a URL
	api        managementAPI      // of an adapter, beside them
	stopProber context.CancelFunc // nil: there is none

	services *errgroup.Group
	ctx      context.Context // of the services
	stop     context.CancelFunc
	closers  []func() // run at the end, last in first
}

// newProcess takes the data folder, or what a part has in it. The services do not end with ctx but with close, after what
// depends on them.
func newProcess(ctx context.Context, cfg *config.Config, log *slog.Logger, part config.Part) (*process, error) {
	p := &process{cfg: cfg, log: log, part: part, apart: part != config.Run, registry: observe.NewRegistry(), readiness: &readiness{}}
	var err error
	if p.tls, err = loadCertificates(cfg, part, mtls.Options{Log: log, Registerer: p.registry}); err != nil {
		return nil, err
	}
	if err := p.becomeNode(); err != nil {
		return nil, err
	}
	lock, holder := "", or(cfg.Listen.HTTP, cfg.Listen.HTTPS)
	if p.apart {
		lock, holder = string(part), string(part)
	}
	if p.folder, err = socket.Claim(cfg.DataDir, lock, fmt.Sprintf("postern (pid %d, %s)", os.Getpid(), holder)); err != nil {
		return nil, err
	}
	addresses := cfg.XDS.Addresses
	if !p.apart {
		addresses = []string{cfg.XDS.Listen}
	}
	for _, address := range addresses {
		p.adapters = append(p.adapters, p.place(address))
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.services, p.ctx = errgroup.WithContext(ctx)
	return p, nil
}

// service is one gRPC server.
type service interface {
	Register(*grpc.Server)
	ServerOptions() []grpc.ServerOption
}

// finish is how long the calls in flight of a service that ends are waited for.
const finish = 5 * time.Second

// serve listens at an address, which a key of the configuration says, and has a service answer there until the end. By TCP
// those who have a certificate of one of these roles are answered, if there are any certificates.
func (p *process) serve(key, address string, s service, roles ...string) error {
	l, err := socket.Listen(address)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	server := grpc.NewServer(append(s.ServerOptions(), p.secure(l, p.cfg.Label, roles...)...)...)
	s.Register(server)
	p.services.Go(func() error { return server.Serve(l) })
	p.closers = append(p.closers, func() {
		hurry := time.AfterFunc(finish, server.Stop)
		defer hurry.Stop()
		server.GracefulStop()
	})
	return nil
}

// secure are the options of a gRPC server that listens there, for certificates of these roles that are good for a label.
func (p *process) secure(l net.Listener, label string, roles ...string) []grpc.ServerOption {
	if p.tls.serving == nil || l.Addr().Network() == "unix" {
		return nil
	}
	// why a time: a stranger may open a connection, and must not keep it without a certificate
	return []grpc.ServerOption{grpc.Creds(p.tls.serving.ServerCredentialsOf(label, roles...)), grpc.ConnectionTimeout(10 * time.Second)}
}

// serveManagement answers for health and metrics, and for the management API where there is an adapter, at the address that
// a key of the configuration says, and on a socket: for `postern healthy`, and for commands without a token.
func (p *process) serveManagement(key, address string, pprof bool) error {
	l, err := socket.Listen(p.place(address))
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	p.management = "unix:" + l.Addr().String()
	host, _, _ := net.SplitHostPort(address)
	if l.Addr().Network() != "unix" {
		var scheme string
		l, scheme = p.shield(l, address)
		p.management = scheme + "://" + l.Addr().String()
	}
	if pprof && p.admitsAnybody(address) {
		return fmt.Errorf("%s: --pprof would show the inside of this process to whoever reaches %s; configure management.tls.clientCA, or listen on a loopback address", key, address)
	}
	o := observe.Options{
		Metrics: p.registry, NotReady: p.readiness.reasons, Notes: p.readiness.notes, Pprof: pprof, Loopback: config.Loopback(host),
	}
	if p.part == config.Run || p.part == config.Adapter {
		o.API = &p.api
	}
	p.serveHTTP(l, observe.Handler(o))
	if l, err = socket.Listen(p.socket(healthSocket(p.part))); err != nil {
		return err
	}
	o.Loopback, o.Pprof = true, false
	p.serveHTTP(l, observe.Handler(o))
	return nil
}

func (p *process) serveHTTP(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.services.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("management: %w", err)
		}
		return nil
	})
	p.closers = append(p.closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for answers that are being sent
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
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
	if p.stopProber != nil {
		p.stopProber()
	}
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
