package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/toolkit/report"
)

// environmentFlag adds --env, which chooses a file of a project's environments/.
func environmentFlag(c *cobra.Command) *string {
	environment := c.Flags().String("env", os.Getenv("POSTERN_ENV"), "the environment: a file of the project's environments/ ($POSTERN_ENV)")
	c.Flags().Lookup("env").DefValue = ""
	return environment
}

// compile opens and compiles the project at path, as it is today and as far as the routes a gateway of this configuration
// would have for it. The error is about the path alone.
func compile(path, environment string, cfg *config.Config) (model.Project, []model.Problem, error) {
	files, closer, err := project.Open(path)
	if err != nil {
		return model.Project{}, nil, err
	}
	defer closer.Close()
	p, problems := project.Compile(files, project.Options{
		Name: nameOf(path), Environment: environment, Lookup: os.LookupEnv, Settings: cfg.Settings(),
		OwnAddresses: cfg.OwnAddresses(), AllowBackends: cfg.Backends.Allow,
	})
	now := time.Now()
	problems = append(problems, project.Ended(p.APIs, now)...)
	for i, api := range p.APIs {
		p.APIs[i], _ = api.At(now)
	}
	_, more := translate.NewIndex(routed(cfg, p)).Plan(p.APIs, nil)
	problems = append(problems, more...)
	if cfg.Routing.Mode == "auto" {
		problems = append(problems, translate.Scopeless(cfg.Settings(), p.APIs)...)
	}
	if model.Refusing(problems) {
		p.APIs = nil
	}
	return p, problems, nil
}

// compileOrTell is compile for commands that need a project without mistakes: those are printed, and are the end.
func compileOrTell(c *cobra.Command, path, environment string, cfg *config.Config) (model.Project, error) {
	p, problems, err := compile(path, environment, cfg)
	if err != nil {
		return p, err
	}
	if !model.Refusing(problems) {
		return p, nil
	}
	_ = report.Write(c.ErrOrStderr(), c.Flag("output").Value.String(), []report.Project{report.Of(path, p, problems)})
	return p, failure{code: exitBadInput}
}

// nameOf is what a project that does not say its name is called: its folder or archive.
func nameOf(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return strings.TrimSuffix(filepath.Base(path), ".zip")
}
