package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/toolkit/client"
)

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands in a shell",
		Long: `Prints a script for a shell. Names of projects are asked of the server that a command would ask ($POSTERN_SERVER, --server or that of the
configuration), which has a second to answer.`,
		Example: `  postern completion bash > /etc/bash_completion.d/postern
  source <(postern completion zsh)`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      usageArgs(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, args []string) error {
			root, out := c.Root(), c.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}

// completionPatience is how long who presses the key may be kept waiting.
const completionPatience = time.Second

// complete offers what a list on the server has. A server that does not answer has nothing to offer.
func (r *remote) complete(list func(context.Context, *client.Client) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		asker, err := r.client(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer asker.Close()
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		names, err := list(ctx, asker)
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
		}
		names = slices.DeleteFunc(names, func(one cobra.Completion) bool {
			name, _, _ := strings.Cut(one, "\t")
			return slices.Contains(args, name)
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// projectsOf are the names of projects, each with where it is from.
func projectsOf(ctx context.Context, asker *client.Client) ([]cobra.Completion, error) {
	projects, err := asker.Projects(ctx)
	var names []cobra.Completion
	for _, p := range projects {
		names = append(names, cobra.CompletionWithDesc(p.Name, p.Source))
	}
	return names, err
}

// apisOf are the names and versions of APIs, each with where it is.
func apisOf(ctx context.Context, asker *client.Client) ([]cobra.Completion, error) {
	apis, err := asker.APIs(ctx, client.Filter{})
	var names []cobra.Completion
	for _, a := range apis {
		names = append(names, cobra.CompletionWithDesc(a.Name+"/"+a.Version, a.BasePath))
	}
	return names, err
}
