package main

import (
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/jwt"
)

// adminTokenFile is in the data folder: the token of an admin that the first start makes. The command line reads it.
const adminTokenFile = "admin.token"

// managementAPI is the management API: its listener is there before its adapter.
type managementAPI struct{ server atomic.Pointer[rest.Server] }

func (m *managementAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := m.server.Load(); s != nil {
		s.ServeHTTP(w, r)
		return
	}
	rest.Starting(w)
}

// openAPI serves the management API for an adapter that serves one label, or all ("").
func (p *process) openAPI(a *adapter.Adapter, kept *store.File, label string) error {
	register, err := p.openRegister()
	if err != nil {
		return err
	}
	log := p.log.With("service", "management")
	trail, err := audit.Open(audit.Options{Path: filepath.Join(p.folder.Path, "audit.log"), Log: log, Registerer: p.registry})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() {
		if err := trail.Close(); err != nil {
			log.Error("the audit log was not closed properly", "err", err)
		}
	})
	o := rest.Options{
		Gateway: a, Settings: a.Settings(), Label: label, Version: versionName(), Backup: kept.Backup,
		Register: register, Audit: trail, Log: log, Registerer: p.registry,
	}
	if len(p.cfg.Management.Issuers) > 0 {
		v, err := openIssuers(p.cfg, jwt.Options{Log: log})
		if err != nil {
			return err
		}
		p.services.Go(func() error { return v.Run(p.ctx) })
		o.Issuers = v
	}
	s, err := rest.New(o)
	if err != nil {
		return err
	}
	p.api.server.Store(s)
	return nil
}

// openRegister reads who may manage. Where nobody may yet, it makes a token of an admin.
func (p *process) openRegister() (*access.Register, error) {
	admin := filepath.Join(p.folder.Path, adminTokenFile)
	made, err := access.FirstToken(p.cfg.Management.Tokens, admin, time.Now())
	if err != nil {
		return nil, err
	}
	if made {
		p.log.Info("made a token of an admin, which commands on this machine read by themselves", "file", admin, "tokens", p.cfg.Management.Tokens)
	}
	register, err := access.Open(p.cfg.Management.Tokens, p.log.With("service", "management"), nil)
	if err != nil {
		return nil, err
	}
	if err := p.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_tokens_stale",
		Help: "1 while the tokens file is broken or gone: an earlier one is in use, and what was revoked since is not.",
	}, func() float64 {
		if register.Stale() != "" {
			return 1
		}
		return 0
	})); err != nil {
		return nil, err
	}
	p.readiness.note(func() []string { return staleTokens(register.Stale()) })
	p.services.Go(func() error { register.Follow(p.ctx); return nil })
	return register, nil
}

// staleTokens is what readiness notes of a tokens file that cannot be read.
func staleTokens(why string) []string {
	if why == "" {
		return nil
	}
	return []string{"the tokens file cannot be used, and an earlier one is in force: who was revoked since is still admitted; the log says why"}
}

// openIssuers judges the JWTs of those who may manage.
func openIssuers(cfg *config.Config, o jwt.Options) (*jwt.Verifier, error) {
	issuers, err := cfg.ManagementIssuers()
	if err != nil {
		return nil, err
	}
	v := jwt.NewVerifier(o)
	if err := v.Apply(issuers, nil, true); err != nil {
		return nil, err
	}
	return v, nil
}
