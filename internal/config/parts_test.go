package config_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/internal/config"
)

func as(part config.Part) func(*config.Options) {
	return func(o *config.Options) { o.Part = part }
}

const shared = `
xds: {listen: '0.0.0.0:18000', addresses: ['adapter:18000'], tls: {cert: c.pem, key: k.pem, ca: ca.pem}}
enforcer: {listen: '0.0.0.0:18001', address: 'enforcer:18001', admin: '0.0.0.0:9844', tls: {cert: c.pem, key: k.pem, ca: ca.pem}}
ratelimiter: {listen: '0.0.0.0:18002', address: 'ratelimiter:18002', tls: {cert: c.pem, key: k.pem, ca: ca.pem}}
`

// TestOneFileForAll: the parts of a gateway take the same file, and each reads its own.
func TestOneFileForAll(t *testing.T) {
	t.Parallel()
	for _, part := range []config.Part{config.Everything, config.Adapter, config.Enforcer, config.RateLimiter, config.BesideEnvoy} {
		c, warnings, err := load(t, shared, nil, as(part))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%q: %v %v", part, err, warnings)
			continue
		}
		if !filepath.IsAbs(c.XDS.TLS.Cert) || filepath.Base(c.XDS.TLS.Cert) != "c.pem" {
			t.Errorf("%q: the certificate is %s", part, c.XDS.TLS.Cert)
		}
	}
	oneCertificate := regexp.MustCompile(`(?m)^((?:enforcer|ratelimiter):.*), tls: \{.*\}\}$`).ReplaceAllString(shared, "$1}")
	if _, _, err := load(t, oneCertificate, nil, as(config.Everything)); err != nil {
		t.Errorf("a tool, %s: %v", oneCertificate, err)
	}
	_, _, err := load(t, shared, nil, as(config.Run))
	for _, key := range []string{"xds", "enforcer", "ratelimiter"} {
		if err == nil || !strings.Contains(err.Error(), key+".tls.cert: `postern run` does not serve it: ") {
			t.Errorf("run: %v", err)
		}
	}
}

// TestWhatAPartDoesNotRead is not judged, and its variables need not be there.
func TestWhatAPartDoesNotRead(t *testing.T) {
	t.Parallel()
	const text = "issuers: [{issuer: wso2, introspection: {uri: 'https://a', clientSecret: '${POSTERN_VAR_S}'}}]\n" +
		"timeouts: {idle: '${POSTERN_VAR_T}'}\nlisten: {http: ''}\nrevocation: {sources: [{file: {path: a}}]}\n"
	for _, part := range []config.Part{config.Enforcer, config.RateLimiter, config.BesideEnvoy} {
		if _, warnings, err := load(t, text, nil, as(part)); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", part, err, warnings)
		}
		if _, _, err := load(t, text+"lable: x\n", nil, as(part)); err == nil {
			t.Errorf("%s: an unknown key is no mistake", part)
		}
	}
	if _, _, err := load(t, text, nil, as(config.Adapter)); err == nil {
		t.Error("the adapter has no use for it either")
	}
}

func TestWrongApart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		part config.Part
		text string
		want string
	}{
		"half of all":        {config.Adapter, "xds:\n  tls: {key: a, ca: b}", "postern.yaml:2:14: xds.tls: mutual TLS needs cert, key and ca, and here is no cert; `postern certs` makes a set"},
		"plain adapter":      {config.Enforcer, "xds: {addresses: ['unix:/x', 'adapter:18000']}", "postern.yaml:1:30: xds.addresses[1]: adapter:18000 is not on this machine, and would be talked to in plain text; configure xds.tls, or say --insecure if the network is trusted"},
		"plain enforcer":     {config.Adapter, "enforcer: {address: 'enforcer:18001'}", "enforcer.address: enforcer:18001 is not on this machine, and would be talked to in plain text; configure enforcer.tls or xds.tls, or say --insecure if the network is trusted"},
		"half a set":         {config.Enforcer, "enforcer: {tls: {cert: a}}", "postern.yaml:1:24: enforcer.tls: mutual TLS needs cert, key and ca, and here is no key and no ca; `postern certs` makes a set"},
		"open admin":         {config.Enforcer, "enforcer: {admin: ':9844'}", "enforcer.admin: :9844 is not a loopback address"},
		"open service":       {config.RateLimiter, "ratelimiter: {listen: '0.0.0.0:1'}", "ratelimiter.listen: 0.0.0.0:1 is not a loopback address"},
		"no port":            {config.RateLimiter, "ratelimiter: {listen: '127.0.0.1:0'}", "ratelimiter.listen: \"127.0.0.1:0\" names no port"},
		"nobody to follow":   {config.BesideEnvoy, "xds: {listen: '127.0.0.1:18000'}", "xds.addresses: names no adapter to follow"},
		"no address":         {config.BesideEnvoy, "xds: {addresses: [adapter]}", "xds.addresses[0]: \"adapter\" is not an address"},
		"an open address":    {config.Adapter, "enforcer: {listen: '0.0.0.0:18001'}", "enforcer.address: \"0.0.0.0:18001\" is where one listens, not where others find it"},
		"not for the limits": {config.RateLimiter, "limits: {store: redis}", "limits.store: this build does not serve it"},
	} {
		_, _, err := load(t, test.text, nil, as(test.part))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

// TestOnOneMachine: parts with one data folder find each other without a word.
func TestOnOneMachine(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "dataDir: /var/lib/postern", nil, as(config.BesideEnvoy))
	if err != nil || !slices.Equal(c.XDS.Addresses, []string{"unix:/var/lib/postern/xds.sock"}) {
		t.Errorf("%v %v", c, err)
	}
	c, _, err = load(t, "dataDir: /var/lib/postern", nil, as(config.Adapter))
	if err != nil || c.Enforcer.Address != "unix:/var/lib/postern/enforcer.sock" || c.RateLimiter.Address != "unix:/var/lib/postern/ratelimiter.sock" {
		t.Errorf("%v %v", c, err)
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	before, _, _ := load(t, "label: a\nissuers: [{issuer: 'https://a'}]\nenvoy: {drain: 1s}", nil)
	after, _, err := load(t, "label: b\nissuers: [{issuer: 'https://b'}]\nenvoy: {drain: 2s}\ntimeouts: {idle: 1s}", nil)
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[config.Part]string{
		config.Run:      "label timeouts.idle envoy.drain issuers",
		config.Adapter:  "label timeouts.idle issuers",
		config.Enforcer: "label",
	} {
		got := config.Changed(part, before, after)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q", part, got)
		}
	}
	if got := config.Changed(config.Run, after, after); len(got) > 0 {
		t.Errorf("nothing has changed, and yet %q", got)
	}
}
