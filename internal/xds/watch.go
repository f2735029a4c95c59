package xds

import (
	"context"
	"strings"
	"time"
)

const (
	// confirmEvery is how often it is kept on disk that a server has the say.
	confirmEvery = time.Minute
	// remindEvery is how often it is told again why no server answers.
	remindEvery = time.Minute
)

// found: a server has answered; it has the say until ctx is done.
func (c *client) found(ctx context.Context, address string) {
	clear(c.told)
	c.options.Source.becomes(FromServer, time.Now())
	c.options.Log.Info("following a configuration source", "address", address)
	if c.options.Store == nil {
		return
	}
	c.options.Store.Confirm()
	go func() {
		tick := time.NewTicker(confirmEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.options.Store.Confirm()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// lost: the server that had the say is gone.
func (c *client) lost() {
	if c.options.Store != nil {
		c.options.Store.Confirm()
	}
	c.alone(time.Now())
}

// alone: no server has the say, and what is there is as old as this.
func (c *client) alone(asOf time.Time) {
	from := FromNowhere
	if c.options.Store != nil {
		from = FromDisk
	}
	for _, t := range c.types {
		if !t.complete {
			from = FromNowhere
		}
	}
	c.options.Source.becomes(from, asOf)
}

// wait tells why no server answers: what is news at once, and the rest from time to time.
func (c *client) wait(reasons []string) {
	why := strings.Join(reasons, "; ")
	if time.Since(c.told[why]) < remindEvery {
		return
	}
	if len(c.told) >= 100 {
		clear(c.told)
	}
	c.told[why] = time.Now()
	if from, asOf := c.options.Source.Now(); from == FromDisk {
		c.options.Log.Warn("no configuration source answers; going on from what was told last", "as_of", asOf.UTC().Format(time.RFC3339), "err", why)
		return
	}
	c.options.Log.Warn("waiting for a configuration source", "err", why)
}
