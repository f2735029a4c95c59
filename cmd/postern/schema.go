package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/toolkit/schema"
)

func newSchema() *cobra.Command {
	all := schema.All()
	names := slices.Sorted(maps.Keys(all))
	return &cobra.Command{
		Use:   "schema [FILE]",
		Short: "Print the JSON Schemas of the files people write",
		Long:  "Prints the JSON Schema of one file, or of all of them by name: " + strings.Join(names, ", ") + ".",
		Example: `  postern schema project.yaml > project.schema.json
  postern schema`,
		ValidArgs: names,
		Args:      usageArgs(cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", strings.TrimSpace(string(all[args[0]])))
				return err
			}
			shown := map[string]json.RawMessage{}
			for name, text := range all {
				shown[name] = text
			}
			return printJSON(c, shown)
		},
	}
}
