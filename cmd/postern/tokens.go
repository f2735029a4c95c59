package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/internal/config"
)

func newTokens() *cobra.Command {
	c := &cobra.Command{
		Use:   "tokens",
		Short: "Make, list and revoke the tokens with which a gateway is managed",
		Long: `Edits the file of hashed tokens of an adapter or of postern run (management.tokens, or tokens.yaml in the data folder), on
the machine where it is. A change is live within a second or two. What a token may do are roles: viewer reads, deployer also
deploys, admin may do everything; each for all labels, or for one: deployer/partner.`,
		Example: `  postern tokens create ci --role deployer/partner --expires 90d
  postern tokens list
  postern tokens revoke ci`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTokensCreate(), newTokensList(), newTokensRevoke())
	return c
}

// tokensFile is the file that a command of these is about.
func tokensFile(c *cobra.Command, s settings) (string, error) {
	s.part, s.insecure = config.Client, true // it listens nowhere
	cfg, _, err := s.load(c)
	if err != nil {
		return "", err
	}
	return cfg.Management.Tokens, nil
}

func tokensFlags(c *cobra.Command, s *settings) *cobra.Command {
	s.flags(c)
	config.Flags(c.Flags(), map[string]string{"dataDir": "the adapter's data folder", "management.tokens": "the file of hashed tokens (tokens.yaml in the data folder)"})
	return c
}

func newTokensCreate() *cobra.Command {
	var s settings
	var roles []string
	var expires string
	c := &cobra.Command{
		Use:   "create NAME --role ROLE[/LABEL]…",
		Short: "Make a token and print it: once, for only its hash is kept",
		Long: `Makes a token, puts its hash with its name and roles into the tokens file, and prints it. Nobody can tell it again. The name
stands in revisions and in the audit log.`,
		Example: `  postern tokens create ci --role deployer/partner --expires 90d
  postern tokens create ops --role admin`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			grants, err := parseGrants(roles)
			if err != nil {
				return usage(err)
			}
			now := time.Now()
			until, err := parseExpiry(expires, now)
			if err != nil {
				return usage(err)
			}
			path, err := tokensFile(c, s)
			if err != nil {
				return err
			}
			token, err := access.Create(path, args[0], grants, until, now)
			if err != nil {
				return err
			}
			if asJSON(c) {
				out := map[string]any{"name": args[0], "token": token, "roles": grants, "file": path}
				if !until.IsZero() {
					out["expires"] = until.UTC().Format(time.RFC3339)
				}
				return printJSON(c, out)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
	c.Flags().StringArrayVar(&roles, "role", nil, "what it is good for: viewer, deployer or admin, for one label with /LABEL; may be repeated")
	c.Flags().StringVar(&expires, "expires", "", "for how long, like 90d or 12h, or until when, like 2027-01-31 (for ever)")
	return tokensFlags(c, &s)
}

func parseGrants(roles []string) (access.Grants, error) {
	if len(roles) == 0 {
		return nil, errors.New("--role is missing: viewer, deployer or admin, or one of them for a label: deployer/partner")
	}
	var grants access.Grants
	for _, role := range roles {
		grant, err := access.ParseGrant(role)
		if err != nil {
			return nil, fmt.Errorf("--role: %w", err)
		}
		if !slices.Contains(grants, grant) {
			grants = append(grants, grant)
		}
	}
	return grants, nil
}

var days = regexp.MustCompile(`^([0-9]{1,5})d$`)

// parseExpiry reads a time span, with days, or a day or moment. "" is never: zero.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	until, err := time.Parse(time.DateOnly, text)
	if err != nil {
		until, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		if m := days.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1]) // five digits
			until, err = now.AddDate(0, 0, n), nil
		} else if span, e := time.ParseDuration(text); e == nil {
			until, err = now.Add(span), nil
		}
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("--expires %s: write a span like 90d or 12h, or a day like 2027-01-31", text)
	case !until.After(now):
		return time.Time{}, fmt.Errorf("--expires %s: that is not in the future", text)
	}
	return until, nil
}

func newTokensList() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens and client certificates with which a gateway is managed",
		Long:    "Lists names, roles and times. The tokens themselves are not known here.",
		Example: `  postern tokens list --output json`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := tokensFile(c, s)
			if err != nil {
				return err
			}
			f, err := access.Read(path)
			if err != nil {
				return err
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{"tokens": append([]access.Token{}, f.Tokens...), "certificates": append([]access.Certificate{}, f.Certificates...)})
			}
			if len(f.Tokens)+len(f.Certificates) == 0 {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s has no token\n", path)
				return err
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tROLES\tCREATED\tEXPIRES")
			for _, token := range f.Tokens {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", token.Name, strings.Join(token.Roles.Strings(), " "), dayOf(token.Created, "-"), expiry(token, time.Now()))
			}
			for _, one := range f.Certificates {
				fmt.Fprintf(t, "postern://client/%s\t%s\t-\t-\n", one.Name, strings.Join(one.Roles.Strings(), " "))
			}
			return t.Flush()
		},
	}
	return tokensFlags(c, &s)
}

func expiry(t access.Token, now time.Time) string {
	if t.Expired(now) {
		return dayOf(t.Expires, "never") + " (expired)"
	}
	return dayOf(t.Expires, "never")
}

func dayOf(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.UTC().Format(time.DateOnly)
}

func newTokensRevoke() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Take a token away",
		Long:    "Takes a token out of the file. An adapter that runs refuses it within a second or two.",
		Example: `  postern tokens revoke ci`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := tokensFile(c, s)
			if err != nil {
				return err
			}
			if err := access.Revoke(path, args[0]); err != nil {
				return err
			}
			if asJSON(c) {
				return printJSON(c, map[string]any{"revoked": args[0], "file": path})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is revoked\n", args[0])
			return err
		},
	}
	return tokensFlags(c, &s)
}
