package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/envoy"
	"github.com/postern-gateway/postern/internal/config"
)

func newEnvoy() *cobra.Command {
	var binary envoy.Binary
	p := &part{
		name: config.BesideEnvoy,
		keys: map[string]string{
			"envoy.path":        "the Envoy to run",
			"envoy.id":          "what adapters call this gateway",
			"management.listen": "where to serve /metrics, /healthz and /readyz",
		},
		admin: func(c *config.Config) (string, string) { return "management.listen", c.Management.Listen },
		start: func(k *call) (about []any, err error) {
			var warnings []string
			if binary, warnings, err = findEnvoy(k.command.Context(), k.cfg); err != nil {
				return nil, err
			}
			for _, w := range warnings {
				k.log.Warn(w)
			}
			k.readiness.needEnvoy()
			return []any{"envoy", or(binary.Version, "unknown"), "node", k.node, "adapters", k.adapters, "label", k.cfg.Label},
				k.startBeside(k.command.OutOrStdout())
		},
		serve: func(ctx context.Context, k *call) error { return k.runEnvoy(ctx, binary, k.hurry) },
	}
	return p.command(&cobra.Command{
		Use:   "envoy",
		Short: "Run an Envoy and look after it: one service of a gateway, apart",
		Long: `Starts an Envoy and starts it again should it end, brings it what the adapters in xds.addresses say, and keeps what Envoy
acknowledged in the data folder, to serve it while none of them answers. Beside it run a ratelimiter for limits that are counted here while
the others are away, and the receiver of its access log, which goes to standard output.
The first interrupt lets requests in flight finish; a second one ends at once.`,
		Example: `  postern envoy --config postern.yaml
  POSTERN_XDS_ADDRESSES='["adapter-a:18000","adapter-b:18000"]' postern envoy --envoy-id gateway-1`,
		Args: usageArgs(cobra.NoArgs),
	})
}
