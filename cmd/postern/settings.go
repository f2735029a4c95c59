package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
)

// settings are the flags by which a command finds its configuration.
type settings struct {
	file          string
	dev, insecure bool
	part          config.Part
}

func (s *settings) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.file, "config", os.Getenv("POSTERN_CONFIG"), "the gateway's configuration ("+config.DefaultFile+", if it is there)")
	c.Flags().Lookup("config").DefValue = ""
}

// load reads the configuration: flags over environment over file over defaults.
func (s *settings) load(c *cobra.Command) (*config.Config, []string, error) {
	return config.Load(config.Options{
		Path: s.file, Environ: os.Environ(), Flags: c.Flags(), Dev: s.dev, Insecure: s.insecure, Part: s.part,
	})
}

func printJSON(c *cobra.Command, value any) error { return printTo(c.OutOrStdout(), value) }

func printTo(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
