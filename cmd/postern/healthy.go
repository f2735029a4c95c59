package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/internal/socket"
)

func newHealthy() *cobra.Command {
	var (
		settings settings
		ready    bool
		wait     time.Duration
	)
	parts := []string{string(config.Adapter), string(config.Enforcer), string(config.RateLimiter), string(config.BesideEnvoy)}
	c := &cobra.Command{
		Use:   "healthy [" + strings.Join(parts, "|") + "]",
		Short: "Ask whether a part on this machine is healthy: a check for containers, which need no shell for it",
		Long: `Asks the process that was started with the same configuration, ` + "`postern run`" + ` unless a part is named, over a socket in its
data folder that only its own user can use. It exits with 0 if the answer is yes, 1 if it is no, and 3 if there is none.`,
		Example: `  postern healthy --config postern.yaml
  postern healthy enforcer --ready`,
		ValidArgs: parts,
		Args:      usageArgs(cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, args []string) error {
			part := config.Run
			if len(args) > 0 {
				part = config.Part(args[0])
			}
			path, err := healthSocketOf(c, &settings, part)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), wait)
			defer cancel()
			return askHealth(ctx, path, ready)
		},
	}
	c.Flags().BoolVar(&ready, "ready", false, "ask whether it serves everything it should, not only whether it is there")
	c.Flags().DurationVar(&wait, "timeout", 2*time.Second, "how long to wait for the answer")
	settings.flags(c)
	config.Flags(c.Flags(), map[string]string{"dataDir": "the data folder of the part"})
	return c
}

// healthSocket is where a process of a part answers those on its machine who ask for its health.
func healthSocket(part config.Part) string { return string(part) + "-health.sock" }

// healthSocketOf finds that socket by the configuration. One that cannot be read, which a part that runs goes on without,
// is no reason to end it: then the environment, the flags and the defaults say where the data folder is.
func healthSocketOf(c *cobra.Command, s *settings, part config.Part) (string, error) {
	s.part = config.Nobody
	cfg, _, err := s.load(c)
	if err != nil {
		without := *s
		without.file = os.DevNull
		if cfg, _, _ = without.load(c); cfg == nil {
			return "", err
		}
	}
	folder, err := socket.Sockets(cfg.DataDir)
	return filepath.Join(folder, healthSocket(part)), err
}

// askHealth asks over a unix socket.
func askHealth(ctx context.Context, path string, ready bool) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	page := "healthz"
	if ready {
		page = "readyz"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/"+page, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return failure{exitUnreachable, fmt.Errorf("nobody answers at %s: %w", path, err)}
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var answer struct {
		Reasons []string `json:"reasons"`
	}
	_ = json.NewDecoder(response.Body).Decode(&answer) // its status is answer enough
	slices.Sort(answer.Reasons)
	return failure{exitBadInput, fmt.Errorf("%s answers %d: %s", page, response.StatusCode, strings.Join(answer.Reasons, "; "))}
}
