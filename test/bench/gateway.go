package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gateway is one `postern run` with its Envoy, as a user starts it.
type gateway struct {
	*process
	address string // of the data plane
	ready   string // the URL that says whether everything is served
	header  string // what callers send: a token that every operation admits, or something harmless
	admin   *http.Client
}

// gatewayOptions are what rows vary.
type gatewayOptions struct {
	projects []string
	config   string   // lines of postern.yaml beside the lab's own
	env      []string // NAME=value
	issuer   bool     // an issuer of tokens is configured
}

// gateway starts a Postern whose files all lie in the lab. It does not wait.
func (l *lab) gateway(o gatewayOptions) (*gateway, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	management, err := freePort()
	if err != nil {
		return nil, err
	}
	envoy, err := filepath.Abs(l.envoy)
	if err != nil {
		return nil, err
	}
	postern, err := filepath.Abs(l.postern)
	if err != nil {
		return nil, err
	}
	header := "accept: */*"
	if o.issuer {
		var issuers string
		if issuers, header, err = l.issuer(); err != nil {
			return nil, err
		}
		o.config += issuers
	}
	admin := l.path("admin.sock")
	config, err := l.write("postern.yaml", fmt.Sprintf(`dataDir: %s
log: {level: warn}
listen: {http: "127.0.0.1:%d"}
management: {listen: "127.0.0.1:%d"}
xds: {listen: "unix:%s"}
enforcer: {listen: "unix:%s"}
ratelimiter: {listen: "unix:%s"}
envoy: {path: %s, admin: "unix:%s"}
%s`, l.path("data"), port, management, l.path("xds.sock"), l.path("enforcer.sock"), l.path("ratelimiter.sock"), envoy, admin, o.config))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(postern, append([]string{"run", "--config", config}, o.projects...)...)
	cmd.Env = append(os.Environ(), o.env...)
	cmd.Dir = l.dir
	p, err := l.start("postern", cmd)
	if err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", admin)
	}
	return &gateway{
		process: p, address: fmt.Sprintf("127.0.0.1:%d", port), ready: fmt.Sprintf("http://127.0.0.1:%d/readyz", management), header: header,
		admin: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second},
	}, nil
}

// issuer makes an issuer's keys and a token of it: the lines of postern.yaml, and the header callers send.
func (l *lab) issuer() (config, header string, err error) {
	token, keys, err := issue()
	if err != nil {
		return "", "", err
	}
	jwks, err := l.write("jwks.json", string(keys))
	config = fmt.Sprintf("issuers: [{issuer: %q, audiences: [petstore], jwks: {file: %q}}]\n", benchIssuer, jwks)
	return config, "Authorization: Bearer " + token, err
}

func (g *gateway) url(path string) string { return "http://" + g.address + path }

// serves waits until Postern says that everything is served, and the paths are answered with 200.
func (g *gateway) serves(ctx context.Context, limit time.Duration, paths ...string) error {
	for _, url := range append([]string{g.ready}, g.urls(paths)...) {
		if err := until(ctx, often, limit, func() error { return g.ask(ctx, url, g.header) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) urls(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = g.url(p)
	}
	return out
}

var errEnded = errors.New("postern ended")

// ask wants a 200.
func (g *gateway) ask(ctx context.Context, url, header string) error {
	select {
	case <-g.done:
		return errEnded
	default:
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	name, value, _ := strings.Cut(header, ": ")
	request.Header.Set(name, value)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
	}
	return err
}

// received is how many bytes of configuration Envoy has received.
func (g *gateway) received(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin/stats?filter=^cluster.postern-xds.upstream_cx_rx_bytes_total$", nil)
	if err != nil {
		return 0, err
	}
	response, err := g.admin.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var n float64
	if _, err := fmt.Fscanf(response.Body, "cluster.postern-xds.upstream_cx_rx_bytes_total: %f", &n); err != nil {
		return 0, fmt.Errorf("the admin interface: %w", err)
	}
	return n, nil
}

// backends starts a process that answers on so many addresses of the loopback, and returns them.
func (l *lab) backends(ctx context.Context, n int) ([]string, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	var addresses []string
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("127.0.1.%d:%d", i+1, port))
	}
	_, err = l.serve(ctx, "backend", addresses...)
	return addresses, err
}
