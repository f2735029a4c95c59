// Package gateways tells which gateways an adapter has and what they are at. Where that is read is in read.go alone: the
// adapter's metrics. It must not import the adapter, the enforcer or the ratelimiter.
package gateways

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is everything there is to tell.
type Report struct {
	Adapter  string    `json:"adapter"`  // the build of the one that was asked; "" is unknown
	Gateways []Gateway `json:"gateways"` // by label, role and id
	Labels   []Label   `json:"labels"`   // by name
	Hints    []string  `json:"hints"`
}

// Gateway is an Envoy, an enforcer or a ratelimiter.
type Gateway struct {
	ID      string `json:"id"`
	Role    string `json:"role"`
	Label   string `json:"label"`
	Version string `json:"version"` // the build it says it is; "" is unknown
	State   string `json:"state"`   // serving, pending, rejected, lagging, lost
	// ConfigAge is for how long, in seconds, it has lacked something that was published or has been away.
	ConfigAge float64 `json:"configAgeSeconds"`
	APIs      int     `json:"apis"` // that its label has: those it serves when it has everything
}

// Label is what is served to the gateways of one.
type Label struct {
	Name     string `json:"name"`
	Live     int    `json:"live"`     // APIs of which what the source has is served
	Stale    int    `json:"stale"`    // … of which an earlier revision is served
	Rejected int    `json:"rejected"` // … of which nothing is served
}

// Write prints the report as a table, with what it hints at below.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	if len(r.Gateways) == 0 {
		b.WriteString("no gateway is connected, and none was lately\n")
	} else {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "ID\tROLE\tLABEL\tVERSION\tSTATE\tCONFIG AGE\tAPIS")
		for _, g := range r.Gateways {
			version := g.Version
			if version == "" {
				version = "-"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", g.ID, g.Role, g.Label, version, g.State, age(g.ConfigAge), g.APIs)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, hint := range r.hints() {
		fmt.Fprintf(&b, "\nhint: %s\n", hint)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Progress says in a few words how far they are.
func (r *Report) Progress() string {
	var serving int
	var others []string
	for _, g := range r.Gateways {
		if g.State == "serving" {
			serving++
		} else if g.State != "lost" {
			others = append(others, g.ID+" "+g.State)
		}
	}
	words := fmt.Sprintf("%d of %d gateways serve everything", serving, serving+len(others))
	if len(others) > 3 {
		others = append(others[:3], "…")
	}
	if len(others) > 0 {
		words += ": " + strings.Join(others, ", ")
	}
	return words
}

// hints are the report's, and one for each label that has more to look into.
func (r *Report) hints() []string {
	var hints []string
	for _, l := range r.Labels {
		if l.Stale+l.Rejected > 0 {
			hints = append(hints, fmt.Sprintf("label %s: APIs that are served in an earlier revision: %d, not at all: %d; the adapter's log says why", l.Name, l.Stale, l.Rejected))
		}
	}
	return append(hints, r.Hints...)
}

// age is a number of seconds as people read it.
func age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	return d.String()
}
