package enforcer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/idp"
)

// bootstrap is an Envoy that asks the enforcer on a unix socket about every request; the first path segment chooses the
// operation, and an unknown one has a policy that nobody knows.
const bootstrap = `
admin: {address: {pipe: {path: admin.sock}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          early_header_mutation_extensions:
          - name: door
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations: [{remove_on_match: {key_matcher: {prefix: x-postern-}}}]
          route_config:
            virtual_hosts: [{name: any, domains: ["*"], routes: [%[1]s]}]
          local_reply_config:
            body_format: {json_format: {code: "%%DYNAMIC_METADATA(envoy.filters.http.ext_authz:code)%%", title: "%%DYNAMIC_METADATA(envoy.filters.http.ext_authz:title)%%", detail: "%%LOCAL_REPLY_BODY%%", status: "%%RESPONSE_CODE%%"}}
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              grpc_service: {envoy_grpc: {cluster_name: enforcer}, timeout: 5s}
              status_on_error: {code: ServiceUnavailable}
              clear_route_cache: true
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: enforcer
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: enforcer, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[2]q}}}}]}]}
  - name: backend
    connect_timeout: 1s
    load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}}}]}]}
`

// gateway is an Envoy before a backend, and the enforcer it asks.
type gateway struct {
	address string
	backend *fixture.Backend
	token   string
}

func startGateway(t *testing.T) gateway {
	t.Helper()
	k, p := idp.NewKey("k", "RS256"), places()
	s := New(Options{})
	apply(t, s, p)
	apply(t, s, issuer(k))

	socket := listen(t, s.ServerOptions(), s.Register)
	var routes []string
	for _, o := range p.GetOperations() {
		routes = append(routes, route(o.GetOperation(), posternv1.ContentHash(p)))
	}
	routes = append(routes, route("", strings.Repeat("0", 64)))
	backend := fixture.StartBackend(t, "pets", fixture.BackendOptions{})
	envoy := fixture.StartEnvoy(t, fixture.EnvoyOptions{Bootstrap: fmt.Sprintf(bootstrap, strings.Join(routes, ", "), socket, backend.Port)})
	return gateway{envoy.Address(t, "web"), backend, token(k, nil)}
}

func route(operation, policy string) string {
	return fmt.Sprintf(`{match: {prefix: "/%[1]s"}, route: {cluster: backend}, typed_per_filter_config: {envoy.filters.http.ext_authz: {
  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute,
  check_settings: {context_extensions: {api: pets/1.0.0, operation: %[1]q, policy: %[2]q}}}}}`, operation, policy)
}

// places has an operation for each place a credential can stand at.
func places() *posternv1.Policy {
	require := func(place posternv1.Bearer_Place, key string, scopes ...string) *posternv1.Alternative {
		return &posternv1.Alternative{Requirements: []*posternv1.Requirement{{
			Scheme: key, Scopes: scopes, Kind: &posternv1.Requirement_Bearer{Bearer: &posternv1.Bearer{Place: place, Key: key}},
		}}}
	}
	header := require(posternv1.Bearer_PLACE_HEADER, "authorization", "read")
	operation := func(name string, alternatives ...*posternv1.Alternative) *posternv1.OperationPolicy {
		return &posternv1.OperationPolicy{
			Operation: name, Alternatives: alternatives, IdentityHeaders: map[string]string{"email": "X-User-Mail", "name": "X-User-Name"},
		}
	}
	forward := operation("forward", header)
	forward.ForwardCredentials = true
	return &posternv1.Policy{Api: "pets/1.0.0", Operations: []*posternv1.OperationPolicy{
		operation("header", header),
		operation("query", require(posternv1.Bearer_PLACE_QUERY, "access_token")),
		operation("cookie", require(posternv1.Bearer_PLACE_COOKIE, "sid")),
		operation("optional", header, &posternv1.Alternative{}),
		operation("scope", require(posternv1.Bearer_PLACE_HEADER, "authorization", "admin")),
		forward,
	}}
}

// send asks Envoy and returns what came of it; pairs are headers, sent in this order and as they are.
func (g gateway) send(t *testing.T, target string, pairs ...string) (*http.Response, fixture.Echo, map[string]any) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+g.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	request.URL.Opaque, request.URL.RawQuery = path, query
	for i := 0; i < len(pairs); i += 2 {
		request.Header.Add(pairs[i], pairs[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var echo fixture.Echo
	var problem map[string]any
	if response.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &echo)
	} else {
		err = json.Unmarshal(body, &problem)
	}
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return response, echo, problem
}

// TestEnvoy is what a real Envoy makes of the answers.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	g := startGateway(t)

	t.Run("passes", func(t *testing.T) {
		for name, test := range map[string]struct {
			target  string
			headers []string
			want    map[string]string // headers at the backend; "" is none
			path    string
		}{
			"told and stripped": {"/header?a=%20b&a=1", []string{
				"Authorization", "bearer " + g.token, "X-Postern-Subject", "root", "X-User-Mail", "root@example.com", "X-User-Name", "root",
			}, map[string]string{
				"X-Postern-Subject": "ann", "X-Postern-Scopes": "read write", "X-Postern-Client": "shop", "X-User-Mail": "ann@example.com",
				"X-User-Name": "", "Authorization": "",
			}, "/header?a=%20b&a=1"},
			"two headers of the same name as an identity header": {"/header", []string{
				"Authorization", "Bearer " + g.token, "X-User-Mail", "a@example.com", "X-User-Mail", "b@example.com",
			}, map[string]string{"X-User-Mail": "ann@example.com"}, "/header"},
			"forwarded":      {"/forward", []string{"Authorization", "Bearer " + g.token}, map[string]string{"Authorization": "Bearer " + g.token}, "/forward"},
			"query":          {"/query?b=%20&access_token=" + g.token + "&a=1&a=2&&c", nil, map[string]string{"X-Postern-Subject": "ann"}, "/query?b=%20&a=1&a=2&&c"},
			"escaped query":  {"/query?%61ccess%5ftoken=" + g.token + "&a=1", nil, map[string]string{"X-Postern-Subject": "ann"}, "/query?a=1"},
			"no query left":  {"/query?access_token=" + g.token, nil, map[string]string{"X-Postern-Subject": "ann"}, "/query"},
			"cookie":         {"/cookie", []string{"Cookie", "a=1; sid=" + g.token + "; b=2"}, map[string]string{"Cookie": "a=1; b=2"}, "/cookie"},
			"no cookie left": {"/cookie", []string{"Cookie", "sid=" + g.token}, map[string]string{"Cookie": ""}, "/cookie"},
			"anonymous": {"/optional", []string{"X-Postern-Subject", "root", "X-User-Mail", "root@example.com"}, map[string]string{
				"X-Postern-Subject": "", "X-User-Mail": "",
			}, "/optional"},
		} {
			response, echo, problem := g.send(t, test.target, test.headers...)
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %v", name, response.StatusCode, problem)
				continue
			}
			if echo.Target != test.path {
				t.Errorf("%s: the backend saw %s, want %s", name, echo.Target, test.path)
			}
			for header, value := range test.want {
				if got := strings.Join(echo.Headers.Values(header), " | "); got != value {
					t.Errorf("%s: the backend saw %s: %q, want %q", name, header, got, value)
				}
			}
			for header := range echo.Headers {
				if text := strings.Join(echo.Headers.Values(header), " "); strings.Contains(text, g.token) && name != "forwarded" {
					t.Errorf("%s: the backend saw the token in %s", name, header)
				}
			}
		}
	})
	t.Run("refusals", func(t *testing.T) {
		before := g.backend.Hits()
		for name, test := range map[string]struct {
			target    string
			headers   []string
			status    int
			code      string
			challenge string
		}{
			"missing":        {"/header", nil, 401, "900902", `Bearer realm="pets/1.0.0"`},
			"invalid":        {"/header", []string{"Authorization", "Bearer x"}, 401, "900901", `error="invalid_token"`},
			"two headers":    {"/header", []string{"Authorization", "Bearer " + g.token, "Authorization", "Bearer " + g.token}, 401, "900901", `error="invalid_request"`},
			"good after bad": {"/header", []string{"Authorization", "Basic eDp5", "Authorization", "Bearer " + g.token}, 401, "900901", `error="invalid_token"`},
			"two cookies":    {"/cookie", []string{"Cookie", "sid=" + g.token, "Cookie", "sid=x"}, 401, "900901", `error="invalid_request"`},
			"two parameters": {"/query?access_token=" + g.token + "&access_token=x", nil, 401, "900901", `error="invalid_request"`},
			"scope":          {"/scope", []string{"Authorization", "Bearer " + g.token}, 403, "900910", `scope="admin"`},
			"optional, bad":  {"/optional", []string{"Authorization", "Bearer x"}, 401, "900901", `error="invalid_token"`},
			"no policy":      {"/else", []string{"Authorization", "Bearer " + g.token}, 503, "900900", ""},
		} {
			response, _, problem := g.send(t, test.target, test.headers...)
			if response.StatusCode != test.status || problem["code"] != test.code || problem["detail"] == "" || problem["title"] != http.StatusText(test.status) {
				t.Errorf("%s: %d %v, want %d %s", name, response.StatusCode, problem, test.status, test.code)
			}
			if got := response.Header.Get("Www-Authenticate"); !strings.Contains(got, test.challenge) || test.challenge == "" && got != "" {
				t.Errorf("%s: challenge %q, want %q in it", name, got, test.challenge)
			}
			if (response.Header.Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("%s: Retry-After %q", name, response.Header.Get("Retry-After"))
			}
		}
		if hits := g.backend.Hits(); hits != before {
			t.Errorf("%d refused requests reached the backend", hits-before)
		}
	})
}
