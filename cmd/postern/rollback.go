package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	answers "github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/client"
	"github.com/postern-gateway/postern/toolkit/pushes"
)

func newRollback() *cobra.Command {
	var from remote
	var o choices
	var to uint64
	c := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Have an adapter serve an earlier revision of a project again",
		Long: `Pushes what was served before the revision that is served now, or what --to names. It is a push like any other: it ends when the
gateways serve it, and makes a new revision.`,
		Example: `  postern rollback shop
  postern rollback shop --to 6 --wait 30s`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := projectNames(args); err != nil {
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
			return eachPush(c, asker, args, "", func(ctx context.Context, name string) pushes.Result {
				return rollBack(ctx, asker, name, to, o.push)
			})
		},
		ValidArgsFunction: from.complete(projectsOf),
	}
	from.flags(c)
	o.flags(c)
	c.Flags().Uint64Var(&to, "to", 0, "the revision whose content to serve (the one before)")
	return c
}

func rollBack(ctx context.Context, asker *client.Client, name string, to uint64, push client.Push) pushes.Result {
	r := pushes.Result{Project: name, DryRun: push.DryRun, Verb: "rolled back"}
	if to == 0 {
		revisions, err := asker.Revisions(ctx, name)
		if err != nil {
			return settle(r, outcome{}, "", err)
		}
		before, now := earlier(revisions)
		if before == 0 {
			r.Exit, r.Failure = exitBadInput, &pushes.Failure{Code: "unknown", Detail: "there is no revision before it", Next: "postern revisions " + name + " lists what there is"}
			return r
		}
		to, push.Revision = before, now // why: that nobody deploys in between
	}
	r.Verb = fmt.Sprintf("rolled back to what revision %d was,", to)
	o, rollout, err := asker.RollBack(ctx, name, to, push)
	if err != nil {
		r.Verb = fmt.Sprintf("rolled back to what revision %d was", to)
	}
	return settle(r, o, rollout, err)
}

// earlier is the revision that was served before the one that is, which is none after an undeployment. 0 is none.
func earlier(revisions []answers.Revision) (before, now uint64) {
	digest, passed := "", false
	for _, r := range revisions { // the newest first
		switch {
		case !passed && r.Undeployed:
			passed = true // nothing is to be replaced
		case r.Current:
			digest, now, passed = r.Digest, r.Revision, true
		case passed && !r.Undeployed && r.Digest != digest:
			return r.Revision, now
		}
	}
	return 0, now
}
