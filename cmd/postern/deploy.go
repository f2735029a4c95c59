package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/toolkit/client"
	"github.com/postern-gateway/postern/toolkit/pushes"
	"github.com/postern-gateway/postern/toolkit/report"
)

func newDeploy() *cobra.Command {
	var d deployment
	c := &cobra.Command{
		Use:   "deploy DIR|ZIP…",
		Short: "Have an adapter serve projects: on every gateway, or not at all",
		Long: `Pushes projects to an adapter and waits until the gateways of their labels serve them. Ends with 0 when they do, and says
else why not, and what to do: then what was served before is served again. Each project is a push of its own; the worst of
them is the exit code.

A project is validated here first, for fast answers. What only the adapter knows, it decides: its environment (POSTERN_ENV of the
adapter), the values of variables, which backends it allows. There is no --env: one archive serves every environment.`,
		Example: `  postern deploy shop --wait 30s
  postern deploy shop billing.zip --server https://adapter.example.com:9843 --require percent:80
  postern deploy shop --dry-run --format sarif > postern.sarif`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, paths []string) error { return d.run(c, paths) },
	}
	d.from.flags(c)
	d.choices.flags(c)
	d.format = choice{of: report.Formats}
	c.Flags().Var(&d.format, "format", "how to print: text, json, or the problems as junit or sarif (default: as --output says)")
	c.Flags().Uint64Var(&d.choices.push.Revision, "if-revision", 0, "push only in the place of this revision, which nobody has replaced since")
	c.Flags().StringVar(&d.name, "name", "", "the project's name (that of its project.yaml, else its folder's or archive's)")
	c.Flags().BoolVar(&d.unchecked, "no-validate", false, "leave it to the adapter to validate")
	return c
}

// choices are the flags of commands that change what is served.
type choices struct {
	push client.Push
	wait string
}

func (o *choices) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.wait, "wait", "", "how long to wait for the gateways; 0 does not wait (the adapter's pushes.wait)")
	c.Flags().StringVar(&o.push.Require, "require", "", "who must serve it: all, or percent:N of the healthy gateways (the adapter's pushes.require)")
	c.Flags().BoolVar(&o.push.DryRun, "dry-run", false, "go as far as can be gone without telling a gateway anything")
	c.Flags().BoolVar(&o.push.AllowBreaking, "allow-breaking", false, "do it although it breaks consumers, where the adapter refuses that (pushes.breaking); for admins")
}

var requirement = regexp.MustCompile(`^(all|percent:([1-9][0-9]?|100))$`)

func (o *choices) check() error {
	if o.push.Require != "" && !requirement.MatchString(o.push.Require) {
		return usage(fmt.Errorf("--require %s: write all, or percent:N with N from 1 to 100", o.push.Require))
	}
	if o.wait == "" {
		return nil
	}
	wait, err := time.ParseDuration(o.wait)
	switch {
	case err != nil, wait < 0:
		return usage(fmt.Errorf("--wait %s: write a time such as 30s, or 0", o.wait))
	case wait > rest.LongestWait:
		return usage(fmt.Errorf("--wait %s: an adapter lets wait for %s at most; --wait 0 does not wait, and the push goes on", o.wait, rest.LongestWait))
	case wait == 0:
		wait = -1
	}
	o.push.Wait = wait
	return nil
}

// deployment is one call of deploy.
type deployment struct {
	from      remote
	choices   choices
	format    choice
	name      string
	unchecked bool
}

func (d *deployment) run(c *cobra.Command, paths []string) error {
	switch {
	case d.name != "" && len(paths) > 1:
		return usage(errors.New("--name is for one project; deploy them one by one"))
	case d.choices.push.Revision > 0 && len(paths) > 1:
		return usage(errors.New("--if-revision is for one project; deploy them one by one"))
	}
	if err := d.choices.check(); err != nil {
		return err
	}
	asker, err := d.from.client(c)
	if err != nil {
		return err
	}
	defer asker.Close()
	return eachPush(c, asker, paths, d.format.value, func(ctx context.Context, path string) pushes.Result {
		return d.deploy(ctx, asker, path)
	})
}

// deploy pushes one project.
func (d *deployment) deploy(ctx context.Context, asker *client.Client, path string) pushes.Result {
	r := pushes.Result{Path: path, Verb: "deployed", DryRun: d.choices.push.DryRun}
	archive, p, problems, err := archiveOf(path)
	if err != nil {
		r.Project, r.Exit, r.Failure = or(d.name, nameOf(path)), exitBadInput, &pushes.Failure{Code: "unreadable", Detail: err.Error()}
		return r
	}
	r.Project = p.Name
	if d.name != "" {
		r.Project = d.name
	}
	if !d.unchecked && model.Refusing(problems) {
		r.Exit = exitBadInput
		r.Failure = &pushes.Failure{Code: "invalid", Detail: "it has problems, and nothing was sent", Problems: problems, Next: "mend what is named above and deploy it again"}
		return r
	}
	o, rollout, err := asker.Put(ctx, r.Project, client.Bytes(archive), d.choices.push)
	return settle(r, o, rollout, err)
}

// settle completes a result by what a server answered.
func settle(r pushes.Result, o outcome, rollout string, err error) pushes.Result {
	var e *client.Error
	switch {
	case err == nil && rollout != "":
		r.OK, r.Rollout = true, rollout
	case err == nil:
		r.OK, r.Outcome = true, &o
	case !errors.As(err, &e):
		r.Exit, r.Failure = exitBadInput, &pushes.Failure{Detail: err.Error()}
		return r
	case e.Kind == client.Refused:
		r.Exit, r.Failure = codeOf(e), pushes.FailureOf(e.Refusal, r.Project, r.Path)
		r.Failure.Detail = e.Words
	default:
		r.Exit, r.Failure = codeOf(e), &pushes.Failure{Detail: e.Words}
	}
	if e != nil && e.Unknown {
		r.Failure.Unknown = true
		r.Failure.Next = "what became of it is not known: postern revisions " + r.Project + " tells"
	}
	return r
}

// eachPush makes one push after the other, shows on a terminal how they get on, and prints what became of them.
func eachPush(c *cobra.Command, asker *client.Client, subjects []string, format string, push func(context.Context, string) pushes.Result) error {
	ctx, release := interruptible(c)
	defer release()
	if format == "" {
		format = c.Flag("output").Value.String()
	}
	var results []pushes.Result
	worst := exitOK
	for i, subject := range subjects {
		done := follow(ctx, newStatus(c), asker, subject)
		r := push(ctx, subject)
		done()
		worst = max(worst, r.Exit)
		results = append(results, r)
		if format == "text" {
			if err := pushes.Write(c.OutOrStdout(), format, results[i:]); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if format != "text" {
		if err := pushes.Write(c.OutOrStdout(), format, results); err != nil {
			return err
		}
	} else if len(subjects) > 1 {
		fmt.Fprintln(c.OutOrStdout(), pushes.Summary(results))
	}
	if worst != exitOK {
		return failure{code: worst}
	}
	return nil
}

// follow shows what the gateways are at until the returned function is called.
func follow(ctx context.Context, s *status, asker *client.Client, subject string) func() {
	if !s.on() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		began, line := time.Now(), "sent"
		for ctx.Err() == nil {
			s.show(fmt.Sprintf("%s: %s (%s)", subject, line, time.Since(began).Round(100*time.Millisecond)))
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
			if r, err := asker.Gateways(ctx); err == nil {
				line = r.Progress()
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		s.clear()
	}
}

// archiveOf packs the project at path, and says what can be said against it without knowing the gateway that is to serve
// it. The error is about the path alone.
func archiveOf(path string) ([]byte, model.Project, []model.Problem, error) {
	files, closer, err := project.Open(path)
	if err != nil {
		return nil, model.Project{}, nil, err
	}
	defer closer.Close()
	p, problems := project.Compile(files, project.Options{
		Name: nameOf(path), Lookup: os.LookupEnv, Settings: model.Settings{Timeouts: model.Timeouts{MaxRequest: time.Hour}},
	})
	var archive bytes.Buffer
	if err := project.Build(files, &archive); err != nil {
		return nil, p, problems, fmt.Errorf("%s: %w", path, err)
	}
	_, noEnvironments := fs.Stat(files, "environments")
	return archive.Bytes(), p, slices.DeleteFunc(problems, func(p model.Problem) bool {
		return slices.Contains(elsewhere, p.Code) || noEnvironments == nil && slices.Contains(byEnvironment, p.Code)
	}), nil
}

// Problems that depend on the gateway, and that an environment of the project may solve.
var (
	elsewhere     = []string{"unresolved-variable", "forbidden-backend"}
	byEnvironment = []string{"no-backend", "no-production-endpoints", "unknown-definition"}
)

// projectNames are the arguments of commands that take names of projects; a folder or archive is one that is meant.
func projectNames(args []string) error {
	for _, name := range args {
		if strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".zip") {
			return usage(fmt.Errorf("%s is a path; write the project's name, which postern apis lists", name))
		}
	}
	return nil
}
