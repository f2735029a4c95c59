package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/toolkit/summary"
)

// announce prints the summary once everything is served, or says what it is waiting for. It is an error if none of the
// projects can be served: then a mistake is to be mended before anything is tried. A gateway with one good project
// starts, and what is bad is served as soon as it is mended.
func (r *runner) announce(ctx context.Context, g *gateway) error {
	err := awaitReady(ctx, g.process, judge(g.adapter, alone(r.cfg, r.paths)))
	if err != nil || ctx.Err() != nil {
		return err
	}
	s := r.summary(g)
	if asJSON(r.command) {
		return printTo(r.command.ErrOrStderr(), s)
	}
	return s.Write(r.command.ErrOrStderr())
}

// judge says whether none of so many projects can be served, once that is known.
func judge(a *adapter.Adapter, projects int) func() error {
	judged := false
	return func() error {
		if judged {
			return nil
		}
		if judged = a.Started(); !judged {
			return nil
		}
		found := a.Status().Projects
		if projects > 0 && len(found) == projects && !slices.ContainsFunc(found, served) {
			return failure{exitBadInput, errors.New("no project can be served; what is wrong was told above, and `postern validate` tells it again")}
		}
		return nil
	}
}

func served(p adapter.ProjectStatus) bool { return p.State != adapter.Rejected }

// summary is what is told when everything is served.
func (r *runner) summary(g *gateway) *summary.Gateway {
	s := &summary.Gateway{
		Version: versionName(), Envoy: or(g.binary.Version, "of an unknown version"), HTTP: g.cfg.Listen.HTTP,
		HTTPS:      httpsAuthority(g.cfg),
		Management: g.management, DataDir: g.folder.Path, Dev: r.settings.dev, Warnings: slices.Clone(r.warnings),
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

// httpsAuthority is where clients find the https listener: under a host that its first certificate is for, if one is named.
func httpsAuthority(cfg *config.Config) string {
	host, port, err := net.SplitHostPort(cfg.Listen.HTTPS)
	if err != nil {
		return "" // it is off
	}
	if hosts := cfg.TLS.Certificates[0].Hosts; len(hosts) > 0 && !strings.HasPrefix(hosts[0], "*") {
		host = hosts[0]
	}
	return net.JoinHostPort(host, port)
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
