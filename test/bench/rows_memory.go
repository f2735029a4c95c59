package main

import (
	"context"
	"strconv"
	"time"
)

// Memory after everything is served and every worker has answered.
var memoryRows = []row{
	{
		name: "memory-all", what: "memory of all processes: 50 APIs × 8 operations", goal: atMost(160, "MB"), rounds: 3,
		prepare: func(_ context.Context, l *lab) (sample, error) {
			return l.memory(fleet{apis: 50, operations: 8}, "", func(g *gateway) []int { return family(g.pid()) }), nil
		},
	},
	{
		name: "memory-envoy", what: "memory of Envoy: 10,000 APIs × 5 operations on 100 backends", goal: atMost(450, "MB"), rounds: 3,
		prepare: func(_ context.Context, l *lab) (sample, error) {
			return l.memory(fleet{apis: 10_000, operations: 5}, scoped, func(g *gateway) []int { return family(g.pid())[1:] }), nil
		},
	},
}

// memory starts a gateway for each sample, asks it for a while, and adds up what the processes hold.
func (l *lab) memory(f fleet, config string, of func(*gateway) []int) sample {
	turn := 0
	return func(ctx context.Context) (float64, error) {
		turn++
		room, err := l.sub("turn" + strconv.Itoa(turn))
		if err != nil {
			return 0, err
		}
		defer room.close()
		last := f.last(f.apis - 1)
		g, _, err := room.fleet(ctx, f, config, last)
		if err != nil {
			return 0, room.explain(err)
		}
		if _, err := httpLoad(g.url(last), g.header)(ctx, time.Second); err != nil {
			return 0, err
		}
		sum := 0.0
		for _, pid := range of(g) {
			mb, err := resident(pid)
			if err != nil {
				return 0, err
			}
			sum += mb
		}
		whole, err := resident(g.pid())
		l.note("postern", whole, "MB")
		return sum, err
	}
}
