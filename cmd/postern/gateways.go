package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/toolkit/gateways"
)

func newGateways() *cobra.Command {
	var settings settings
	var server string
	var files mtls.Files
	c := &cobra.Command{
		Use:   "gateways",
		Short: "List the gateways of an adapter: version, state, what they serve",
		Long: `Asks an adapter, or postern run, for the Envoys, enforcers and ratelimiters that are connected to it, and the Envoys that
were in the last day: the build each says it is, its state, for how long it has lacked something that was published or been away,
and how many APIs its label has. States: serving (it has everything), pending (something is on its way), rejected (it refused
something), lagging (it was silent twice; pushes do not wait for it), lost (not connected).`,
		Example: `  postern gateways
  postern gateways --server http://127.0.0.1:9843 --output json
  postern gateways --server https://adapter:9843 --cert ops.pem --key ops.key --ca ca.pem`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if server == "" {
				settings.part, settings.insecure = config.Client, true // it listens nowhere
				cfg, _, err := settings.load(c)
				if err != nil {
					return err
				}
				if server, err = managementOf(cfg, files.Cert != ""); err != nil {
					return err
				}
			}
			if err := checkServer(server); err != nil {
				return usage(err)
			}
			client, err := clientOf(files)
			if err != nil {
				return err
			}
			report, err := gateways.Read(c.Context(), client, server)
			if err != nil {
				return failure{exitUnreachable, unreachable(server, err)}
			}
			if asJSON(c) {
				return printJSON(c, report)
			}
			return report.Write(c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&server, "server", "", "the adapter's management address, http(s)://HOST:PORT or unix:PATH (that of the configuration)")
	c.Flags().StringVar(&files.Cert, "cert", "", "the certificate to show to a server that asks for one")
	c.Flags().StringVar(&files.Key, "key", "", "its private key")
	c.Flags().StringVar(&files.CA, "ca", "", "the authorities that the server's certificate may be from")
	settings.flags(c)
	return c
}

// unreachable says why an adapter could not be asked.
func unreachable(server string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the adapter cannot be asked: nobody answers at %s; is the adapter running? --server names where else it is", server)
	}
	if plain := new(url.Error); errors.As(err, &plain) {
		err = plain.Err // why: what was tried is said before
	}
	return fmt.Errorf("the adapter cannot be asked: %s: %w; --server names where else it is", server, err)
}

// managementOf is where this machine's gateway is asked. One that takes only who shows a certificate is asked on its own
// machine over its socket in the data folder, if none was named.
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
	if cfg.Management.TLS.ClientCA != "" && !certificate {
		for _, part := range []config.Part{config.Adapter, config.Run} {
			path := filepath.Join(sockets, healthSocket(part))
			if _, err := os.Stat(path); err == nil {
				return "unix:" + path, nil
			}
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

// checkServer says what is wrong with an address of a server.
func checkServer(server string) error {
	if path, ok := strings.CutPrefix(server, "unix:"); ok && path != "" {
		return nil
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--server %s: write http://HOST:PORT, https://HOST:PORT or unix:PATH", server)
	}
	return nil
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
