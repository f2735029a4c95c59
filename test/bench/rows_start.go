package main

import (
	"context"
	"path/filepath"
	"time"
)

// From the command to the first answer.
var startRows = []row{
	{
		name: "start-petstore", what: "start to serving: petstore", goal: atMost(1, "s"),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			backends, err := l.backends(ctx, 1)
			if err != nil {
				return nil, err
			}
			petstore, err := filepath.Abs("examples/petstore")
			if err != nil {
				return nil, err
			}
			return l.startToServing(gatewayOptions{projects: []string{petstore}, env: []string{"POSTERN_VAR_PETS=" + backends[0]}},
				"/petstore/1.0.0/store/inventory"), nil
		},
	},
	{
		name: "start-10000", what: "start to serving: 10,000 APIs × 5 operations on 100 backends", goal: atMost(10, "s"),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			f := fleet{apis: 10_000, operations: 5}
			var err error
			if f.backends, err = l.backends(ctx, 100); err != nil {
				return nil, err
			}
			projects, err := f.write(l.path("projects"))
			if err != nil {
				return nil, err
			}
			return l.startToServing(gatewayOptions{projects: projects, config: scoped, issuer: true}, f.first(0), f.last(5_000), f.last(9_999)), nil
		},
	},
}

// startToServing starts a gateway for each sample and stops it again. It serves when /readyz says so and the paths are answered.
func (l *lab) startToServing(o gatewayOptions, paths ...string) sample {
	return func(ctx context.Context) (float64, error) {
		began := time.Now()
		g, err := l.gateway(o)
		if err != nil {
			return 0, err
		}
		defer l.end(g.process)
		if err := g.serves(ctx, 2*time.Minute, paths...); err != nil {
			return 0, err
		}
		return time.Since(began).Seconds(), nil
	}
}
