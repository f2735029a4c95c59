package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const scoped = "routing: {mode: scoped}\n"

// Changing one API of few and of many.
var changeRows = []row{
	{
		name: "change-10", what: "one API's change → serving, with 10 APIs loaded", goal: atMost(100, "ms"),
		prepare: changeToServing(10),
	},
	{
		name: "change-10000", what: "one API's change → serving, with 10,000 APIs loaded", goal: atMost(100, "ms"),
		prepare: changeToServing(10_000),
	},
	{
		name: "adapter-cpu", what: "Postern's CPU for one API's change: with 10,000 APIs over with 10", goal: atMost(1.2, "×"),
		prepare: manyOverFew("CPU of a change", "ms", func(ctx context.Context, c *changer) (float64, error) {
			before, err := worked(c.pid())
			if err != nil {
				return 0, err
			}
			if err := c.changeMany(ctx); err != nil {
				return 0, err
			}
			after, err := worked(c.pid())
			return (after - before).Seconds() * 1000 / changesPerSample, err
		}),
	},
	{
		name: "adapter-bytes", what: "bytes sent to Envoy for one API's change: with 10,000 APIs over with 10", goal: atMost(1.2, "×"),
		prepare: manyOverFew("bytes of a change", "B", func(ctx context.Context, c *changer) (float64, error) {
			before, err := c.received(ctx)
			if err != nil {
				return 0, err
			}
			if err := c.changeMany(ctx); err != nil {
				return 0, err
			}
			after, err := c.received(ctx)
			return (after - before) / changesPerSample, err
		}),
	},
}

// changesPerSample is how many changes a number of CPU or bytes is the mean of.
const changesPerSample = 10

// changer changes APIs of a gateway, one after another.
type changer struct {
	*gateway
	fleet fleet
	dir   string
	turn  int
	turns atomic.Int64 // of pushes
	token string       // of who may push
}

func (l *lab) changer(ctx context.Context, apis int) (*changer, error) {
	g, f, err := l.fleet(ctx, fleet{apis: apis, operations: 5}, scoped)
	if err != nil {
		return nil, err
	}
	c := &changer{gateway: g, fleet: f, dir: l.path("projects")}
	if err := c.serves(ctx, time.Minute, f.last(apis-1)); err != nil {
		return nil, err
	}
	c.token, err = readToken(l.path("data/admin.token"))
	return c, err
}

// change gives the last API another operation and returns how long it took until that was served. Whether it is served is
// asked every so often.
func (c *changer) change(ctx context.Context, every time.Duration) (time.Duration, error) {
	c.turn++
	api := c.fleet.apis - 1
	path := fmt.Sprintf("/turn%06d", c.turn)
	file := c.fleet.file(c.dir, api)
	if err := os.WriteFile(file+".new", []byte(c.fleet.definition(api, path)), 0o644); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := os.Rename(file+".new", file); err != nil { // as editors and deployments do: never half a file
		return 0, err
	}
	url := c.url(c.fleet.base(api) + path)
	err := until(ctx, every, 30*time.Second, func() error { return c.ask(ctx, url, c.header) })
	return time.Since(began), err
}

// changeMany asks seldom: the questions cost Postern CPU, too.
func (c *changer) changeMany(ctx context.Context) error {
	for range changesPerSample {
		if _, err := c.change(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func changeToServing(apis int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := l.changer(ctx, apis)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (float64, error) {
			took, err := c.change(ctx, often)
			return took.Seconds() * 1000, err
		}, nil
	}
}

// manyOverFew measures the same with 10,000 APIs and with 10, in two gateways that run side by side.
func manyOverFew(what, unit string, measure func(context.Context, *changer) (float64, error)) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		few, err := l.sub("few")
		if err != nil {
			return nil, err
		}
		many, err := l.sub("many")
		if err != nil {
			return nil, err
		}
		small, err := few.changer(ctx, 10)
		if err != nil {
			return nil, err
		}
		large, err := many.changer(ctx, 10_000)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (float64, error) {
			var sums [2]float64
			for _, which := range []int{0, 1, 1, 0} {
				v, err := measure(ctx, []*changer{small, large}[which])
				if err != nil {
					return 0, err
				}
				sums[which] += v
			}
			l.note(what+" with 10", sums[0]/2, unit)
			l.note("with 10,000", sums[1]/2, unit)
			return sums[1] / sums[0], nil
		}, nil
	}
}
