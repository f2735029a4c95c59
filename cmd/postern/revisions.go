package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	answers "github.com/postern-gateway/postern/adapter/rest/api"
	"github.com/postern-gateway/postern/internal/whole"
	"github.com/postern-gateway/postern/toolkit/client"
)

func newRevisions() *cobra.Command {
	var from remote
	var out string
	var revision uint64
	c := &cobra.Command{
		Use:   "revisions NAME",
		Short: "List the states that a pushed project was in",
		Long: `Lists the revisions of a project that an adapter keeps, the newest first: when and by whom it was pushed, and what it serves.
With --out it gets the archive of one: the one that is served, or --revision.`,
		Example: `  postern revisions shop
  postern revisions shop --out before.zip --revision 6
  postern revisions shop --output json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := projectNames(args); err != nil {
				return err
			}
			asker, err := from.client(c)
			if err != nil {
				return err
			}
			defer asker.Close()
			switch {
			case out != "":
				return download(c, asker, args[0], revision, out)
			case revision != 0:
				return usage(errors.New("--revision says which archive --out gets; name the file by --out"))
			}
			revisions, err := asker.Revisions(c.Context(), args[0])
			if err != nil {
				return failed(err)
			}
			if asJSON(c) {
				return printJSON(c, revisions)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "REVISION\tSTATE\tAT\tBY\tDIGEST\tAPIS")
			for _, r := range revisions {
				fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Revision, stateOf(r), r.At.UTC().Format(time.RFC3339), or(r.Author, "-"), or(short(r.Digest), "-"), or(strings.Join(namesOf(r.Apis), ", "), "-"))
			}
			return t.Flush()
		},
		ValidArgsFunction: from.complete(projectsOf),
	}
	from.flags(c)
	c.Flags().StringVar(&out, "out", "", "the archive to write")
	c.Flags().Uint64Var(&revision, "revision", 0, "which one (the one that is served)")
	return c
}

// download writes an archive whole or not at all.
func download(c *cobra.Command, asker *client.Client, name string, revision uint64, out string) error {
	ctx, release := interruptible(c)
	defer release()
	return whole.Write(out, 0o644, func(w io.Writer) error { return failed(asker.Archive(ctx, name, revision, w)) })
}

func stateOf(r answers.Revision) string {
	switch {
	case r.Current && !r.Undeployed:
		return "served"
	case r.Undeployed:
		return "undeployed"
	}
	return "earlier"
}

// short is as much of a digest as people compare.
func short(digest string) string { return digest[:min(len(digest), 12)] }

func namesOf(apis []answers.PushedAPI) []string {
	names := make([]string, len(apis))
	for i, a := range apis {
		names[i] = a.Name + "/" + a.Version
	}
	return names
}
