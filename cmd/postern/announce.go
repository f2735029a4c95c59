package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/toolkit/summary"
)

// announce prints the summary once everything is served, or says what it is waiting for. It is an error if none of the
// projects can be served: then a mistake is to be mended before anything is tried. A gateway with one good project
// starts, and what is bad is served as soon as it is mended.
func (r *runner) announce(ctx context.Context, g *gateway) error {
	const patience, every = 10 * time.Second, 10 * time.Millisecond
	next := time.Now().Add(patience)
	judged := false
	for {
		reasons := g.readiness.reasons()
		if !judged {
			projects := g.adapter.Status().Projects
			judged = len(projects) == len(r.paths)
			if judged && !slices.ContainsFunc(projects, served) {
				return failure{exitBadInput, errors.New("no project can be served; what is wrong was told above, and `postern validate` tells it again")}
			}
		}
		if len(reasons) == 0 {
			break
		}
		if time.Now().After(next) {
			g.log.Warn("not ready yet", "reasons", strings.Join(reasons, "; "))
			next = next.Add(patience)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
	s := r.summary(g)
	if asJSON(r.command) {
		return printTo(r.command.ErrOrStderr(), s)
	}
	return s.Write(r.command.ErrOrStderr())
}

func served(p adapter.ProjectStatus) bool { return p.State != adapter.Rejected }

// summary is what is told when everything is served.
func (r *runner) summary(g *gateway) *summary.Gateway {
	s := &summary.Gateway{
		Version: versionName(), Envoy: or(g.binary.Version, "of an unknown version"), HTTP: g.cfg.Listen.HTTP,
		Management: g.managementURL(), DataDir: g.folder.Path, Dev: r.settings.dev, Warnings: slices.Clone(r.warnings),
	}
	if r.settings.dev {
		s.Token = self() + " token"
		if r.command.Flags().Changed("data-dir") {
			s.Token += fmt.Sprintf(" --data-dir '%s'", g.cfg.DataDir)
		}
		if r.settings.file != "" {
			s.Token += fmt.Sprintf(" --config '%s'", r.settings.file)
		}
	}
	now := g.adapter.Status()
	for _, project := range now.Projects {
		if project.Words != "" {
			s.Warnings = append(s.Warnings, project.Words)
		}
	}
	for _, status := range now.APIs {
		if status.API == nil {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%s of %s is not served: %s", status.ID, status.Path, status.Words))
			continue
		}
		s.APIs = append(s.APIs, *status.API)
	}
	s.Fill()
	return s
}

// self is how this program was called, for lines to paste.
func self() string {
	if filepath.Base(os.Args[0]) == os.Args[0] {
		return os.Args[0]
	}
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, os.Args[0]); err == nil && !strings.HasPrefix(relative, "..") {
			return "./" + relative
		}
	}
	return os.Args[0]
}
