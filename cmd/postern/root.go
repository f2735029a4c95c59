package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "An API microgateway over Envoy",
		Long: `Postern turns OpenAPI definitions into a running Envoy that routes, secures, limits and observes.

Exit codes: 0 ok, 1 the input is bad, 2 usage, 3 the server could not be reached, 4 a gateway rejected it or did not answer.`,
		Example: `  postern init shop --openapi petstore.yaml
  postern run shop --dev`,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().VarP(&choice{value: "text", of: []string{"text", "json"}}, "output", "o", "what to print: text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // --help says it all
	root.AddCommand(
		newInit(), newValidate(), newBuild(), newRun(), newToken(), newTokens(), newTranslate(), newExplain(), newGateways(), newBackup(), newRestore(), newCerts(),
		newDeploy(), newUndeploy(), newDiff(), newRollback(), newRevisions(), newAPIs(),
		newAdapter(), newEnforcer(), newRateLimiter(), newEnvoy(), newHealthy(), newVersion(), newSchema(), newCompletion(),
	)
	return root
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error { return usage(check(c, args)) }
}

// asJSON says whether a command was asked for JSON.
func asJSON(c *cobra.Command) bool {
	flag := c.Flag("output")
	return flag != nil && flag.Value.String() == "json"
}

// choice is a flag of which the value is one of a few words.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "word" }

func (c *choice) Set(value string) error {
	if !slices.Contains(c.of, value) {
		return fmt.Errorf("choose one of %s", strings.Join(c.of, ", "))
	}
	c.value = value
	return nil
}
