// Command bench measures Postern's speed (design §8), each row against a baseline in the same run, and says which rows
// hold. It must import no test code: what it starts are real processes, bounded in number and time, on the loopback.
//
// Method: a round measures candidate and baseline in the order A B B A, so that a machine that gets slower or faster
// meanwhile does not favour one. A row's number is the median of its rounds, with an interval that holds the true median
// with at least 95 % confidence, whatever the distribution. A row holds if the interval's better end reaches the goal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		if err := serve(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench serve:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	switch {
	case errors.Is(err, errMissed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

var errMissed = errors.New("a row does not hold")

func run(ctx context.Context) error {
	var o options
	pick := flag.String("rows", "", "names of rows or what they begin with, separated by commas; none: all")
	list := flag.Bool("list", false, "print the rows and stop")
	report := flag.String("o", "", "also write the report as Markdown to this file")
	flag.IntVar(&o.rounds, "rounds", 10, "rounds of each row")
	flag.DurationVar(&o.time, "time", time.Second, "length of one measurement; a round of a ratio has four")
	flag.StringVar(&o.envoy, "envoy", firstOf(os.Getenv("POSTERN_ENVOY_PATH"), ".tools/bin/envoy"), "the Envoy to run")
	flag.StringVar(&o.postern, "postern", "bin/postern", "the Postern to run")
	flag.BoolVar(&o.verbose, "v", false, "print each round, and what the processes say")
	flag.Parse()
	chosen, err := choose(*pick)
	if err != nil {
		return err
	}
	if *list {
		for _, r := range chosen {
			fmt.Printf("%-22s %s: %s\n", r.name, r.what, r.goal)
		}
		return nil
	}
	m := describeMachine(ctx, o)
	fmt.Println(m)
	var results []result
	for _, r := range chosen {
		out := measureRow(ctx, o, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Println(out)
		results = append(results, out)
	}
	if *report != "" {
		if err := os.WriteFile(*report, []byte(markdown(m, o, results)), 0o644); err != nil {
			return err
		}
	}
	for _, r := range results {
		if !r.holds() {
			return errMissed
		}
	}
	return nil
}

// choose returns the rows that the words name; a word that is no row's name stands for all rows whose names it begins.
func choose(words string) ([]row, error) {
	if words == "" {
		return rows, nil
	}
	var out []row
	for _, w := range strings.Split(words, ",") {
		w = strings.TrimSpace(w)
		picks := func(r row) bool { return strings.HasPrefix(r.name, w) }
		if slices.ContainsFunc(rows, func(r row) bool { return r.name == w }) {
			picks = func(r row) bool { return r.name == w }
		}
		n := len(out)
		for _, r := range rows {
			if picks(r) {
				out = append(out, r)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("no row begins with %q; -list prints them", w)
		}
	}
	return out, nil
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
