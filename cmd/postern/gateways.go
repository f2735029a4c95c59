package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/mtls"
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
				cfg, _, err := settings.load(c)
				if err != nil {
					return err
				}
				server = managementOf(cfg)
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
				return failure{exitUnreachable, fmt.Errorf("the adapter cannot be asked: %w", err)}
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

// managementOf is where this machine's gateway is managed.
func managementOf(cfg *config.Config) string {
	address := cfg.Management.Listen
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		return "unix:" + path
	}
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	if cfg.Management.TLS.Cert != "" {
		return "https://" + address
	}
	return "http://" + address
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

// clientOf shows the certificate in these files, if there are any.
func clientOf(files mtls.Files) (*http.Client, error) {
	if files == (mtls.Files{}) {
		return nil, nil
	}
	if files.Cert == "" || files.Key == "" || files.CA == "" {
		return nil, usage(errors.New("--cert, --key and --ca belong together: say all of them or none"))
	}
	set, err := mtls.Load(files, mtls.Options{})
	if err != nil {
		return nil, err
	}
	config := set.ClientConfig(mtls.RoleAdapter)
	config.NextProtos = []string{"http/1.1"} // one request: nothing is gained by HTTP/2
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, nil
}
