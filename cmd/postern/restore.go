package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/internal/config"
)

func newRestore() *cobra.Command {
	var settings settings
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put what postern backup wrote in the place of what was pushed",
		Long: `Reads a backup, verifies all of it, and makes it what the adapter of a data folder has been pushed: projects with their
revisions and archives. The adapter must not run; its next start serves what was restored. The file that was in the
data folder is kept beside the new one. FILE is - for what comes in.`,
		Example: `  postern restore gateway.backup
  postern restore gateway.backup --data-dir /var/lib/postern`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			settings.part = config.Nobody
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			from := io.NopCloser(c.InOrStdin())
			if args[0] != "-" {
				if from, err = os.Open(args[0]); err != nil {
					return err
				}
			}
			defer from.Close()
			path := filepath.Join(cfg.DataDir, storeFile)
			done, err := store.Restore(path, from)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return tellRestored(c, path, done)
		},
	}
	settings.flags(c)
	config.Flags(c.Flags(), map[string]string{"dataDir": "the adapter's data folder"})
	return c
}

func tellRestored(c *cobra.Command, path string, done store.Restored) error {
	if asJSON(c) {
		out := map[string]any{"file": path, "projects": done.Projects, "revisions": done.Revisions}
		if done.Aside != "" {
			out["kept"] = done.Aside
		}
		return printJSON(c, out)
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d projects, %d revisions\n", path, done.Projects, done.Revisions)
	if done.Aside != "" {
		fmt.Fprintf(c.OutOrStdout(), "what was there is kept as %s\n", done.Aside)
	}
	return nil
}
