package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	answers "github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/toolkit/client"
)

func newAPIs() *cobra.Command {
	var from remote
	var filter client.Filter
	state := choice{of: []string{"live", "stale", "rejected"}}
	c := &cobra.Command{
		Use:   "apis [NAME/VERSION]",
		Short: "List the APIs of an adapter, and whether they are served",
		Long: `Lists the APIs of all projects, pushed or not, for each label of gateways. States: live (what the source has is served), stale (an earlier
revision is served), rejected (nothing is served). One API is shown with its hosts and operations.`,
		Example: `  postern apis
  postern apis petstore/1.0.0
  postern apis --project shop --state rejected --output json`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			asker, err := from.client(c)
			if err != nil {
				return err
			}
			defer asker.Close()
			if len(args) == 1 {
				return showAPI(c, asker, args[0])
			}
			filter.State = state.value
			apis, err := asker.APIs(c.Context(), filter)
			if err != nil {
				return failed(err)
			}
			if asJSON(c) {
				return printJSON(c, apis)
			}
			if len(apis) == 0 {
				_, err := fmt.Fprintln(c.OutOrStdout(), "no API")
				return err
			}
			return listAPIs(c, apis)
		},
		ValidArgsFunction: from.complete(apisOf),
	}
	from.flags(c)
	c.Flags().StringVar(&filter.Project, "project", "", "those of one project")
	c.Flags().StringVar(&filter.Label, "label", "", "those of one label")
	c.Flags().Var(&state, "state", "those in one state: live, stale or rejected")
	_ = c.RegisterFlagCompletionFunc("project", from.complete(projectsOf)) // it fails only for flags there are not
	return c
}

func listAPIs(c *cobra.Command, apis []answers.API) error {
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "API\tBASE PATH\tPROJECT\tLABEL\tSTATE")
	for _, a := range apis {
		for _, l := range a.Labels {
			fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\n", a.Name, a.Version, a.BasePath, a.Project, l.Label, words(string(l.State), l.Detail))
		}
	}
	return t.Flush()
}

// showAPI prints one API, which is called NAME/VERSION.
func showAPI(c *cobra.Command, asker *client.Client, id string) error {
	name, version, ok := strings.Cut(id, "/")
	if !ok {
		return usage(fmt.Errorf("%s: write NAME/VERSION, as postern apis lists them", id))
	}
	a, err := asker.API(c.Context(), name, version)
	if err != nil {
		return failed(err)
	}
	if asJSON(c) {
		return printJSON(c, a)
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "%s/%s at %s on %s, of project %s\n", a.Name, a.Version, a.BasePath, or(strings.Join(a.Hosts, ", "), "any host"), a.Project)
	for _, l := range a.Labels {
		fmt.Fprintf(out, "label %s: %s\n", l.Label, words(string(l.State), l.Detail))
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, o := range a.Operations {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", o.Method, o.Path, o.Origin)
	}
	return t.Flush()
}

// words is a state, and why.
func words(state, detail string) string {
	if detail == "" {
		return state
	}
	return state + ": " + detail
}
