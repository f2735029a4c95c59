package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/explain"
	"github.com/postern-gateway/postern/adapter/model"
)

func newExplain() *cobra.Command {
	var settings settings
	var environment *string
	var headers []string
	c := &cobra.Command{
		Use:   `explain "METHOD /path" [DIR|ZIP]…`,
		Short: "Say what a gateway would do with a request",
		Long: `Says, without a gateway, which API and operation would take a request, who may make it, what counts it and where it
would go. Projects are those named, or the one in the working directory.`,
		Example: `  postern explain "GET /petstore/1.0.0/pet/1" examples/petstore
  postern explain "POST /pets" -H "Host: shop.example.com" -H "Authorization: Bearer x" shop`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			request, err := explain.ParseRequest(args[0], headers)
			if err != nil {
				return usage(err)
			}
			paths, err := projectPaths(args[1:])
			if err != nil {
				return err
			}
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			var apis []model.API
			for _, path := range paths {
				p, err := compileOrTell(c, path, *environment, cfg)
				if err != nil {
					return err
				}
				apis = append(apis, p.APIs...)
			}
			a := explain.Explain(apis, cfg.Settings(), request)
			if asJSON(c) {
				err = printJSON(c, a)
			} else {
				err = a.Write(c.OutOrStdout())
			}
			if err == nil && a.Status != http.StatusOK {
				return failure{code: exitBadInput}
			}
			return err
		},
	}
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, `a header of the request, "Name: value"; may be repeated`)
	environment = environmentFlag(c)
	settings.flags(c)
	return c
}
