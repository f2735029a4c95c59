package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-gateway/postern/toolkit/summary"
)

// announce prints the summary once everything is served, or says what it is waiting for.
func (r *runner) announce(ctx context.Context, g *gateway) {
	const patience, every = 10 * time.Second, 10 * time.Millisecond
	next := time.Now().Add(patience)
	for {
		reasons := g.readiness.reasons()
		if len(reasons) == 0 {
			break
		}
		if time.Now().After(next) {
			g.log.Warn("not ready yet", "reasons", strings.Join(reasons, "; "))
			next = next.Add(patience)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
	s := r.summary(g)
	if asJSON(r.command) {
		_ = printTo(r.command.ErrOrStderr(), s)
		return
	}
	_ = s.Write(r.command.ErrOrStderr())
}

// summary is what is told when everything is served.
func (r *runner) summary(g *gateway) *summary.Gateway {
	s := &summary.Gateway{
		Version: versionName(), Envoy: or(g.binary.Version, "of an unknown version"), HTTP: g.cfg.Listen.HTTP,
		Management: "http://" + g.management.String(), DataDir: g.folder.Path, Dev: r.settings.dev, APIs: r.apis, Warnings: r.warnings,
	}
	if g.management.Network() == "unix" {
		s.Management = "unix:" + g.management.String()
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
