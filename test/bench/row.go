package main

import (
	"context"
	"fmt"
	"time"
)

// row is one line of design §8's table.
type row struct {
	name string
	what string
	goal goal
	// prepare starts what the row needs, in the lab, and returns how to take one sample.
	prepare func(context.Context, *lab) (sample, error)
	rounds  int // at most so many; 0: as many as asked for. For rows whose round takes long
}

// sample is one round's number.
type sample func(context.Context) (float64, error)

// goal is what a row's number must reach.
type goal struct {
	atLeast bool // else at most
	value   float64
	unit    string
}

func atLeast(ratio float64) goal             { return goal{atLeast: true, value: ratio} }
func atMost(value float64, unit string) goal { return goal{value: value, unit: unit} }

func (g goal) String() string {
	sign := "≤"
	if g.atLeast {
		sign = "≥"
	}
	return sign + " " + number(g.value, g.unit)
}

// result is what came of a row.
type result struct {
	row
	err      error
	samples  []float64
	interval interval
	others   float64 // which part of the machine other processes took meanwhile
	notes    []note
	took     time.Duration
}

// holds says whether the interval's better end reaches the goal.
func (r result) holds() bool {
	if r.err != nil || len(r.samples) == 0 {
		return false
	}
	if r.goal.atLeast {
		return r.interval.high >= r.goal.value
	}
	return r.interval.low <= r.goal.value
}

// rows in the order of design §8.
var rows = concat(gatewayRows, serviceRows, inProcessRows, routeRows, changeRows, pushRows, startRows, memoryRows)

func concat(lists ...[]row) []row {
	var out []row
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// measureRow does one row, from starting its processes to ending them.
func measureRow(ctx context.Context, o options, r row) result {
	began := time.Now()
	out := result{row: r}
	l, err := newLab(o)
	if err != nil {
		out.err = err
		return out
	}
	defer func() { l.close() }()
	take, err := r.prepare(ctx, l)
	if err != nil {
		out.err = l.explain(err)
		return out
	}
	rounds := o.rounds
	if r.rounds > 0 {
		rounds = min(rounds, r.rounds)
	}
	before := readClock()
	for i := range rounds {
		v, err := take(ctx)
		if err != nil {
			out.err = l.explain(fmt.Errorf("round %d: %w", i+1, err))
			return out
		}
		if o.verbose {
			fmt.Printf("  %s: round %d: %s\n", r.name, i+1, number(v, r.goal.unit))
		}
		out.samples = append(out.samples, v)
	}
	out.others = readClock().othersSince(before)
	out.interval = intervalOf(out.samples)
	out.notes, out.took = l.notes, time.Since(began)
	return out
}

// ratio measures a candidate and its baseline in turn, A B B A, and divides. Both are rates: more is better.
func ratio(l *lab, candidate, baseline rate) sample {
	return func(ctx context.Context) (float64, error) {
		var sums [2]float64
		for _, which := range []int{0, 1, 1, 0} {
			v, err := []rate{candidate, baseline}[which](ctx, l.time)
			if err != nil {
				return 0, err
			}
			sums[which] += v
		}
		l.note("candidate", sums[0]/2, "/s")
		l.note("baseline", sums[1]/2, "/s")
		return sums[0] / sums[1], nil
	}
}

// rate drives something for a time and returns how many it did a second.
type rate func(context.Context, time.Duration) (float64, error)
