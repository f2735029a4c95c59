package main

import (
	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/toolkit/report"
)

func newValidate() *cobra.Command {
	var settings settings
	var environment *string
	format := choice{of: report.Formats}
	c := &cobra.Command{
		Use:   "validate DIR|ZIP…",
		Short: "Say everything that is wrong with a project",
		Long: `Compiles projects as a gateway would and prints every problem with its place: file, line, column and JSON pointer.
Ends with 1 if a gateway would refuse one of them.`,
		Example: `  postern validate shop
  postern validate shop --env prod --format sarif > postern.sarif`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, paths []string) error {
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			if format.value == "" {
				format.value = c.Flag("output").Value.String()
			}
			var found []report.Project
			valid := true
			for _, path := range paths {
				p, problems, err := compile(path, *environment, cfg)
				if err != nil {
					return err
				}
				r := report.Of(path, p, problems)
				valid = valid && r.Valid
				found = append(found, r)
			}
			if err := report.Write(c.OutOrStdout(), format.value, found); err != nil {
				return err
			}
			if !valid {
				return failure{code: exitBadInput}
			}
			return nil
		},
	}
	c.Flags().Var(&format, "format", "how to print: text, json, junit or sarif (default: as --output says)")
	environment = environmentFlag(c)
	settings.flags(c)
	return c
}
