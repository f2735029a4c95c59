package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/internal/whole"
)

func newBuild() *cobra.Command {
	var settings settings
	var out string
	var environment *string
	c := &cobra.Command{
		Use:   "build DIR --out FILE.zip",
		Short: "Pack a project into an archive",
		Long: `Packs a project that has no problems into an archive. The same input gives the same bytes, so that archives can be
compared and signed.`,
		Example: "  postern build shop --out shop.zip",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usage(errors.New("--out is missing: the archive to write"))
			}
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			p, err := compileOrTell(c, args[0], *environment, cfg)
			if err != nil {
				return err
			}
			files, closer, err := project.Open(args[0])
			if err != nil {
				return err
			}
			defer closer.Close()
			size, err := save(out, 0o644, func(w io.Writer) error { return project.Build(files, w) })
			if err != nil {
				return err
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{"file": out, "project": p.Name, "bytes": size})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: project %s, %d bytes\n", out, p.Name, size)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "the archive to write")
	environment = environmentFlag(c)
	settings.flags(c)
	return c
}

// save writes a file whole or not at all, and says how many bytes it has.
func save(path string, mode fs.FileMode, content func(io.Writer) error) (int64, error) {
	if err := whole.Write(path, mode, content); err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
