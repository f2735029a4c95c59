package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

//go:embed yes.yaml
var yesConfig string

// The whole gateway, as a caller sees it.
var gatewayRows = []row{{
	name: "gateway", what: "JWT-protected request through Postern against the same Envoy calling an always-yes Go server", goal: atLeast(0.85),
	prepare: func(ctx context.Context, l *lab) (sample, error) {
		backends, err := l.backends(ctx, 1)
		if err != nil {
			return nil, err
		}
		candidate, err := protectedPetstore(ctx, l, backends[0])
		if err != nil {
			return nil, err
		}
		baseline, err := yesGateway(ctx, l, backends[0])
		if err != nil {
			return nil, err
		}
		return ratio(l, candidate, baseline), nil
	},
}}

const petPath = "/petstore/1.0.0/pet/1"

// protectedPetstore is an API behind Postern whose operation asks for a token with a scope.
func protectedPetstore(ctx context.Context, l *lab, backend string) (rate, error) {
	if _, err := l.write("shop/api_definitions/petstore.yaml", fmt.Sprintf(`openapi: 3.0.3
info: {title: petstore, version: 1.0.0}
x-wso2-basePath: /petstore/1.0.0
x-wso2-production-endpoints: {urls: ["http://%s"]}
components:
  securitySchemes:
    petstore_auth: {type: oauth2, flows: {implicit: {authorizationUrl: "https://issuer.bench.test", scopes: {"%s": read}}}}
paths:
  /pet/{petId}:
    get:
      parameters: [{name: petId, in: path, required: true, schema: {type: integer}}]
      security: [{petstore_auth: ["%s"]}]
      responses: {"200": {description: A pet.}}
`, backend, benchScope, benchScope)); err != nil {
		return nil, err
	}
	g, err := l.gateway(gatewayOptions{projects: []string{l.path("shop")}, issuer: true})
	if err != nil {
		return nil, err
	}
	if err := g.serves(ctx, 20*time.Second, petPath); err != nil {
		return nil, err
	}
	if err := g.ask(ctx, g.url(petPath), "accept: */*"); err == nil || !strings.Contains(err.Error(), "401") {
		return nil, fmt.Errorf("without a token: want 401, got %v", err)
	}
	load := httpLoad(g.url(petPath), g.header)
	load = metered(l, "Postern's Envoy", family(g.pid())[1], load)
	return metered(l, "Postern", g.pid(), load), nil
}

// yesGateway is the plainest Envoy that asks an always-yes server about every request (yes.yaml). It gets the same requests.
func yesGateway(ctx context.Context, l *lab, backend string) (rate, error) {
	if _, err := l.serve(ctx, "yes-authz", l.path("yes")); err != nil {
		return nil, err
	}
	yes := l.processes[len(l.processes)-1]
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	host, backendPort, _ := strings.Cut(backend, ":")
	config, err := l.write("yes.yaml", strings.NewReplacer(
		"@ADMIN@", l.path("yes-admin.sock"), "@PORT@", strconv.Itoa(port), "@AUTHZ@", l.path("yes"), "@HOST@", host, "@BACKEND@", backendPort,
	).Replace(yesConfig))
	if err != nil {
		return nil, err
	}
	envoy, err := l.start("envoy", exec.Command(l.envoy, "-c", config, "--disable-hot-restart", "--log-level", "warn"))
	if err != nil {
		return nil, fmt.Errorf("%w (make tools)", err)
	}
	token, _, err := issue() // another key's, of the same size
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	if err := until(ctx, often, 10*time.Second, func() error { return dial(address) }); err != nil {
		return nil, err
	}
	load := httpLoad("http://"+address+petPath, "Authorization: Bearer "+token)
	load = metered(l, "the plain Envoy", envoy.pid(), load)
	return metered(l, "the always-yes server", yes.pid(), load), nil
}
