package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

const metricsHead = `# Metrics

In the Prometheus text format at ` + "`/metrics`" + ` of the management listener (` + "`127.0.0.1:9843`" + `). Beside these stand the
` + "`go_`" + ` and ` + "`process_`" + ` ones of every Go program. Envoy's own are at its admin socket.

An API's series come and go with it, a gateway's are there until it is forgotten, a day after it was seen last. Labels hold names
from definitions and configuration only, never anything a caller sent, so that their number is bounded by what is served and by whom.

| name | kind | labels | what it is |
|---|---|---|---|
`

type metric struct{ name, kind, labels, help string }

// metrics lists the collectors that the services make, by the literals of their options.
func metrics(b *bytes.Buffer) error {
	var found []metric
	err := sources(func(_ string, syntax *ast.File) {
		ast.Inspect(syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if m := collector(call); strings.HasPrefix(m.name, "postern_") {
				found = append(found, m)
			}
			return true
		})
	}, "adapter", "enforcer", "ratelimiter", "envoy", "internal/jwt", "internal/mtls", "internal/observe", "internal/xds", "cmd")
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("no metric was found: has the way they are made changed?")
	}
	slices.SortFunc(found, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	b.WriteString(metricsHead)
	for _, m := range slices.Compact(found) {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, m.labels, cell(m.help))
	}
	return nil
}

// collector reads calls such as NewCounterVec(CounterOpts{Name, Help}, labels) and NewDesc(name, help, labels, nil).
func collector(call *ast.CallExpr) metric {
	name := called(call)
	if name == "NewDesc" && len(call.Args) >= 3 {
		help := literal(call.Args[1])
		kind := "gauge"
		if strings.HasSuffix(literal(call.Args[0]), "_total") {
			kind = "counter"
		}
		return metric{literal(call.Args[0]), kind, labels(call.Args[2]), help}
	}
	for _, kind := range []string{"Counter", "Gauge", "Histogram"} {
		if !strings.HasPrefix(name, "New"+kind) {
			continue
		}
		options, ok := call.Args[0].(*ast.CompositeLit)
		if !ok {
			return metric{}
		}
		named := fields(options)
		m := metric{name: literal(named["Name"]), kind: strings.ToLower(kind), help: literal(named["Help"])}
		if len(call.Args) > 1 {
			m.labels = labels(call.Args[1])
		}
		return m
	}
	return metric{}
}

// labels are the strings of a []string{…}.
func labels(e ast.Expr) string {
	list, ok := e.(*ast.CompositeLit)
	if !ok {
		return ""
	}
	var names []string
	for _, element := range list.Elts {
		names = append(names, "`"+literal(element)+"`")
	}
	return strings.Join(names, " ")
}
