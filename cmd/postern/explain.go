package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/explain"
	"github.com/postern-gateway/postern/adapter/model"
	answers "github.com/postern-gateway/postern/adapter/rest/api"
)

func newExplain() *cobra.Command {
	var from remote
	var environment *string
	var headers []string
	var label string
	c := &cobra.Command{
		Use:   `explain "METHOD /path" [DIR|ZIP]…`,
		Short: "Say what a gateway would do with a request",
		Long: `Says which API and operation would take a request, who may make it, what counts it and where it would go. Without a gateway: by the
projects that are named, or the one in the working directory. With --server: by what that adapter's gateways serve now.`,
		Example: `  postern explain "GET /petstore/1.0.0/pet/1" examples/petstore
  postern explain "POST /pets" -H "Host: shop.example.com" -H "Authorization: Bearer x" shop
  postern explain "GET /petstore/1.0.0/pet/1" --server http://127.0.0.1:9843`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			request, err := explain.ParseRequest(args[0], headers)
			if err != nil {
				return usage(err)
			}
			live := from.server != "" && len(args) == 1
			var a explain.Answer
			switch {
			case c.Flags().Changed("server") && !live:
				return usage(errors.New("--server asks what is served, DIR what would be: name one of them"))
			case live:
				a, err = from.explain(c, request, label)
			default:
				a, err = explainHere(c, &from.settings, request, args[1:], *environment)
			}
			if err != nil {
				return err
			}
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
	c.Flags().StringVar(&label, "label", "", "with --server: the label of the gateways that are meant, where it has several")
	environment = environmentFlag(c)
	from.flags(c)
	return c
}

// explainHere answers by projects that are here.
func explainHere(c *cobra.Command, s *settings, request explain.Request, args []string, environment string) (explain.Answer, error) {
	paths, err := projectPaths(args)
	if err != nil {
		return explain.Answer{}, err
	}
	cfg, _, err := s.load(c)
	if err != nil {
		return explain.Answer{}, err
	}
	var apis []model.API
	for _, path := range paths {
		p, err := compileOrTell(c, path, environment, cfg)
		if err != nil {
			return explain.Answer{}, err
		}
		apis = append(apis, p.APIs...)
	}
	return explain.Explain(apis, cfg.Settings(), request), nil
}

// explain asks a server.
func (r *remote) explain(c *cobra.Command, request explain.Request, label string) (explain.Answer, error) {
	headers := map[string]string{}
	for name, values := range request.Header {
		if len(values) > 1 {
			return explain.Answer{}, usage(fmt.Errorf("the header %s is there %d times; a server is asked about one of each", name, len(values)))
		}
		headers[name] = values[0]
	}
	asker, err := r.client(c)
	if err != nil {
		return explain.Answer{}, err
	}
	defer asker.Close()
	a, err := asker.Explain(c.Context(), answers.ExplainRequest{Method: request.Method, URL: request.Path, Headers: headers, Label: label})
	return a, failed(err)
}
