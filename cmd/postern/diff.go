package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/toolkit/changes"
	"github.com/postern-gateway/postern/toolkit/client"
	"github.com/postern-gateway/postern/toolkit/pushes"
	"github.com/postern-gateway/postern/toolkit/report"
)

func newDiff() *cobra.Command {
	var d comparison
	c := &cobra.Command{
		Use:   "diff DIR|ZIP | diff OLD NEW",
		Short: "Say what a deployment would change, and what of it breaks consumers",
		Long: `Compares a project with what an adapter serves of it, or two states of a project with one another, without a server: APIs and
operations that are added, removed or changed, what of that breaks those who call them, and which resources of the data plane
would change (with a server).

With --fail-on breaking it ends with 1 if something breaks.`,
		Example: `  postern diff shop --fail-on breaking
  postern diff shop.zip --server https://adapter.example.com:9843 --format markdown
  postern diff shop-1.0 shop-1.1`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error { return d.run(c, args) },
	}
	d.from.flags(c)
	d.format, d.failOn = choice{of: changes.Formats}, choice{of: []string{"breaking"}}
	c.Flags().Var(&d.format, "format", "how to print: text, json or markdown (default: as --output says)")
	c.Flags().Var(&d.failOn, "fail-on", "end with 1 on changes that are breaking")
	c.Flags().StringVar(&d.name, "name", "", "the project's name on the server (that of its project.yaml, else its folder's or archive's)")
	d.environment = environmentFlag(c)
	return c
}

// comparison is one call of diff.
type comparison struct {
	from           remote
	format, failOn choice
	name           string
	environment    *string
}

func (d *comparison) run(c *cobra.Command, args []string) error {
	var r diff.Report
	var sides changes.Sides
	var err error
	if len(args) == 2 {
		if c.Flags().Changed("server") {
			return usage(errors.New("--server is for one project, which is compared with what is served"))
		}
		sides = changes.Sides{Before: args[0], After: args[1]}
		r, err = d.offline(c, args[0], args[1])
	} else {
		sides = changes.Sides{Before: "as it is served", After: args[0]}
		r, err = d.online(c, args[0])
	}
	if err != nil {
		return err
	}
	format := d.format.value
	if format == "" {
		format = c.Flag("output").Value.String()
	}
	if err := changes.Write(c.OutOrStdout(), format, r, sides); err != nil {
		return err
	}
	if d.failOn.value == "breaking" && r.Breaking {
		return failure{code: exitBadInput}
	}
	return nil
}

// offline compares two states that are here.
func (d *comparison) offline(c *cobra.Command, old, new string) (diff.Report, error) {
	before, name, done, err := d.side(c, old)
	if err != nil {
		return diff.Report{}, err
	}
	defer done()
	after, _, doneToo, err := d.side(c, new)
	if err != nil {
		return diff.Report{}, err
	}
	defer doneToo()
	r, err := diff.Compare(before, after)
	r.Project = name
	return r, err
}

// side is one state of a project, compiled as `deploy` does before it asks a server.
func (d *comparison) side(c *cobra.Command, path string) (diff.Side, string, func(), error) {
	files, closer, err := project.Open(path)
	if err != nil {
		return diff.Side{}, "", nil, err
	}
	p, problems := project.Compile(files, project.Options{
		Name: nameOf(path), Environment: *d.environment, Lookup: os.LookupEnv, AllowBackends: []string{"0.0.0.0/0", "::/0"},
		Settings: model.Settings{Timeouts: model.Timeouts{MaxRequest: time.Hour}},
	})
	if model.Refusing(problems) {
		_ = closer.Close()
		_ = report.Write(c.ErrOrStderr(), c.Flag("output").Value.String(), []report.Project{report.Of(path, p, problems)})
		return diff.Side{}, "", nil, failure{code: exitBadInput}
	}
	return diff.Side{Files: files, APIs: p.APIs}, p.Name, func() { _ = closer.Close() }, nil
}

// online compares what is here with what is served.
func (d *comparison) online(c *cobra.Command, path string) (diff.Report, error) {
	archive, p, _, err := archiveOf(path)
	if err != nil {
		return diff.Report{}, err
	}
	name := or(d.name, p.Name)
	asker, err := d.from.client(c)
	if err != nil {
		return diff.Report{}, err
	}
	defer asker.Close()
	ctx, release := interruptible(c)
	defer release()
	r, err := asker.Diff(ctx, name, client.Bytes(archive))
	var e *client.Error
	if errors.As(err, &e) { // a project that cannot be compared is told as validation does
		for _, p := range pushes.Problems(e.Refusal.Problems) {
			fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", p.Severity, report.At(path, p).Error())
		}
	}
	return r, failed(err)
}
