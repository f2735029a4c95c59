package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/internal/config"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// reloader brings changes of the configuration's issuers, and of the files with their keys, to a running adapter. What
// else changes is named: it takes a restart.
type reloader struct {
	*process
	command  *cobra.Command
	settings settings
	adapter  *adapter.Adapter
	always   []*posternv1.Issuer // beside those of the configuration

	issuers []string       // what the adapter has, as hashes
	base    *config.Config // what the process was started with
	told    string         // what was last said to be wrong, or to take a restart
}

// follow reads the configuration again whenever it changes.
func (r *reloader) follow(ctx context.Context, issuers []*posternv1.Issuer) {
	r.issuers = hashes(issuers)
	now := r.cfg
	for ctx.Err() == nil {
		watching, stop := context.WithCancel(ctx)
		changes := source.Watch(watching, source.Options{Paths: now.Files(), Log: r.log})
		now = r.read(now) // what changed before it was watched
		select {
		case <-changes:
			now = r.read(now)
		case <-ctx.Done():
		}
		stop()
		for range changes { // until it has ended
		}
	}
}

// read returns what the configuration is now: what it was, if it is of no use.
func (r *reloader) read(was *config.Config) *config.Config {
	now, issuers, err := r.load()
	if err == nil && !slices.Equal(hashes(issuers), r.issuers) {
		if err = r.adapter.SetIssuers(issuers); err == nil {
			r.issuers = hashes(issuers)
			r.log.Info("issuers of tokens have changed", "issuers", len(issuers))
		}
	}
	if err != nil {
		r.tell("the configuration has changed and is rejected; what was read before stays", "err", err.Error())
		return was
	}
	if r.base == nil {
		r.base = now // why not r.cfg: --dev adds to it
	}
	restart := slices.DeleteFunc(config.Changed(r.part, r.base, now), func(key string) bool { return key == "issuers" })
	if len(restart) > 0 {
		r.tell("the configuration has changed where it takes a restart", "keys", strings.Join(restart, " "))
	} else {
		r.told = ""
	}
	return now
}

func (r *reloader) load() (*config.Config, []*posternv1.Issuer, error) {
	file := r.cfg.Files()[0]
	if info, err := os.Stat(file); r.cfg.Read() && (err != nil || info.Size() == 0) {
		return nil, nil, fmt.Errorf("%s is gone or empty", file) // why: some editors write that way, and nobody means it
	}
	cfg, _, err := r.settings.load(r.command)
	if err != nil {
		return nil, nil, err
	}
	issuers, err := cfg.Issuers()
	return cfg, append(issuers, r.always...), err
}

// tell says a thing once.
func (r *reloader) tell(words string, key, value string) {
	if r.told == words+value {
		return
	}
	r.told = words + value
	r.log.Error(words, key, value)
}

func hashes(issuers []*posternv1.Issuer) []string {
	all := make([]string, len(issuers))
	for i, issuer := range issuers {
		all[i] = posternv1.ContentHash(issuer)
	}
	return all
}
