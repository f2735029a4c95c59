package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/toolkit/initproject"
)

func newInit() *cobra.Command {
	var o initproject.Options
	c := &cobra.Command{
		Use:   "init NAME --openapi FILE|URL…",
		Short: "Make a project of OpenAPI definitions",
		Long: `Makes a project folder of one or more definitions, which are kept byte for byte. Names and base paths go into
project.yaml; those of two definitions never collide.`,
		Example: `  postern init shop --openapi petstore.yaml
  postern init shop --openapi a.yaml --openapi https://example.com/b.json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if len(o.Sources) == 0 {
				return usage(errors.New("--openapi is missing: a definition, as a file or a URL"))
			}
			o.Dir = args[0]
			definitions, err := initproject.Create(c.Context(), o)
			if err != nil {
				return err
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{"project": o.Dir, "definitions": definitions})
			}
			out := c.OutOrStdout()
			for _, d := range definitions {
				fmt.Fprintf(out, "%s/api_definitions/%s: %s/%s at %s\n", o.Dir, d.File, d.Name, d.Version, d.BasePath)
				if !d.Backend {
					fmt.Fprintf(out, "  it does not say where requests go: write it into %s/project.yaml\n", o.Dir)
				}
			}
			_, err = fmt.Fprintf(out, "next: %s run %s --dev\n", self(), o.Dir)
			return err
		},
	}
	c.Flags().StringArrayVar(&o.Sources, "openapi", nil, "a definition: a file or a URL; may be repeated")
	return c
}
