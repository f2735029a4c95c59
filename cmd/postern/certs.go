package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/toolkit/certs"
)

func newCerts() *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates by which the parts of a gateway know each other",
		Long: `Makes an authority and certificates for mutual TLS between adapter, enforcer, ratelimiter and Envoys. It is for development
and for compose: the authority's key lies in the same folder, and whoever has it can be any part of the gateway. For
production take the certificates from an authority of your own, with the URIs that the guide "Mutual TLS" names.

Running processes follow their files: a renewed certificate is in use with the next connection.`,
		Example: `  postern certs set adapter enforcer ratelimiter envoy=edge-1
  postern certs init && postern certs server adapter --role adapter`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCertsInit(), newCertsServer(), newCertsClient(), newCertsSet())
	return c
}

// folderFlag is where the files are.
func folderFlag(c *cobra.Command) *string {
	return c.Flags().String("dir", "certs", "the folder of the files")
}

func newCertsInit() *cobra.Command {
	var dir *string
	var ttl time.Duration
	c := &cobra.Command{
		Use:     "init",
		Short:   "Make an authority, unless there is one",
		Long:    "Makes an authority: ca.pem for everybody, ca.key for nobody but whoever makes certificates. One that is there is never replaced.",
		Example: "  postern certs init --dir certs",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if ttl <= 0 {
				return usage(fmt.Errorf("--ttl %s: an authority must live for some time", ttl))
			}
			w, err := certs.Init(*dir, ttl, time.Now())
			if err != nil {
				return err
			}
			return tellCertificates(c, w)
		},
	}
	dir = folderFlag(c)
	c.Flags().DurationVar(&ttl, "ttl", certs.AuthorityTTL, "how long it is good for")
	return c
}

// leafCommand makes one certificate.
type leafCommand struct {
	dir      *string
	leaf     certs.Leaf
	renew    bool
	ifNeeded bool
}

func (l *leafCommand) command(c *cobra.Command, roles ...string) *cobra.Command {
	l.dir = folderFlag(c)
	c.Args = usageArgs(cobra.ExactArgs(1))
	c.Flags().Var(&choice{of: roles}, "role", "what it is for: "+strings.Join(roles, ", "))
	c.Flags().StringArrayVar(&l.leaf.Hosts, "host", nil, "a name or address for clients that compare it, as curl does; may be repeated")
	c.Flags().DurationVar(&l.leaf.TTL, "ttl", certs.LeafTTL, "how long it is good for")
	c.Flags().BoolVar(&l.renew, "renew", false, "replace one that is there, with a new key; the authority stays")
	c.Flags().BoolVar(&l.ifNeeded, "if-needed", false, "keep one that is there, while it is what is asked for and has a third of its life before it")
	c.RunE = func(c *cobra.Command, args []string) error {
		l.leaf.Name, l.leaf.Role = args[0], c.Flag("role").Value.String()
		if l.leaf.Role == "" {
			return usage(fmt.Errorf("--role is missing: one of %s", strings.Join(roles, ", ")))
		}
		existing := certs.Refuse
		switch {
		case l.renew && l.ifNeeded:
			return usage(errors.New("--renew and --if-needed are not of one mind; keep one"))
		case l.renew:
			existing = certs.Replace
		case l.ifNeeded:
			existing = certs.Keep
		}
		w, err := certs.Issue(*l.dir, l.leaf, existing, time.Now())
		if err != nil {
			return err
		}
		return tellCertificates(c, w)
	}
	return c
}

func newCertsServer() *cobra.Command {
	l := &leafCommand{}
	return l.command(&cobra.Command{
		Use:   "server NAME --role ROLE",
		Short: "Make the certificate of an adapter, an enforcer or a ratelimiter",
		Long: `Makes NAME.pem and NAME.key. Parts of a gateway know each other by role and name, never by host: --host is for other clients.
An enforcer's and a ratelimiter's are for both sides: they are called by Envoys, and follow the adapter.`,
		Example: `  postern certs server adapter --role adapter --host localhost --host 127.0.0.1
  postern certs server enforcer-1 --role enforcer --renew`,
	}, mtls.RoleAdapter, mtls.RoleEnforcer, mtls.RoleRateLimiter)
}

func newCertsClient() *cobra.Command {
	l := &leafCommand{}
	c := l.command(&cobra.Command{
		Use:   "client NAME --role ROLE",
		Short: "Make the certificate of an Envoy, a follower, or a client of health and metrics",
		Long: `Makes NAME.pem and NAME.key. An Envoy with it may call itself NAME (envoy.id), or NAME/ANYTHING, and with --label belong to
those labels alone. The role client is for people and programs that read health and metrics.`,
		Example: `  postern certs client edge-1 --role envoy --label default
  postern certs client prometheus --role client`,
	}, mtls.RoleEnvoy, mtls.RoleEnforcer, mtls.RoleRateLimiter, mtls.RoleClient)
	c.Flags().StringArrayVar(&l.leaf.Labels, "label", nil, "a label it may have; none: any; may be repeated")
	return c
}

func newCertsSet() *cobra.Command {
	var dir *string
	var ttl time.Duration
	var apart bool
	c := &cobra.Command{
		Use:   "set ROLE[=NAME]… [https=HOST,…]",
		Short: "Make what is missing of a whole set",
		Long: `Makes the authority and a certificate for each role named, called as the role unless it has a name, and one called https that
consumers see when they call one of its hosts. What is there stays, while it has a third of its life before it: the command can be
repeated, at each start if need be.`,
		Example: `  postern certs set adapter enforcer ratelimiter envoy=edge-1 envoy=edge-2 client=ops
  postern certs set --apart adapter enforcer ratelimiter envoy https=localhost,127.0.0.1`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var leaves []certs.Leaf
			for _, arg := range args {
				leaf, err := leafOf(arg)
				if err != nil {
					return usage(fmt.Errorf("%s: %w", arg, err))
				}
				leaf.TTL, leaf.Apart = ttl, apart
				leaves = append(leaves, leaf)
			}
			made, err := certs.Set(*dir, leaves, time.Now())
			if err != nil {
				return err
			}
			return tellCertificates(c, made...)
		},
	}
	dir = folderFlag(c)
	c.Flags().DurationVar(&ttl, "ttl", certs.LeafTTL, "how long the certificates are good for, other than the authority's")
	c.Flags().BoolVar(&apart, "apart", false, "put each into a folder of its own, as tls.crt, tls.key and ca.crt, to give each part its own alone")
	return c
}

// leafOf reads an argument of `postern certs set`.
func leafOf(arg string) (certs.Leaf, error) {
	role, name, _ := strings.Cut(arg, "=")
	if role == certs.HTTPS {
		leaf := certs.Leaf{Identity: mtls.Identity{Role: role, Name: role}}
		if name == "" {
			return leaf, errors.New("name the hosts that consumers call: https=localhost,127.0.0.1")
		}
		leaf.Hosts = strings.Split(name, ",")
		return leaf, nil
	}
	leaf := certs.Leaf{Identity: mtls.Identity{Role: role, Name: cmp.Or(name, role)}}
	return leaf, leaf.Check()
}

// certificate is a Written for machines.
type certificate struct {
	Certificate string   `json:"certificate"`
	Key         string   `json:"key"`
	Authority   string   `json:"authority"`
	Identity    string   `json:"identity,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	NotAfter    string   `json:"notAfter"`
	Kept        bool     `json:"kept"`
}

func tellCertificates(c *cobra.Command, made ...certs.Written) error {
	if asJSON(c) {
		list := []certificate{}
		for _, w := range made {
			m := certificate{Certificate: w.Cert, Key: w.Key, Authority: w.CA, Labels: w.Identity.Labels, NotAfter: day(w.NotAfter), Kept: w.Kept}
			if w.Identity.Role != mtls.RoleNone && w.Identity.Role != certs.HTTPS {
				m.Identity = w.Identity.String()
			}
			list = append(list, m)
		}
		return printJSON(c, map[string]any{"certificates": list})
	}
	out := c.OutOrStdout()
	for _, w := range made {
		what := "the authority"
		switch w.Identity.Role {
		case mtls.RoleNone:
		case certs.HTTPS:
			what = "for consumers, over HTTPS"
		default:
			what = w.Identity.String()
			if len(w.Identity.Labels) > 0 {
				what += " of " + strings.Join(w.Identity.Labels, ", ")
			}
		}
		kept := ""
		if w.Kept {
			kept = " (kept)"
		}
		fmt.Fprintf(out, "%s, %s: %s, until %s%s\n", w.Cert, w.Key, what, day(w.NotAfter), kept)
	}
	for _, w := range made {
		tellUse(c, w)
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// tellUse says where a certificate goes.
func tellUse(c *cobra.Command, w certs.Written) {
	out := c.OutOrStdout()
	switch role := w.Identity.Role; {
	case w.Kept:
	case role == mtls.RoleNone:
		fmt.Fprintf(out, "keep %s from the gateway's machines: whoever has it can be any part of the gateway\n", w.Key)
	case role == certs.HTTPS:
		fmt.Fprintf(out, "\n# postern.yaml of the adapter, or of `postern run`:\nlisten: {https: 0.0.0.0:9095}\ntls: {certificates: [{cert: %s, key: %s}]}\n", w.Cert, w.Key)
	case role == mtls.RoleClient:
		fmt.Fprintf(out, "\n# %s:\ncurl --cert %s --key %s --cacert %s …\n", w.Identity.Name, w.Cert, w.Key, w.CA)
	case slices.Contains(mtls.Roles, role):
		fmt.Fprintf(out, "\n# postern.yaml of %s:\nxds:\n  tls: {cert: %s, key: %s, ca: %s}\n", w.Identity.Name, w.Cert, w.Key, w.CA)
	}
}
