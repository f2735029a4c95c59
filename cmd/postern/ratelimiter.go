package main

import (
	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
)

func newRateLimiter() *cobra.Command {
	p := &part{
		name: config.RateLimiter,
		keys: map[string]string{
			"ratelimiter.listen": "where Envoys ask, unix:/path or an IP address and a port",
			"ratelimiter.admin":  "where to serve /metrics, /healthz and /readyz",
		},
		admin: func(c *config.Config) (string, string) { return "ratelimiter.admin", c.RateLimiter.Admin },
		start: func(k *call) ([]any, error) {
			return []any{"listen", k.cfg.RateLimiter.Listen, "adapters", k.adapters, "label", k.cfg.Label}, k.startRateLimiter()
		},
	}
	return p.command(&cobra.Command{
		Use:   "ratelimiter",
		Short: "Count requests for Envoys: one service of a gateway, apart",
		Long: `Answers the rate limit calls of Envoys. Limits come from the adapters in xds.addresses; what came last is kept in the data
folder, so that a restart needs no adapter. gRPC health says NOT_SERVING until it has them all. Counts are in memory.`,
		Example: `  postern ratelimiter --config postern.yaml
  POSTERN_XDS_ADDRESSES='["adapter-a:18000","adapter-b:18000"]' postern ratelimiter`,
		Args: usageArgs(cobra.NoArgs),
	})
}
