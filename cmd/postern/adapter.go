package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/socket"
)

func newAdapter() *cobra.Command {
	var environment *string
	p := &part{
		name: config.Adapter,
		keys: map[string]string{
			"xds.listen":        "where the other parts connect, unix:/path or an IP address and a port",
			"management.listen": "where to serve /metrics, /healthz and /readyz",
			"listen.http":       "where Envoys serve, an IP address and a port",
			"listen.https":      "where Envoys serve with TLS, an IP address and a port",
		},
		admin: func(c *config.Config) (string, string) { return "management.listen", c.Management.Listen },
	}
	p.start = func(k *call) ([]any, error) { return startAdapterApart(k, p.settings, *environment) }
	c := p.command(&cobra.Command{
		Use:   "adapter [DIR|ZIP]…",
		Short: "Compile projects and tell the others what to serve: one service of a gateway, apart",
		Long: `Compiles the projects named, or the one in the working directory, watches them, takes what is pushed (` + "`postern deploy`" + `), and
publishes all of them over xDS to the Envoys, enforcers and ratelimiters that connect, each project to those of its labels. It carries no requests itself: while it is
away, everybody goes on with what they have.

A change of the configuration's issuers, or of the files with their keys, is live at once; a broken one is reported while the
last good stays.`,
		Example: `  postern adapter shop billing.zip --config postern.yaml --env prod`,
		Args: func(_ *cobra.Command, args []string) error {
			_, err := watchedPaths(args) // before anything is listened on
			return err
		},
	})
	environment = environmentFlag(c)
	return c
}

func startAdapterApart(k *call, s settings, environment string) ([]any, error) {
	paths, err := folders(k.cfg, k.args)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 && len(k.cfg.Sources) == 0 {
		k.log.Info(onlyPushed)
	}
	issuers, err := k.cfg.Issuers()
	if err != nil {
		return nil, err
	}
	if len(issuers) == 0 {
		k.log.Warn("no issuer of tokens is configured: whatever asks for a token answers 401")
	}
	l, err := socket.Listen(k.place(k.cfg.XDS.Listen))
	if err != nil {
		return nil, fmt.Errorf("xds.listen: %w", err)
	}
	a, err := k.startAdapter(l, paths, environment, issuers)
	if err != nil {
		l.Close()
		return nil, err
	}
	r := &reloader{process: k.process, command: k.command, settings: s, adapter: a}
	k.services.Go(func() error { r.follow(k.ctx, issuers); return nil })
	k.readiness.until(a.Started, "the adapter has not compiled everything")
	k.watching = judge(a, alone(k.cfg, paths))
	return []any{"xds", k.cfg.XDS.Listen, "projects", paths}, nil
}
