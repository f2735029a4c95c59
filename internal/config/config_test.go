package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/config"
)

// load reads text as a configuration file, with env as its environment.
func load(t *testing.T, text string, env map[string]string, change ...func(*config.Options)) (*config.Config, []string, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "postern.yaml")
	write(t, path, text)
	o := config.Options{Path: path, Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	for k, v := range env {
		o.Environ = append(o.Environ, k+"="+v)
	}
	for _, c := range change {
		c(&o)
	}
	c, warnings, err := config.Load(o)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))
	}
	return c, warnings, err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(t, "", nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("the defaults: %v, warnings %q", err, warnings)
	}
	want := model.Settings{
		HTTP:        "0.0.0.0:9090",
		Routing:     model.Routing{Segment: 1},
		Timeouts:    model.Timeouts{Request: time.Minute, Idle: 5 * time.Minute, MaxRequest: 5 * time.Minute},
		HeaderBytes: 60 << 10, BodyBytes: 10 << 20,
		ErrorFormat: model.ErrorsProblem, OnFailure: model.FailLocal,
		Enforcer:    model.Service{Address: "unix:.postern/enforcer.sock", Timeout: time.Second},
		RateLimiter: model.Service{Address: "unix:.postern/ratelimiter.sock", Timeout: 100 * time.Millisecond},
	}
	if diff := cmp.Diff(want, c.Settings()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if c.Management.Listen != "127.0.0.1:9843" || c.Envoy.Drain != 10*time.Second || c.Label != "default" || c.Log.Level != "info" {
		t.Errorf("got %+v", c)
	}
}

// TestDocumentedFile: every key of Config stands in the documented file, and what it shows as examples is understood.
func TestDocumentedFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(t, string(text), nil); err != nil {
		t.Errorf("the documented file itself: %v", err)
	}
	var schema, shown map[string]any
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	assertShown(t, "", schema, shown)

	issuers := regexp.MustCompile(`(?m)^issuers: \[\]\n# example:\n((?:# .*\n)+)`).FindStringSubmatch(string(text))
	if issuers == nil {
		t.Fatal("the documented file has no example of issuers")
	}
	example := "issuers:\n" + regexp.MustCompile(`(?m)^# `).ReplaceAllString(issuers[1], "")
	example = regexp.MustCompile(`(?m)^.*introspection:.*\n`).ReplaceAllString(example, "")
	c, _, err := load(t, example, nil)
	if err != nil {
		t.Fatalf("the example of issuers: %v", err)
	}
	bare, _, err := load(t, "issuers: [{issuer: https://keys.example.com/realms/shop, audiences: [petstore], jwks: {uri: https://keys.example.com/realms/shop/certs}}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	ignoreEmpty := cmp.Comparer(func(a, b map[string]string) bool { return len(a) == len(b) })
	if diff := cmp.Diff(c.TokenIssuers[0].Claims, bare.TokenIssuers[0].Claims, ignoreEmpty); diff != "" {
		t.Errorf("the example shows other defaults than the code has:\n%s", diff)
	}
	if c.TokenIssuers[0].Leeway != bare.TokenIssuers[0].Leeway {
		t.Errorf("leeway: documented %s, default %s", c.TokenIssuers[0].Leeway, bare.TokenIssuers[0].Leeway)
	}
}

func assertShown(t *testing.T, path string, schema, shown map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for key, sub := range properties {
		value, ok := shown[key]
		if !ok {
			t.Errorf("%s%s is not in the documented file", path, key)
			continue
		}
		if section, ok := value.(map[string]any); ok {
			assertShown(t, path+key+".", sub.(map[string]any), section)
		}
	}
}

// TestWrong: each wrong file, and exactly what is said about it.
func TestWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		env  map[string]string
		want string
	}{
		"unknown key":            {"lable: x", nil, `postern.yaml:1:1: lable: unknown key; the nearest known one is "label"`},
		"no label":               {"label: 'a b'", nil, `postern.yaml:1:8: label: "a b" cannot be a label; use up to 63 letters, digits and . _ -, a letter or digit first and last`},
		"unknown nested":         {"listen:\n  htp: 127.0.0.1:1", nil, `postern.yaml:2:3: listen.htp: unknown key; the nearest known one is "listen.http"`},
		"misplaced":              {"http: 127.0.0.1:1", nil, `postern.yaml:1:1: http: unknown key; the nearest known one is "listen.http"`},
		"unknown in list":        {"issuers:\n- issuer: https://a\n  audience: [x]", nil, `postern.yaml:3:3: issuers[0].audience: unknown key; the nearest known one is "issuers[0].audiences"`},
		"twice":                  {"label: a\nlabel: b", nil, `postern.yaml:2:1: label: said twice`},
		"section as a scalar":    {"listen: 9090", nil, `postern.yaml:1:9: listen: must be keys with values`},
		"scalar as a list":       {"label: [a]", nil, `postern.yaml:1:8: label: must be one value`},
		"list as a scalar":       {"issuers: https://a", nil, `postern.yaml:1:10: issuers: must be a list`},
		"duration":               {"timeouts: {request: 60}", nil, `postern.yaml:1:21: timeouts.request: "60" is not a duration; write one like 250ms, 30s or 5m`},
		"zero duration":          {"timeouts: {idle: 0s}", nil, `postern.yaml:1:18: timeouts.idle: must be more than 0`},
		"long request":           {"timeouts: {request: 10m}", nil, `postern.yaml:1:21: timeouts.request: 10m0s is longer than timeouts.maxRequest, 5m0s`},
		"size":                   {"limitsOnRequests: {bodyBytes: 10 megs}", nil, `postern.yaml:1:31: limitsOnRequests.bodyBytes: "10 megs" is not a size; write a number of bytes, or one with a unit like 60KiB or 10MiB`},
		"header size":            {"limitsOnRequests: {headerBytes: 100MiB}", nil, `postern.yaml:1:33: limitsOnRequests.headerBytes: must be whole KiB from 1KiB to 8192KiB`},
		"choice":                 {"errors: {format: json}", nil, `postern.yaml:1:18: errors.format: "json" is not one of problem, fault, enforcer, router`},
		"bool":                   {"cors: {enabled: yes}", nil, `postern.yaml:1:17: cors.enabled: "yes" is not true or false`},
		"number":                 {"routing: {scopeSegment: 0}", nil, `postern.yaml:1:25: routing.scopeSegment: "0" is not a whole number from 1 to 16`},
		"address":                {"listen: {http: localhost}", nil, `postern.yaml:1:16: listen.http: "localhost" is not an IP address with a port; write one like 0.0.0.0:9090 or [::1]:9090`},
		"no listener":            {`listen: {http: ""}`, nil, `postern.yaml:1:16: listen.http: "" switches the only listener off; write an address like 0.0.0.0:9090, or listen.https`},
		"management address":     {"management: {listen: x}", nil, `postern.yaml:1:22: management.listen: "x" is not an address; write one like 127.0.0.1:9843 or unix:.postern/name.sock`},
		"open management":        {"management: {listen: 0.0.0.0:9843}", nil, `postern.yaml:1:22: management.listen: 0.0.0.0:9843 is not a loopback address, and this listener has no TLS with client authentication; use a loopback address or a unix socket, configure management.tls (cert and key), or say --insecure if the network is trusted`},
		"management without key": {"management: {tls: {cert: a, clientCA: b}}", nil, `postern.yaml:1:26: management.tls: TLS needs cert and key, and here is no key`},
		"management, only a CA":  {"management: {tls: {clientCA: b}}", nil, `postern.yaml:1:30: management.tls: TLS needs cert and key, and here is no cert and no key`},
		"manager of development": {"management: {issuers: [{issuer: 'urn:postern:dev', audiences: [a], jwks: {file: a}}]}", nil, "postern.yaml:1:24: management.issuers[0].issuer: urn:postern:dev cannot manage a gateway: `postern token` gives anybody any scope"},
		"managers, symmetric":    {"management: {issuers: [{issuer: 'https://a', audiences: [a], algorithms: [HS256]}]}", nil, `postern.yaml:1:24: management.issuers[0].algorithms: "HS256" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA`},
		"open xds":               {"xds: {listen: '10.0.0.1:18000'}", nil, `postern.yaml:1:15: xds.listen: 10.0.0.1:18000 is not a loopback address, and this listener has no TLS with client authentication; use a loopback address or a unix socket, configure xds.tls, or say --insecure if the network is trusted`},
		"open Envoy":             {"envoy: {admin: '0.0.0.0:1'}\nxds: {tls: {cert: a, key: b, ca: c}}", nil, `postern.yaml:1:16: envoy.admin: whoever reaches 0.0.0.0:1 can end this Envoy and read its configuration: every user of this machine, if not others; use a unix socket, like unix:.postern/envoy-admin.sock, or say --insecure if all of them are trusted`},
		"Envoy for this host":    {"envoy: {admin: '127.0.0.1:29901'}", nil, `postern.yaml:1:16: envoy.admin: whoever reaches 127.0.0.1:29901 can end this Envoy and read its configuration: every user of this machine, if not others; use a unix socket, like unix:.postern/envoy-admin.sock, or say --insecure if all of them are trusted`},
		"revocation":             {"revocation: {sources: [{file: {path: a}}]}", nil, `postern.yaml:1:23: revocation.sources: this build does not serve it: revoked tokens would be accepted`},
		"redis":                  {"limits: {store: redis}", nil, `postern.yaml:1:17: limits.store: this build does not serve it: every gateway would count by itself; write memory if one gateway is all there is`},
		"introspection":          {"issuers: [{issuer: 'https://a', introspection: {uri: 'https://a/i'}}]", nil, `postern.yaml:1:11: issuers[0].introspection: this build does not introspect tokens; leaving it out would accept tokens that the issuer has revoked`},
		"symmetric":              {"issuers: [{issuer: 'https://a', algorithms: [HS256]}]", nil, `postern.yaml:1:11: issuers[0].algorithms: "HS256" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA`},
		"issuer twice":           {"issuers: [{issuer: 'https://a'}, {issuer: 'https://a'}]", nil, `postern.yaml:1:34: issuers[1].issuer: https://a stands in the list twice`},
		"two key sources":        {"issuers: [{issuer: a, jwks: {file: a, certificate: b}}]", nil, `postern.yaml:1:29: issuers[0].jwks: says more than one of uri, file and certificate; keep one`},
		"no discovery":           {"issuers: [{issuer: wso2}]", nil, `postern.yaml:1:11: issuers[0].issuer: keys cannot be fetched from "wso2"; write an https URL, or say jwks: {file: …} or {certificate: …}`},
		"variable not set":       {"label: ${POSTERN_VAR_L}", nil, `postern.yaml:1:8: label: POSTERN_VAR_L is not set; set it in the environment, or write ${POSTERN_VAR_L:-a default}`},
		"other variable":         {"label: ${HOME}", nil, `postern.yaml:1:8: label: ${HOME}: only variables whose names begin with POSTERN_VAR_ are read`},
		"variable stays secret":  {"timeouts: {idle: '${POSTERN_VAR_T}'}", map[string]string{"POSTERN_VAR_T": "hunter2"}, `postern.yaml:1:18: timeouts.idle: not a duration; write one like 250ms, 30s or 5m`},
		"environment":            {"", map[string]string{"POSTERN_TIMEOUTS_IDLE": "long"}, `POSTERN_TIMEOUTS_IDLE: timeouts.idle: "long" is not a duration; write one like 250ms, 30s or 5m`},
		"environment JSON":       {"", map[string]string{"POSTERN_ISSUERS": "[{"}, `POSTERN_ISSUERS: issuers: not JSON: yaml: line 1: did not find expected node content`},
		"environment unknown":    {"", map[string]string{"POSTERN_LISTEN": `{"port": "1"}`}, `POSTERN_LISTEN: listen.port: unknown key; the nearest known one is "listen.http"`},
		"both":                   {"", map[string]string{"POSTERN_LABEL": "a", "POSTERN_LABEL_FILE": "b"}, `both POSTERN_LABEL and POSTERN_LABEL_FILE are set; keep one`},
		"backend as a URL":       {"backends: {allow: ['http://127.0.0.1:9843']}", nil, `postern.yaml:1:20: backends.allow[0]: "http://127.0.0.1:9843" names no backend; write a host, host:port or a range of addresses, like metadata.internal, 127.0.0.1:9843, [::1]:9843 or 169.254.10.0/24`},
		"backend without port":   {"", map[string]string{"POSTERN_BACKENDS_ALLOW": `["a.internal", "b:0"]`}, `POSTERN_BACKENDS_ALLOW: backends.allow[1]: "b:0" names no backend; write a host, host:port or a range of addresses, like metadata.internal, 127.0.0.1:9843, [::1]:9843 or 169.254.10.0/24`},
		"two documents":          {"label: a\n---\nlabel: b", nil, `postern.yaml: more than one YAML document; only one is read`},
		"all at once":            {"lable: x\ncors: {enabled: 1}", nil, "postern.yaml:1:1: lable: unknown key; the nearest known one is \"label\"\npostern.yaml:2:17: cors.enabled: \"1\" is not true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, test.text, test.env)
			if err == nil {
				t.Fatalf("accepted; want %s", test.want)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(flags, map[string]string{"label": "a", "dataDir": "b", "listen.http": "c"})
	if err := flags.Parse([]string{"--listen-http", "127.0.0.1:4"}); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "id")
	write(t, secret, "from-a-file\n")
	env := map[string]string{
		"POSTERN_LISTEN_HTTP":      "127.0.0.1:3",
		"POSTERN_LABEL":            "env",
		"POSTERN_ENVOY_ID_FILE":    secret,
		"POSTERN_TIMEOUTS":         `{"idle": "7s"}`,
		"POSTERN_XDS_ADDRESSES":    `["127.0.0.1:1", "unix:b"]`,
		"POSTERN_ISSUERS":          `[{"issuer": "https://X", "requiredClaims": {"Tenant": "Blue"}}]`,
		"POSTERN_LIMITS_TIER_RULE": "api",
	}
	c, _, err := load(t, "label: file\nlisten: {http: '127.0.0.1:2'}\nlimits: {onFailure: deny}", env, func(o *config.Options) { o.Flags = flags })
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	if c.Label != "env" || s.HTTP != "127.0.0.1:4" || s.OnFailure != model.FailDeny || !s.TierPerAPI ||
		c.Envoy.ID != "from-a-file" || s.Timeouts.Idle != 7*time.Second || len(c.XDS.Addresses) != 2 {
		t.Errorf("got %+v", c)
	}
	if got := c.TokenIssuers[0].RequiredClaims["Tenant"]; got != "Blue" {
		t.Errorf("the letters of a map's key changed: %v", c.TokenIssuers[0].RequiredClaims)
	}
}

// TestFileKeys: POSTERN_SUBSCRIPTIONS_FILE is a key of its own, not a file with the value of subscriptions.
func TestFileKeys(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "", map[string]string{"POSTERN_API_KEYS_FILE": "keys.yaml"})
	if err != nil || c.APIKeys.File != "keys.yaml" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestEnvironmentName(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"dataDir": "POSTERN_DATA_DIR", "listen.http": "POSTERN_LISTEN_HTTP", "management.tls.cert": "POSTERN_MANAGEMENT_TLS_CERT",
		"management.tls.clientCA": "POSTERN_MANAGEMENT_TLS_CLIENT_CA", "backendJWT.ttl": "POSTERN_BACKEND_JWT_TTL",
		"envoy.path": "POSTERN_ENVOY_PATH",
	} {
		if got := config.EnvironmentName(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "dataDir: data\nenforcer: {listen: 'unix:e.sock'}\nenvoy: {path: bin/envoy}", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(c.DataDir)
	if !filepath.IsAbs(dir) || c.XDS.Listen != "unix:"+dir+"/data/xds.sock" || c.Enforcer.Listen != "unix:"+dir+"/e.sock" || c.Envoy.Path != dir+"/bin/envoy" {
		t.Errorf("got dataDir %s, xds %s, enforcer %s, envoy %s", c.DataDir, c.XDS.Listen, c.Enforcer.Listen, c.Envoy.Path)
	}
	c, _, err = load(t, "", map[string]string{"POSTERN_DATA_DIR": "elsewhere"})
	if err != nil || c.XDS.Listen != "unix:elsewhere/xds.sock" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestAdminInsecure(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(t, "envoy: {admin: '127.0.0.1:29901'}", nil, func(o *config.Options) { o.Insecure = true })
	if err != nil || len(warnings) > 0 || c.Envoy.Admin != "127.0.0.1:29901" {
		t.Errorf("%v %v", err, warnings)
	}
}

func TestDev(t *testing.T) {
	t.Parallel()
	dev := func(o *config.Options) { o.Dev = true }
	c, _, err := load(t, "", nil, dev)
	if err != nil || c.Listen.HTTP != "127.0.0.1:9090" {
		t.Errorf("got %v, %v", c, err)
	}
	_, _, err = load(t, "listen: {http: '0.0.0.0:9090'}", nil, dev)
	want := "postern.yaml:1:16: listen.http: 0.0.0.0:9090 is reachable from elsewhere, and --dev hands out tokens: it listens on loopback addresses only, like 127.0.0.1:9090"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	insecure := func(o *config.Options) { o.Insecure = true }
	_, warnings, err := load(t, "apiKeys: {file: a.yaml}\nmanagement: {listen: '0.0.0.0:9843'}", map[string]string{
		"POSTERN_LISTEN_HTPP": "x", "POSTERN_HTTP_PORT": "9090",
		// The command line's own, the projects', and what an orchestrator sets for services called postern and postern-xds.
		"POSTERN_TOKEN": "x", "POSTERN_VAR_URL": "x", "POSTERN_PORT": "tcp://10.0.0.1", "POSTERN_SERVICE_HOST": "10.0.0.1",
		"POSTERN_XDS_SERVICE_PORT": "18000", "POSTERN_XDS_SERVICE_PORT_GRPC": "18000", "POSTERN_XDS_PORT_18000_TCP_ADDR": "10.0.0.1",
	}, insecure)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range warnings {
		warnings[i] = w[strings.LastIndex(w, "/")+1:]
	}
	slices.Sort(warnings)
	want := []string{
		"POSTERN_HTTP_PORT is not a known variable and changes nothing; `postern schema postern.yaml` has all keys",
		"POSTERN_LISTEN_HTPP is not a known variable and changes nothing; did you mean POSTERN_LISTEN_HTTP?",
		"postern.yaml:1:17: apiKeys.file: this build does not serve it: nobody can come with an API key",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestDevelopmentIssuerIsWarnedOf(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, "issuers: [{issuer: 'urn:postern:dev', jwks: {file: keys.json}}]", nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "issuers[0].issuer: urn:postern:dev is for development") {
		t.Errorf("got %v, warnings %q", err, warnings)
	}
}

func TestBackends(t *testing.T) {
	t.Parallel()
	want := []string{"metadata.internal", "127.0.0.1:9843", "[::1]:9843", "fe80::1", "169.254.10.0/24", "fe80::/10", "my_host:80"}
	c, _, err := load(t, `backends: {allow: ["metadata.internal", "127.0.0.1:9843", "[::1]:9843", "fe80::1", "169.254.10.0/24", "fe80::/10", "my_host:80"]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.Backends.Allow); diff != "" {
		t.Error(diff)
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	write(t, jwks, `{"keys": [{"kty": "EC"}]}`)
	c, _, err := load(t, fmt.Sprintf("issuers: [{issuer: a, jwks: {file: %s}}, {issuer: 'https://b', leeway: 1s, claims: {scopes: scp}}]", jwks), nil)
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := c.Issuers()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(issuers[0].GetJwks()); !strings.Contains(got, "EC") || issuers[0].LeewayMs != 5000 || issuers[0].SubjectClaim != "sub" {
		t.Errorf("got %v", issuers[0])
	}
	if !issuers[1].GetDiscovery() || issuers[1].ScopesClaim != "scp" || issuers[1].LeewayMs != 1000 {
		t.Errorf("got %v", issuers[1])
	}

	write(t, jwks, `{}`)
	if _, err = c.Issuers(); err == nil || !strings.Contains(err.Error(), "postern.yaml:1:29: issuers[0].jwks: "+jwks+` is not a JSON Web Key Set: it needs a list "keys"`) {
		t.Errorf("got %v", err)
	}
}

func TestSecretsArePrintedNowhere(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, "limits: {redis: {password: hunter2}}", nil)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, _ := json.Marshal(c)
	asYAML, _ := yaml.Marshal(c)
	for _, shown := range []string{fmt.Sprintf("%v", c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c.Limits), string(asJSON), string(asYAML)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("the password is shown: %s", shown)
		}
	}
	if c.Limits.Redis.Password.Reveal() != "hunter2" {
		t.Error("the password is lost")
	}
}

// TestSchema: the schema accepts the documented file and refuses what Load refuses by shape.
func TestSchema(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(config.Schema())))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("postern.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("postern.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text string) error {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		return compiled.Validate(value)
	}
	text, err := os.ReadFile("postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(string(text)); err != nil {
		t.Errorf("the documented file: %v", err)
	}
	for _, wrong := range []string{"lable: x", "listen: 9090", "errors: {format: json}", "timeouts: {idle: long}", "routing: {scopeSegment: 0}"} {
		if validate(wrong) == nil {
			t.Errorf("accepted %s", wrong)
		}
	}
}

// FuzzLoad: any file is taken or refused with words, and never more than that.
func FuzzLoad(f *testing.F) {
	documented, err := os.ReadFile("postern.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(documented))
	for _, text := range []string{
		"a: &x [*x]", "listen: {http: ${POSTERN_VAR_A:-}}", "issuers: [{claims: {}}, ~]", "? [a]\n: b", "limits: {redis: {tls: {a: [b]}}}",
		"revocation: {sources: [{file: ~}, {redis: {addresses: [1]}}]}", "<<: {a: b}", "timeouts: {idle: 1e3s}", "- a", "!!binary x",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "postern.yaml")
		write(t, path, text)
		c, _, err := config.Load(config.Options{Path: path, Lookup: func(string) (string, bool) { return "", false }})
		if (c == nil) == (err == nil) || err != nil && err.Error() == "" {
			t.Errorf("%v, %v", c, err)
		}
	})
}

// TestManagement: who manages is known by tokens, so that TLS is enough before others; where the tokens are follows the data folder.
func TestManagement(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(t, "dataDir: d\nmanagement: {listen: '0.0.0.0:9843', tls: {cert: a, key: b}, issuers: [{issuer: 'https://a', claims: {scopes: roles}}]}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "management.issuers[0].audiences: none is said") {
		t.Errorf("warnings %q", warnings)
	}
	if filepath.Base(c.Management.Tokens) != "tokens.yaml" || filepath.Dir(c.Management.Tokens) != c.DataDir {
		t.Errorf("tokens are in %s", c.Management.Tokens)
	}
	issuers, err := c.ManagementIssuers()
	if err != nil || len(issuers) != 1 || issuers[0].GetScopesClaim() != "roles" {
		t.Errorf("%v, %v", issuers, err)
	}
}
