package main

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestInterval(t *testing.T) {
	t.Parallel()
	// The coverage of order statistics for ten samples is in every table: 2nd to 9th 97.9 %, 3rd to 8th 89.1 %.
	got := intervalOf([]float64{10, 1, 9, 2, 8, 3, 7, 4, 6, 5})
	if got.median != 5.5 || got.low != 2 || got.high != 9 || math.Abs(got.confidence-0.9785) > 0.0001 {
		t.Errorf("ten samples: %+v", got)
	}
	for n := 1; n <= 30; n++ {
		samples := make([]float64, n)
		for i := range samples {
			samples[i] = float64(i)
		}
		got := intervalOf(samples)
		if n >= 6 && got.confidence < 0.95 || got.low > got.median || got.high < got.median {
			t.Errorf("%d samples: %+v", n, got)
		}
		if n < 6 && (got.low != 0 || got.high != float64(n-1)) {
			t.Errorf("%d samples are too few for 95 %%, so it is all of them: %+v", n, got)
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	samples := []float64{0.7, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.9} // the interval is 0.71 to 0.78
	for _, c := range []struct {
		goal goal
		want bool
	}{{atLeast(0.78), true}, {atLeast(0.8), false}, {atMost(0.71, "s"), true}, {atMost(0.7, "s"), false}} {
		r := result{row: row{goal: c.goal}, samples: samples, interval: intervalOf(samples)}
		if r.holds() != c.want {
			t.Errorf("%s: holds %v", c.goal, r.holds())
		}
	}
	if (result{row: row{goal: atMost(1, "s")}}).holds() {
		t.Error("a row without a sample holds")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	names := func(words string) string {
		chosen, err := choose(words)
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, r := range chosen {
			out = append(out, r.name)
		}
		return strings.Join(out, " ")
	}
	if got := names("ratelimiter, enforcer"); got != "ratelimiter-memory ratelimiter-pipeline enforcer" {
		t.Errorf("got %s", got)
	}
	if got := names("nothing"); !strings.Contains(got, "no row begins") {
		t.Errorf("got %s", got)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.name] || r.what == "" || r.goal.value == 0 {
			t.Errorf("row %q: its name is taken, or it does not say what it measures", r.name)
		}
		seen[r.name] = true
	}
}

// Rows of each kind are measured as `make bench` does, for a moment: the bench must work when it is needed.
func TestRows(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	t.Parallel()
	dir := t.TempDir() + "/"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, ".", "../../cmd/postern").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	names := []string{"gateway", "enforcer", "ratelimiter-memory", "ratelimiter-pipeline", "routes-500", "change-10", "start-petstore", "memory-all"}
	cmd := exec.CommandContext(t.Context(), dir+"bench", "-postern", dir+"postern", "-rows", strings.Join(names, ","), "-rounds", "1", "-time", "100ms", "-o", dir+"report.md")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "FAILED") {
		t.Fatalf("%v: %s", err, out)
	}
	report, err := os.ReadFile(dir + "report.md")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range names {
		if !strings.Contains(string(report), "| `"+name+"` |") {
			t.Errorf("the report has no row %s:\n%s", name, report)
		}
	}
}
