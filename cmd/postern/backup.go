package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/toolkit/client"
)

func newBackup() *cobra.Command {
	var from remote
	c := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Write everything that was pushed to an adapter into one file",
		Long: `Asks a running adapter for all projects that were pushed to it, with their revisions and archives, as they are at one moment;
pushes go on meanwhile. The file is there under its name once it is whole and verified; none is overwritten. Without FILE its name
has the time; - is the output. This takes an admin's token. Whoever can read the file can read all projects.`,
		Example: `  postern backup
  postern backup gateway.backup --server https://adapter:9843
  postern backup - | ssh elsewhere 'cat > gateway.backup'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			asker, err := from.client(c)
			if err != nil {
				return err
			}
			defer asker.Close()
			ctx, release := interruptible(c)
			defer release()
			path := "postern-" + time.Now().UTC().Format("20060102T150405Z") + ".backup"
			if len(args) > 0 {
				path = args[0]
			}
			if path == "-" {
				_, err := fetchBackup(ctx, asker, c.OutOrStdout())
				return err
			}
			found, size, err := saveBackup(ctx, asker, path)
			if err != nil {
				return err
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{"file": path, "bytes": size, "projects": found.Projects, "revisions": found.Revisions})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %d projects, %d revisions, %d bytes\n", path, found.Projects, found.Revisions, size)
			return err
		},
	}
	from.flags(c)
	return c
}

// fetchBackup writes a backup, and reads along whether it is whole.
func fetchBackup(ctx context.Context, asker *client.Client, to io.Writer) (store.Restored, error) {
	r, w := io.Pipe()
	type checked struct {
		found store.Restored
		err   error
	}
	done := make(chan checked, 1)
	go func() {
		found, err := store.CheckBackup(r)
		_, _ = io.Copy(io.Discard, r) // why: what comes after a mistake is written all the same
		done <- checked{found, err}
	}()
	err := asker.Backup(ctx, io.MultiWriter(to, w))
	_ = w.Close()
	read := <-done
	if err != nil {
		return store.Restored{}, failed(err)
	}
	if read.err != nil {
		return store.Restored{}, failure{exitUnreachable, fmt.Errorf("%s sent what cannot be restored: %w", asker.Server(), read.err)}
	}
	return read.found, nil
}

// saveBackup writes a backup to a file that is not there yet, whole or not at all.
func saveBackup(ctx context.Context, asker *client.Client, path string) (found store.Restored, size int64, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return found, 0, errors.Join(err, fmt.Errorf("%s is there already; name another file", path))
	}
	size, err = save(path, 0o600, func(w io.Writer) (err error) {
		found, err = fetchBackup(ctx, asker, w)
		return err
	})
	return found, size, err
}
