package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/envoy"
)

// version is set by the linker: -X main.version=….
var version = ""

// versionName is what this build is called.
func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func newVersion() *cobra.Command {
	var settings settings
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of Postern and its parts",
		Example: "  postern version\n  postern version --output json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			found := "none found"
			b, err := envoy.Find(c.Context(), cfg.Envoy.Path)
			switch {
			case err == nil && b.Version != "":
				found = b.Version
			case err == nil:
				found = "unknown"
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{
					"postern": versionName(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
					"envoy": map[string]any{"tested": envoy.Version, "found": found, "path": b.Path},
				})
			}
			fmt.Fprintf(c.OutOrStdout(), "postern  %s (%s, %s/%s)\nenvoy    %s", versionName(), runtime.Version(), runtime.GOOS, runtime.GOARCH, found)
			if b.Path != "" {
				fmt.Fprintf(c.OutOrStdout(), " (%s)", b.Path)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "; tested with %s\n", envoy.Version)
			return err
		},
	}
	settings.flags(c)
	return c
}
