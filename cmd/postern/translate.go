package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/internal/config"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/toolkit/show"
)

func newTranslate() *cobra.Command {
	var settings settings
	var environment *string
	c := &cobra.Command{
		Use:   "translate DIR|ZIP",
		Short: "Print what would be published for a project",
		Long: `Prints, as YAML, the Envoy resources, the enforcer's policies and issuers and the limiter's limits that a gateway
would publish for a project. Secrets are blacked out.`,
		Example: `  postern translate shop
  postern translate shop --env prod --output json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			p, err := compileOrTell(c, args[0], *environment, cfg)
			if err != nil {
				return err
			}
			groups, err := published(cfg, p)
			if err != nil {
				return err
			}
			if asJSON(c) {
				all := map[string][]show.Resource{}
				for _, g := range groups {
					all[g.Name] = g.Resources
				}
				return printJSON(c, all)
			}
			return show.YAML(c.OutOrStdout(), groups)
		},
	}
	environment = environmentFlag(c)
	settings.flags(c)
	return c
}

// published are the resources of a gateway that serves one project.
func published(cfg *config.Config, p model.Project) ([]show.Group, error) {
	s := routed(cfg, p)
	listeners, clusters := translate.Static(s)
	delta, problems := translate.NewIndex(s).Plan(p.APIs, nil)
	if model.Refusing(problems) {
		return nil, problems[0]
	}
	issuers, err := cfg.Issuers()
	if err != nil {
		return nil, err
	}
	secrets, err := adapter.Secrets(cfg.Certificates())
	if err != nil {
		return nil, err
	}
	var groups []show.Group
	add := func(name string, resources []translate.Resource) error {
		g := show.Group{Name: name, Resources: []show.Resource{}}
		for _, r := range resources {
			shown, err := show.Of(r.Name, r.Version, r.APIs, r.Message)
			if err != nil {
				return err
			}
			g.Resources = append(g.Resources, shown)
		}
		groups = append(groups, g)
		return nil
	}
	for _, g := range []struct {
		name      string
		resources []translate.Resource
	}{
		{"envoy secrets", secrets},
		{"envoy listeners", listeners},
		{"envoy clusters", append(clusters, delta.Clusters.Put...)},
		{"envoy scopes", delta.Scopes.Put},
		{"envoy routes", delta.Routes.Put},
		{"enforcer policies", delta.Policies.Put},
		{"enforcer issuers", issuerResources(issuers)},
		{"ratelimiter limits", delta.Limits.Put},
	} {
		if err := add(g.name, g.resources); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

func issuerResources(issuers []*posternv1.Issuer) []translate.Resource {
	var all []translate.Resource
	for _, i := range issuers {
		all = append(all, translate.Resource{Name: i.GetIssuer(), Version: posternv1.ContentHash(i), Message: proto.Message(i)})
	}
	return all
}

// routed are the configuration's settings, with routing mode auto decided as `postern run` does.
func routed(cfg *config.Config, projects ...model.Project) model.Settings {
	s := cfg.Settings()
	if cfg.Routing.Mode == "auto" {
		s.Routing = adapter.DecideRouting(projects, s.Routing)
	}
	return s
}
