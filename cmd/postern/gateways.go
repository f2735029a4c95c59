package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/toolkit/client"
	"github.com/postern-gateway/postern/toolkit/gateways"
)

func newGateways() *cobra.Command {
	var from remote
	var watch time.Duration
	c := &cobra.Command{
		Use:   "gateways",
		Short: "List the gateways of an adapter: version, state, what they serve",
		Long: `Asks an adapter, or postern run, for the Envoys, enforcers and ratelimiters that are connected to it, and the Envoys that
were in the last day: the build each says it is, its state, for how long it has lacked something that was published or been away,
and how many APIs its label has. States: serving (it has everything), pending (something is on its way), rejected (it refused
something), lagging (it was silent twice; pushes do not wait for it), lost (not connected).

An adapter from before there was a management API is asked by its metrics, which need no token.`,
		Example: `  postern gateways
  postern gateways --watch 5s
  postern gateways --server http://127.0.0.1:9843 --output json
  postern gateways --server https://adapter:9843 --cert ops.pem --key ops.key --ca ca.pem`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			asker, err := from.client(c)
			if err != nil {
				return err
			}
			defer asker.Close()
			ctx, release := interruptible(c)
			defer release()
			for {
				if err := from.showGateways(ctx, c, asker); err != nil {
					return failed(err)
				}
				if watch <= 0 {
					return nil
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(watch):
				}
				if !asJSON(c) {
					fmt.Fprintln(c.OutOrStdout())
				}
			}
		},
	}
	c.Flags().DurationVar(&watch, "watch", 0, "list them again and again, after this time, until interrupted")
	from.flags(c)
	return c
}

func (r *remote) showGateways(ctx context.Context, c *cobra.Command, asker *client.Client) error {
	report, err := asker.Gateways(ctx)
	var e *client.Error
	if errors.As(err, &e) && e.Kind == client.Foreign {
		plain, wrong := clientOf(r.files)
		if wrong != nil {
			return wrong
		}
		if older, unread := gateways.Read(ctx, plain, asker.Server()); unread == nil {
			report, err = older, nil
		}
	}
	switch {
	case err != nil:
		return err
	case asJSON(c):
		return printJSON(c, report)
	}
	return report.Write(c.OutOrStdout())
}
