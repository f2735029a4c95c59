package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/toolkit/client"
)

// remote are the flags of commands that ask a server.
type remote struct {
	settings settings
	server   string
	token    string
	files    mtls.Files
}

func (r *remote) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.server, "server", os.Getenv("POSTERN_SERVER"), "the adapter's management address, http(s)://HOST:PORT or unix:PATH ($POSTERN_SERVER, or that of the configuration)")
	c.Flags().Lookup("server").DefValue = ""
	c.Flags().StringVar(&r.token, "token", "", "who asks ($POSTERN_TOKEN, which does not show in process lists; on the adapter's own machine its admin token)")
	c.Flags().StringVar(&r.files.Cert, "cert", "", "the certificate to show to a server that asks for one")
	c.Flags().StringVar(&r.files.Key, "key", "", "its private key")
	c.Flags().StringVar(&r.files.CA, "ca", "", "the authorities that the server's certificate may be from")
	r.settings.flags(c)
}

// client is who asks. Its error is about the flags.
func (r *remote) client(c *cobra.Command) (*client.Client, error) {
	cfg, err := r.configuration(c)
	if err != nil {
		return nil, err
	}
	server, name := r.server, ""
	if server == "" {
		if server, err = managementOf(cfg, r.files.Cert != ""); err != nil {
			return nil, err
		}
		if strings.HasPrefix(server, "unix:") && server != cfg.Management.Listen {
			name = "this machine's gateway" // why: nobody has heard of that socket
		}
	}
	asking, err := clientOf(r.files)
	if err != nil {
		return nil, err
	}
	options := client.Options{Server: server, Name: name, Token: r.token, HTTP: asking, Shown: r.files.Cert != "", Again: tellAgain(c)}
	if options.Token == "" {
		options.Token = strings.TrimSpace(os.Getenv("POSTERN_TOKEN"))
	}
	if options.Token == "" && cfg != nil && ours(cfg, server) {
		options.Token = adminToken(cfg)
	}
	asker, err := client.New(options)
	if err != nil {
		return nil, usage(fmt.Errorf("--server %s: %w", server, err))
	}
	if options.Token != "" && strings.HasPrefix(server, "http://") && !here(server) {
		fmt.Fprintf(c.ErrOrStderr(), "%s: the token travels to %s unencrypted; whoever listens can use it\n", self(), server)
	}
	return asker, nil
}

// configuration is that of the gateway on this machine. One that cannot be read is an error only where it must say which
// server is meant.
func (r *remote) configuration(c *cobra.Command) (*config.Config, error) {
	r.settings.part, r.settings.insecure = config.Client, true // it listens nowhere
	cfg, _, err := r.settings.load(c)
	if err != nil && r.server != "" && r.settings.file == "" {
		return nil, nil
	}
	return cfg, err
}

// tellAgain tells that a call is made once more, the first time it is, where no line on a terminal shows how it gets on.
func tellAgain(c *cobra.Command) func(error) {
	if newStatus(c).on() {
		return nil
	}
	var once sync.Once
	return func(why error) {
		once.Do(func() { fmt.Fprintf(c.ErrOrStderr(), "%s: %v; trying again\n", self(), why) })
	}
}

// ours says whether a server is where the adapter of a configuration is asked. Its admin token is for no other: at any other port of
// this machine somebody else may listen.
func ours(cfg *config.Config, server string) bool {
	if !here(server) {
		return false
	}
	for _, certificate := range []bool{false, true} {
		if at, err := managementOf(cfg, certificate); err == nil && at == strings.TrimSuffix(server, "/") {
			return true
		}
	}
	return false
}

// here says whether a server is on this machine.
func here(server string) bool {
	if strings.HasPrefix(server, "unix:") {
		return true
	}
	u, err := url.Parse(server)
	return err == nil && config.Loopback(u.Hostname())
}

// adminToken is what the first start of the adapter wrote into the data folder; "" if this user cannot read it.
func adminToken(cfg *config.Config) string {
	text, err := os.ReadFile(filepath.Join(cfg.DataDir, "admin.token"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// failed is an error of a server, with the exit code that goes with it (design §3.1).
func failed(err error) error {
	var e *client.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	return failure{codeOf(e), e}
}

func codeOf(e *client.Error) int {
	if e.Kind != client.Refused {
		return exitUnreachable
	}
	if e.Refusal.Code == "busy" { // a moment later it may be taken
		return exitUnreachable
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInternalServerError:
		return exitUnreachable
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return exitRejected
	}
	return exitBadInput
}

// managementOf is where this machine's gateway is asked: over its socket in the data folder, where no token is needed and nobody
// else can answer, if it is there and no certificate is to be shown; else at the address of the configuration.
func managementOf(cfg *config.Config, certificate bool) (string, error) {
	sockets, err := socket.Sockets(cfg.DataDir)
	if err != nil {
		return "", err
	}
	address := cfg.Management.Listen
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if filepath.Dir(path) == filepath.Clean(cfg.DataDir) {
			path = filepath.Join(sockets, filepath.Base(path))
		}
		return "unix:" + path, nil
	}
	for _, part := range []config.Part{config.Adapter, config.Run} {
		if path := filepath.Join(sockets, healthSocket(part)); !certificate && listens(path) {
			return "unix:" + path, nil
		}
	}
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	if cfg.Management.TLS.Cert != "" {
		return "https://" + address, nil
	}
	return "http://" + address, nil
}

// listens says whether somebody does at a socket, which a process that was killed leaves behind.
func listens(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// clientOf trusts the authorities in these files, if there are any, and shows the certificate.
func clientOf(files mtls.Files) (*http.Client, error) {
	switch {
	case files == (mtls.Files{}):
		return nil, nil
	case (files.Cert == "") != (files.Key == "") || files.Cert != "" && files.CA == "":
		return nil, usage(errors.New("--cert, --key and --ca belong together; --ca may stand alone"))
	case files.Cert == "":
		text, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, err
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate is in it", files.CA)
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}}, nil
	}
	set, err := mtls.Load(files, mtls.Options{})
	if err != nil {
		return nil, err
	}
	config := set.ClientConfig(mtls.RoleAdapter, mtls.RoleNone)
	ours := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := ours(state); err != nil {
			return err
		}
		leaf := state.PeerCertificates[0]
		if who, err := mtls.IdentityOf(leaf); err != nil || who.Role == mtls.RoleAdapter {
			return err
		}
		return leaf.VerifyHostname(state.ServerName) // why: a certificate that names no part is known by its host
	}
	config.NextProtos = []string{"http/1.1"} // one request: nothing is gained by HTTP/2
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, nil
}

// interruptible is a context that ends with the first signal to end.
func interruptible(c *cobra.Command) (context.Context, func()) {
	ctx, _, release := untilInterrupted(c.Context())
	return ctx, release
}
