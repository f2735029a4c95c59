package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/adapter/source/git"
	"github.com/postern-gateway/postern/internal/config"
)

// patience is how long `postern run` waits for the first commit of a branch before it serves what else there is. An adapter
// apart waits as long as it takes: gateways that served the branch's projects before must not be told that they are gone.
const patience = 10 * time.Second

// gitSources are the branches that the configuration says projects come from.
func (p *process) gitSources() ([]source.Source, error) {
	var all git.Sources
	var sources []source.Source
	for i, configured := range p.cfg.Sources {
		o := gitOptions(configured.Git)
		o.Dir, o.Log = filepath.Join(p.folder.Path, "git"), p.log
		if !p.apart {
			o.Patience = patience
		}
		s, err := git.New(o)
		if err != nil {
			return nil, fmt.Errorf("sources[%d]: %w", i, err)
		}
		all, sources = append(all, s), append(sources, s)
	}
	if len(all) == 0 {
		return nil, nil
	}
	p.readiness.also(all.Missing)
	p.readiness.note(all.Stale)
	return sources, p.registry.Register(all)
}

// folders are the projects that are named. Where the configuration names others, the working directory is none.
func folders(c *config.Config, named []string) ([]string, error) {
	if len(named) == 0 && len(c.Sources) > 0 {
		return nil, nil
	}
	return watchedPaths(named)
}

// alone is how many folders there are, if nothing else can be served: then it is an error if none of them can.
func alone(c *config.Config, folders []string) int {
	if len(c.Sources) > 0 {
		return 0
	}
	return len(folders)
}

func gitOptions(g *config.GitSource) git.Options {
	return git.Options{
		URL: g.URL, Branch: g.Branch, Path: g.Path, Poll: g.Poll, Depth: g.Depth, AllowRewrite: g.AllowRewrite,
		Username: g.Username, Token: g.Token.Reveal(), CA: g.CA, SSHKey: g.SSHKey, KnownHosts: g.KnownHosts,
	}
}
