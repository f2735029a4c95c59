package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/config"
	"github.com/postern-gateway/postern/toolkit/devissuer"
)

func newToken() *cobra.Command {
	var token devissuer.Token
	var scopes, jwks string
	var claims []string
	var settings settings
	c := &cobra.Command{
		Use:   "token",
		Short: "Sign a token that a gateway in --dev accepts",
		Long: `Signs a JWT of the development issuer, whose key lies in the data folder. Only a gateway that was started with
--dev, from the same data folder, accepts it; and one whose configuration has an issuer urn:postern:dev with the public
keys that --jwks writes, for trying a gateway that cannot be in --dev because it runs elsewhere.

A claim is a string, unless := is written for =: then it is JSON.`,
		Example: `  postern token --sub ann --scope "read:pets write:pets"
  postern token --claim aud=petstore --claim level:=3 --ttl 5m
  postern token --jwks jwks.json
  curl -H "Authorization: Bearer $(postern token)" http://127.0.0.1:9090/petstore/1.0.0/pet/1`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			token.Scopes = strings.Fields(scopes)
			if err := checkToken(&token, claims); err != nil {
				return usage(err)
			}
			settings.part = config.Nobody
			cfg, _, err := settings.load(c)
			if err != nil {
				return err
			}
			issuer, err := devissuer.Open(cfg.DataDir)
			if err != nil {
				return err
			}
			if jwks != "" {
				return issuer.Publish(jwks)
			}
			return signToken(c, issuer, token)
		},
	}
	c.Flags().StringVar(&token.Subject, "sub", "dev", "the subject")
	c.Flags().StringVar(&scopes, "scope", "", "the scopes, separated by spaces")
	c.Flags().StringArrayVar(&claims, "claim", nil, "a further claim, name=text or name:=JSON; may be repeated")
	c.Flags().DurationVar(&token.TTL, "ttl", time.Hour, "how long it is good for, 720h at most")
	c.Flags().StringVar(&jwks, "jwks", "", "sign nothing: write the issuer's public keys to this file, for jwks.file of an issuer")
	settings.flags(c)
	config.Flags(c.Flags(), map[string]string{"dataDir": dataDirUsage})
	return c
}

func checkToken(token *devissuer.Token, claims []string) (err error) {
	if token.Claims, err = parseClaims(claims); err != nil {
		return err
	}
	switch {
	case token.TTL <= 0:
		return fmt.Errorf("--ttl %s: a token must live for some time", token.TTL)
	case token.TTL > devissuer.MaxTTL:
		return fmt.Errorf("--ttl %s: a development token lives for %.0fh at most, 30 days; sign another one then, or configure an issuer", token.TTL, devissuer.MaxTTL.Hours())
	}
	return nil
}

func signToken(c *cobra.Command, issuer *devissuer.Issuer, token devissuer.Token) error {
	now := time.Now()
	signed, err := issuer.Sign(token, now)
	if err != nil {
		return err
	}
	if asJSON(c) {
		out := map[string]any{"token": signed, "expires": now.Add(token.TTL).UTC().Format(time.RFC3339)}
		if issuer.Made != "" {
			out["madeKey"] = issuer.Made
		}
		return printJSON(c, out)
	}
	if issuer.Made != "" {
		fmt.Fprintf(c.ErrOrStderr(), "%s: made the key %s; a gateway with --dev and this data folder accepts its tokens, one that runs already without it does not\n", self(), issuer.Made)
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), signed)
	return err
}

func parseClaims(pairs []string) (map[string]any, error) {
	claims := map[string]any{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		name, isJSON := strings.CutSuffix(name, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("--claim %s: write name=text or name:=JSON", pair)
		}
		claims[name] = text
		if isJSON {
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				return nil, fmt.Errorf("--claim %s: what follows := is not JSON: %w", name, err)
			}
			claims[name] = value
		}
	}
	return claims, nil
}
