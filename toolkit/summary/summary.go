// Package summary tells what a gateway serves, in a few lines for the person who started it. It must not import the
// enforcer or the ratelimiter, nor of the adapter more than its model.
package summary

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// Gateway is what there is to tell.
type Gateway struct {
	Version    string      `json:"version"`
	Envoy      string      `json:"envoy"`
	HTTP       string      `json:"http"`  // where the data plane listens, "host:port"; "" is nowhere
	HTTPS      string      `json:"https"` // where clients find it with TLS, "host:port"; "" is nowhere
	Management string      `json:"management"`
	DataDir    string      `json:"dataDir"`
	Dev        bool        `json:"dev"`
	APIs       []model.API `json:"-"`
	Served     []API       `json:"apis"`
	Warnings   []string    `json:"warnings"`
	// Token is a command that prints a token with the scopes that are appended to it; "" is none.
	Token string `json:"-"`
}

// API is what is told of one.
type API struct {
	Name       string   `json:"name"`
	URL        string   `json:"url"` // of the plain listener, if there is one
	HTTPS      string   `json:"https,omitempty"`
	Hosts      []string `json:"hosts,omitempty"`
	Operations int      `json:"operations"`
	Open       int      `json:"open"` // operations that ask for nothing
	Limits     []string `json:"limits,omitempty"`
	Aliases    []string `json:"aliases,omitempty"` // base paths it is served at, too
	State      string   `json:"state,omitempty"`
	Closed     int      `json:"closed,omitempty"`     // operations that are blocked or retired
	Deprecated int      `json:"deprecated,omitempty"` // operations that are served, and should not be used any more
}

// most APIs that are told one by one.
const most = 20

// Fill derives Served from APIs.
func (g *Gateway) Fill() {
	g.Served = []API{}
	if g.Warnings == nil {
		g.Warnings = []string{}
	}
	for _, a := range g.APIs {
		s := API{
			Name: a.ID(), URL: g.url(a), HTTPS: g.https(a), Hosts: a.Hosts, Operations: len(a.Operations), Limits: limits(a),
			Aliases: a.Aliases, State: string(a.State),
		}
		for _, o := range a.Operations {
			if o.Security.Anonymous() {
				s.Open++
			}
			switch {
			case a.StateOf(o).Status() != 0:
				s.Closed++
			case o.Lifespan.Deprecated:
				s.Deprecated++
			}
		}
		g.Served = append(g.Served, s)
	}
}

// url is where an API is found from this machine.
func (g *Gateway) url(a model.API) string {
	if g.HTTP == "" {
		return g.https(a)
	}
	return "http://" + reachable(g.HTTP) + a.BasePath
}

func (g *Gateway) https(a model.API) string {
	if g.HTTPS == "" {
		return ""
	}
	return "https://" + reachable(g.HTTPS) + a.BasePath
}

// reachable is an address to call where one listens.
func reachable(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// limits are the tiers of an API and its operations, each once.
func limits(a model.API) []string {
	var told []string
	tell := func(l *model.Limit) {
		if l == nil {
			return
		}
		text := fmt.Sprintf("%s (%d in %s)", l.Name, l.Count, short(l.Window))
		if !slices.Contains(told, text) {
			told = append(told, text)
		}
	}
	tell(a.Tier)
	for i := range a.Limits {
		tell(&a.Limits[i])
	}
	for _, o := range a.Operations {
		tell(o.Tier)
		for i := range o.Limits {
			tell(&o.Limits[i])
		}
	}
	return told
}

// short is a duration without the zeroes that time.Duration prints: "1m" for "1m0s".
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Write prints the summary.
func (g *Gateway) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nPostern %s with Envoy %s serves %s.\n\n", g.Version, g.Envoy, count(len(g.Served), "API"))
	for i, a := range g.Served {
		if i == most {
			fmt.Fprintf(&b, "  … and %d more\n", len(g.Served)-most)
			break
		}
		g.writeAPI(&b, a)
	}
	fmt.Fprintf(&b, "\n  management  %s  (/api/v1, /healthz, /readyz, /metrics)\n", g.Management)
	fmt.Fprintf(&b, "  data        %s\n", g.DataDir)
	for _, warning := range g.Warnings {
		fmt.Fprintf(&b, "\n  warning: %s", warning)
	}
	if len(g.Warnings) > 0 {
		b.WriteByte('\n')
	}
	if g.Dev {
		b.WriteString("\n  DEVELOPMENT: whoever can read the data folder can make tokens. Never serve others with --dev.\n")
	}
	if try := g.try(); try != "" {
		fmt.Fprintf(&b, "\nTry:\n  %s\n", try)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *Gateway) writeAPI(b *strings.Builder, a API) {
	fmt.Fprintf(b, "  %s  %s", a.Name, a.URL)
	if a.HTTPS != "" && a.HTTPS != a.URL {
		fmt.Fprintf(b, "  %s", a.HTTPS)
	}
	if len(a.Hosts) > 0 {
		fmt.Fprintf(b, "  for %s", strings.Join(a.Hosts, ", "))
	}
	var security string
	switch a.Open {
	case 0:
		security = "all with a token"
	case a.Operations:
		security = "all open"
	default:
		security = fmt.Sprintf("%d with a token, %d open", a.Operations-a.Open, a.Open)
	}
	limits := "no limits"
	if len(a.Limits) > 0 {
		limits = "limits: " + strings.Join(a.Limits, ", ")
	}
	fmt.Fprintf(b, "\n    %s, %s; %s%s\n", count(a.Operations, "operation"), security, limits, a.life())
}

// life is what else is to be told of an API: its other base paths, and what is not served or not for long.
func (a API) life() string {
	var b strings.Builder
	if len(a.Aliases) > 0 {
		fmt.Fprintf(&b, "; also at %s", strings.Join(a.Aliases, ", "))
	}
	switch state := model.Lifecycle(a.State); {
	case state.Status() != 0:
		fmt.Fprintf(&b, "; %s: %d", state, state.Status())
		return b.String()
	case state == model.Prototyped:
		fmt.Fprintf(&b, "; %s", state)
	}
	if a.Closed > 0 {
		fmt.Fprintf(&b, "; %d blocked or retired", a.Closed)
	}
	if a.Deprecated > 0 {
		fmt.Fprintf(&b, "; %d deprecated", a.Deprecated)
	}
	return b.String()
}

// try is a line to paste: a GET, best one that asks for a token, with parameters filled in.
func (g *Gateway) try() string {
	var best *model.Operation
	var api model.API
	for _, a := range g.APIs {
		for i, o := range a.Operations {
			if a.StateOf(o).Status() == 0 && better(&a.Operations[i], best) && len(o.Security.Alternatives)+boolToInt(o.Security.Disabled) > 0 {
				best, api = &a.Operations[i], a
			}
		}
	}
	if best == nil {
		return ""
	}
	line := "curl -i "
	if best.Method != "GET" {
		line += "-X " + best.Method + " "
	}
	if len(api.Hosts) > 0 {
		line += fmt.Sprintf("-H 'Host: %s' ", strings.Replace(api.Hosts[0], "*", "www", 1))
	}
	if !best.Security.Anonymous() && g.Token != "" {
		token := g.Token
		if r := best.Security.Alternatives[0].Requirements; len(r) > 0 && len(r[0].Scopes) > 0 {
			token += fmt.Sprintf(" --scope '%s'", strings.Join(r[0].Scopes, " "))
		}
		line += fmt.Sprintf(`-H "Authorization: Bearer $(%s)" `, token)
	}
	return line + strings.TrimSuffix(g.url(api), "/") + filled(best.Path)
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// better: one that is not deprecated before one that is, a GET before others, a path without parameters before one with, one that asks for a token before an open one.
func better(a, b *model.Operation) bool { return b == nil || rank(a) < rank(b) }

func rank(o *model.Operation) int {
	return 8*boolToInt(o.Lifespan.Deprecated) + 4*boolToInt(o.Method != "GET") + 2*boolToInt(o.Security.Anonymous()) + boolToInt(strings.ContainsAny(o.Path, "{*"))
}

// filled puts 1 for every parameter of a path template.
func filled(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if open := strings.IndexByte(s, '{'); open >= 0 {
			if end := strings.LastIndexByte(s, '}'); end > open {
				segments[i] = s[:open] + "1" + s[end+1:]
			}
		}
	}
	return strings.TrimSuffix(strings.Join(segments, "/"), "*")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
