package config

// later is a key whose part of the gateway this build does not have.
type later struct {
	key     string
	set     func(*Config) bool
	without string // what would happen if it were ignored
	refused bool   // ignoring it would weaken security or change an answer
	apart   bool   // it is only `postern run` that does not serve it
}

// laters are in the order of the file.
var laters = []later{
	{"mtls.header.name", func(c *Config) bool { return c.MTLS.Header.Name != "" }, "the header would pass to backends unchecked", true, false},
	{"mtls.crls", func(c *Config) bool { return len(c.MTLS.CRLs) > 0 }, "revoked certificates would not be known", true, false},
	{"xds.tls.cert", func(c *Config) bool { return c.XDS.TLS != MutualTLS{} }, "in one process the services have no TLS between them; leave it out, or run them apart", true, true},
	{"enforcer.tls.cert", func(c *Config) bool { return c.Enforcer.TLS != MutualTLS{} }, "in one process the services have no TLS between them; leave it out, or run them apart", true, true},
	{"ratelimiter.tls.cert", func(c *Config) bool { return c.RateLimiter.TLS != MutualTLS{} }, "in one process the services have no TLS between them; leave it out, or run them apart", true, true},
	{"basic.htpasswd", func(c *Config) bool { return c.Basic.HTPasswd != "" }, "nobody can come with a password", false, false},
	{"basic.users", func(c *Config) bool { return len(c.Basic.Users) > 0 }, "nobody can come with a password", false, false},
	{"apiKeys.file", func(c *Config) bool { return c.APIKeys.File != "" }, "nobody can come with an API key", false, false},
	{"subscriptions.file", func(c *Config) bool { return c.Subscriptions.File != "" }, "callers without a subscription would be let in", true, false},
	{"revocation.sources", func(c *Config) bool { return len(c.Revocation.Sources) > 0 }, "revoked tokens would be accepted", true, false},
	{"backendJWT.enabled", func(c *Config) bool { return c.BackendJWT.Enabled }, "backends would be called without the token they expect", true, false},
	{"limits.store", func(c *Config) bool { return c.Limits.Store != "memory" }, "every gateway would count by itself; write memory if one gateway is all there is", true, false},
	{"limits.redis.addresses", func(c *Config) bool { return len(c.Limits.Redis.Addresses) > 0 }, "limits are counted in memory", false, false},
	{"store.kind", func(c *Config) bool { return c.Store.Kind != "file" }, "projects that others have put there would not be served", true, false},
	{"store.etcd.endpoints", func(c *Config) bool { return len(c.Store.Etcd.Endpoints) > 0 }, "nothing is stored there", false, false},
}

// checkServed refuses keys that this build knows and does not serve, or warns of them where that is harmless.
func (l *loader) checkServed(c *Config) {
	for _, k := range laters {
		if !k.set(c) || !l.Part.reads(k.key) || k.apart && l.Part != Run {
			continue
		}
		if k.apart {
			l.problem(c.origin(k.key), k.key, "`postern run` does not serve it: %s", k.without)
			continue
		}
		if k.refused {
			l.problem(c.origin(k.key), k.key, "this build does not serve it: %s", k.without)
			continue
		}
		place := ""
		if origin := c.origin(k.key); origin.source != "" {
			place = origin.String() + ": "
		}
		l.warnings = append(l.warnings, place+k.key+": this build does not serve it: "+k.without)
	}
}
