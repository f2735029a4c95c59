package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/project"
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
			size, err := pack(files, out)
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

// pack writes an archive whole or not at all.
func pack(files fs.FS, path string) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".postern-build-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name()) // nothing is there once it was renamed
	if err := errors.Join(project.Build(files, file), file.Chmod(0o644)); err != nil {
		file.Close()
		return 0, err
	}
	info, err := file.Stat()
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(file.Name(), path)
}
