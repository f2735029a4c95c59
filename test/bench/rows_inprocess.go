package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// A check inside the process, without gRPC: the enforcer's own benchmark.
var inProcessRows = []row{
	{
		name: "check-time", what: "a check with a cached JWT, in process: time", goal: atMost(5, "µs"),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			return benchmark(ctx, l, "./enforcer", "BenchmarkCheck", func(r benchmarkResult) float64 { return r.nanoseconds / 1000 })
		},
	},
	{
		name: "check-allocs", what: "a check with a cached JWT, in process: allocations", goal: atMost(15, "allocations"),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			return benchmark(ctx, l, "./enforcer", "BenchmarkCheck", func(r benchmarkResult) float64 { return r.allocations })
		},
	},
}

// benchmarkResult is what `go test -bench -benchmem` says.
type benchmarkResult struct{ nanoseconds, allocations float64 }

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([0-9.]+) ns/op\s+\d+ B/op\s+(\d+) allocs/op`)

// benchmark builds a package's tests and runs one of its benchmarks for each round.
func benchmark(ctx context.Context, l *lab, pkg, name string, of func(benchmarkResult) float64) (sample, error) {
	binary := l.path("benchmark")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test -c %s: %w: %s", pkg, err, out)
	}
	return func(ctx context.Context) (float64, error) {
		cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench=^"+strings.ReplaceAll(name, "/", "$/^")+"$", "-test.benchmem", "-test.benchtime="+l.time.String())
		cmd.Dir = pkg
		out, err := cmd.CombinedOutput()
		m := benchmarkLine.FindSubmatch(out)
		if err != nil || m == nil {
			return 0, fmt.Errorf("%s of %s: %w: %s", name, pkg, err, out)
		}
		var r benchmarkResult
		if r.nanoseconds, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
			return 0, err
		}
		r.allocations, err = strconv.ParseFloat(string(m[2]), 64)
		return of(r), err
	}, nil
}
