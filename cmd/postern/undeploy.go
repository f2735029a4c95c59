package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	answers "github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/pushes"
)

// outcome is what a server answers to a push.
type outcome = answers.Outcome

func newUndeploy() *cobra.Command {
	var from remote
	var o choices
	var yes bool
	c := &cobra.Command{
		Use:   "undeploy NAME…",
		Short: "Have an adapter serve nothing of projects any longer",
		Long: `Takes projects that were pushed off the gateways. Their revisions stay: postern rollback serves one of them again. Who sits at a
terminal is asked first.`,
		Example: `  postern undeploy shop
  postern undeploy shop billing --yes --wait 30s`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if err := projectNames(names); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			asker, err := from.client(c)
			if err != nil {
				return err
			}
			defer asker.Close()
			if !yes && !o.push.DryRun {
				if err := confirm(c, fmt.Sprintf("Serve nothing of %s any longer, on %s?", strings.Join(names, ", "), asker.Server())); err != nil {
					return err
				}
			}
			return eachPush(c, asker, names, "", func(ctx context.Context, name string) pushes.Result {
				r := pushes.Result{Project: name, Verb: pushes.Undeployed, DryRun: o.push.DryRun}
				out, rollout, err := asker.Delete(ctx, name, o.push)
				return settle(r, out, rollout, err)
			})
		},
		ValidArgsFunction: from.complete(projectsOf),
	}
	from.flags(c)
	o.flags(c)
	c.Flags().BoolVar(&o.push.Now, "now", false, "remove its policies at once, and not when no gateway can refer to them any longer")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
