package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine is what numbers of one machine are to be read with.
type machine struct {
	when             time.Time
	cores            int
	processor        string
	goVersion, envoy string
	revision         string
}

func describeMachine(ctx context.Context, o options) machine {
	m := machine{when: time.Now().UTC(), cores: runtime.NumCPU(), goVersion: runtime.Version(), envoy: "no Envoy", revision: "unknown"}
	if out, err := exec.CommandContext(ctx, o.envoy, "--version").Output(); err == nil { // "…version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
		if parts := strings.Split(string(out), "/"); len(parts) > 2 {
			m.envoy = "Envoy " + parts[len(parts)-4]
		}
	}
	if out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		m.revision = strings.TrimSpace(string(out))
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(cpu)) {
			if name, ok := strings.CutPrefix(line, "model name\t: "); ok {
				m.processor = strings.TrimSpace(name)
				break
			}
		}
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores (%s), %s/%s, %s, %s, revision %s, %s", m.cores, m.processor, runtime.GOOS, runtime.GOARCH,
		m.goVersion, m.envoy, m.revision, m.when.Format(time.DateOnly))
}

func (r result) String() string {
	if r.err != nil {
		return fmt.Sprintf("FAILED  %-22s %v", r.name, r.err)
	}
	verdict := "holds "
	if !r.holds() {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s  %-22s %s [%s, %s], goal %s%s", verdict, r.name, number(r.interval.median, r.goal.unit),
		number(r.interval.low, r.goal.unit), number(r.interval.high, r.goal.unit), r.goal, r.details("; "))
}

// noise is how much of the machine others may take before the report says so.
const noise = 0.1

// details are the medians of what was measured on the way.
func (r result) details(before string) string {
	var parts []string
	for _, n := range r.notes {
		slices.Sort(n.values)
		parts = append(parts, n.name+" "+number(median(n.values), n.unit))
	}
	if r.others > noise {
		parts = append(parts, fmt.Sprintf("others took %.0f %% of the machine", 100*r.others))
	}
	if len(parts) == 0 {
		return ""
	}
	return before + strings.Join(parts, ", ")
}

func markdown(m machine, o options, results []result) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n")
	b.WriteString("Written by `go run ./test/bench -o docs/benchmarks.md` (`make bench` runs the same rows). The numbers that count are ratios within one run; all parts,\n" +
		"the load generator and the backend share the machine's cores.\n\n")
	fmt.Fprintf(&b, "Machine: %s.\n\n", m)
	fmt.Fprintf(&b, "Method: each row with its baseline in one run, measured in the order A B B A, %d rounds (fewer where the table says so) of %v a measurement.\n"+
		"Given are the median and an interval that holds it with at least 95 %% confidence (order statistics). A row holds if the interval's better end\n"+
		"reaches the goal. The baselines are in `test/bench`.\n\n", o.rounds, o.time)
	b.WriteString("| row | what | goal | median | interval | rounds | holds | measured |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintf(&b, "| `%s` | %s | %s | | | | failed | %s |\n", r.name, r.what, r.goal, strings.ReplaceAll(r.err.Error(), "\n", " "))
			continue
		}
		holds := "yes"
		if !r.holds() {
			holds = "**no**"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s – %s | %d | %s | %s |\n", r.name, r.what, r.goal, number(r.interval.median, r.goal.unit),
			number(r.interval.low, r.goal.unit), number(r.interval.high, r.goal.unit), len(r.samples), holds, r.details(""))
	}
	return b.String()
}

// number writes a number with as many digits as mean something.
func number(v float64, unit string) string {
	s := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		s = fmt.Sprintf("%.0f", v)
	}
	switch unit {
	case "", "/s", "×":
		return s + unit
	default:
		return s + " " + unit
	}
}
