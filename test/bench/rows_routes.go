package main

import (
	"context"
	"time"
)

// Routing: what the last route of many costs against the first. Nobody is asked for a token, so that routing is what is seen.
var routeRows = []row{
	{
		name: "routes-10000", what: "last route's req/s over first route's: 10,000 APIs × 5 operations", goal: atLeast(0.95),
		prepare: lastAgainstFirst(fleet{apis: 10_000, operations: 5, anonymous: true}, "routing: {mode: scoped}\n"),
	},
	{
		name: "routes-500", what: "last route's req/s over first route's: one API × 500 operations", goal: atLeast(0.95),
		prepare: lastAgainstFirst(fleet{apis: 1, operations: 500, anonymous: true, wide: true}, ""),
	},
	{
		name: "routes-segment2", what: "last route's req/s over first route's: 10,000 APIs under /api/ with scopeSegment 2", goal: atLeast(0.95),
		prepare: lastAgainstFirst(fleet{apis: 10_000, operations: 5, anonymous: true, above: "/api"}, "routing: {mode: scoped, scopeSegment: 2}\n"),
	},
}

func lastAgainstFirst(f fleet, config string) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		first, last := f.first(0), f.last(f.apis-1)
		g, _, err := l.fleet(ctx, f, config, first, last)
		if err != nil {
			return nil, err
		}
		return ratio(l, httpLoad(g.url(last)), httpLoad(g.url(first))), nil
	}
}

// fleet serves many APIs on 100 backends and waits until all are served. It returns the folder of the projects, too.
func (l *lab) fleet(ctx context.Context, f fleet, config string, paths ...string) (*gateway, fleet, error) {
	g, f, err := l.startFleet(ctx, f, config)
	if err != nil {
		return nil, f, err
	}
	return g, f, g.serves(ctx, 2*time.Minute, paths...)
}

func (l *lab) startFleet(ctx context.Context, f fleet, config string) (*gateway, fleet, error) {
	var err error
	if f.backends, err = l.backends(ctx, min(100, f.apis)); err != nil {
		return nil, f, err
	}
	projects, err := f.write(l.path("projects"))
	if err != nil {
		return nil, f, err
	}
	g, err := l.gateway(gatewayOptions{projects: projects, config: config, issuer: !f.anonymous})
	return g, f, err
}
