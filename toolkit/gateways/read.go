package gateways

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Read asks an adapter: its server is "http(s)://host:port" or "unix:/path". The client may bring certificates along; nil
// is a plain one. An error means that the adapter could not be asked.
func Read(ctx context.Context, client *http.Client, server string) (*Report, error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if client == nil {
		client = &http.Client{Transport: &http.Transport{}}
	}
	address := strings.TrimSuffix(server, "/") + "/metrics"
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		address = "http://localhost/metrics"
		client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	}
	r, err := report(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return r, nil
}

// report is what an adapter's metrics come to.
func report(metrics io.Reader) (*Report, error) {
	type id struct{ gateway, role, label string }
	gateways, labels := map[id]*Gateway{}, map[string]*Label{}
	r := &Report{Gateways: []Gateway{}, Labels: []Label{}, Hints: []string{}}
	gateway := func(l map[string]string) *Gateway {
		k := id{l["gateway"], l["role"], l["label"]}
		if gateways[k] == nil {
			gateways[k] = &Gateway{ID: k.gateway, Role: k.role, Label: k.label}
		}
		return gateways[k]
	}
	adapter := false
	err := samples(metrics, func(name string, l map[string]string, value float64) {
		switch name {
		case "postern_gateway_info":
			gateway(l).Version = l["version"]
		case "postern_gateway_state":
			if value == 1 {
				gateway(l).State = l["state"]
			}
		case "postern_gateway_config_age_seconds":
			gateway(l).ConfigAge = value
		case "postern_apis":
			if labels[l["label"]] == nil {
				labels[l["label"]] = &Label{Name: l["label"]}
			}
			labels[l["label"]].count(l["state"], int(value))
		case "postern_route_scope_operations":
			r.Hints = append(r.Hints, crowded(l["label"], l["scope"], int(value)))
		case "postern_adapter_info":
			adapter, r.Adapter = true, l["version"]
		}
	})
	if err != nil {
		return nil, err
	}
	if !adapter {
		return nil, errors.New("what answers there is no adapter")
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		r.Labels = append(r.Labels, *labels[name])
	}
	for _, g := range gateways {
		if l := labels[g.Label]; l != nil {
			g.APIs = l.Live + l.Stale
		}
		r.Gateways = append(r.Gateways, *g)
	}
	slices.SortFunc(r.Gateways, func(a, b Gateway) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	slices.Sort(r.Hints)
	return r, nil
}

func (l *Label) count(state string, n int) {
	switch state {
	case "live":
		l.Live = n
	case "stale":
		l.Stale = n
	case "rejected":
		l.Rejected = n
	}
}

// flatScope is the one scope of routing.mode flat.
const flatScope = "_all"

// crowded hints at a scope with very many operations (design §4.1).
func crowded(label, scope string, operations int) string {
	if scope == flatScope {
		return fmt.Sprintf("label %s: all %d operations are in one route table, and any change sends it whole: consider routing.mode scoped", label, operations)
	}
	return fmt.Sprintf("label %s: %d operations are in the route table of /%s, and a change of one of its APIs sends it whole: "+
		"consider longer base paths, or a later routing.scopeSegment", label, operations, scope)
}

// samples reads the Prometheus text format (version 0.0.4), of which postern's own series are enough here.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats.
func samples(r io.Reader, each func(name string, labels map[string]string, value float64)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "postern_") {
			continue
		}
		name, labels, rest, err := series(line)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a time may follow
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		each(name, labels, value)
	}
	return lines.Err()
}

// series cuts a line in its name, its labels, and the rest.
func series(line string) (name string, labels map[string]string, rest string, err error) {
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return "", nil, "", errors.New("not a sample")
	}
	name, rest, labels = line[:end], line[end:], map[string]string{}
	if rest[0] == ' ' {
		return name, labels, rest, nil
	}
	for rest = rest[1:]; !strings.HasPrefix(rest, "}"); rest = strings.TrimPrefix(rest, ",") {
		label, after, ok := strings.Cut(rest, `="`)
		if !ok {
			return "", nil, "", errors.New("labels without an end")
		}
		var value string
		if value, rest, ok = quoted(after); !ok {
			return "", nil, "", errors.New("a label without an end")
		}
		labels[label] = value
	}
	return name, labels, rest[1:], nil
}

// quoted is the text up to the quote that ends it, with what was escaped in it.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] == 'n' {
				b.WriteByte('\n')
				continue
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
