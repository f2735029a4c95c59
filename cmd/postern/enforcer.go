package main

import (
	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
)

func newEnforcer() *cobra.Command {
	p := &part{
		name: config.Enforcer,
		keys: map[string]string{
			"enforcer.listen": "where Envoys ask, unix:/path or an IP address and a port",
			"enforcer.admin":  "where to serve /metrics, /healthz and /readyz",
		},
		admin: func(c *config.Config) (string, string) { return "enforcer.admin", c.Enforcer.Admin },
		start: func(k *call) ([]any, error) {
			return []any{"listen", k.cfg.Enforcer.Listen, "adapters", k.adapters, "label", k.cfg.Label}, k.startEnforcer()
		},
	}
	return p.command(&cobra.Command{
		Use:   "enforcer",
		Short: "Say for Envoys whether a request may pass: one service of a gateway, apart",
		Long: `Answers the ext_authz calls of Envoys. Policies and issuers come from the adapters in xds.addresses; what came last is kept
in the data folder, so that a restart needs no adapter. gRPC health says NOT_SERVING until it has them all.`,
		Example: `  postern enforcer --config postern.yaml
  POSTERN_XDS_ADDRESSES='["adapter-a:18000","adapter-b:18000"]' postern enforcer`,
		Args: usageArgs(cobra.NoArgs),
	})
}
