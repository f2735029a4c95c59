package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilInterrupted is done at the first signal to end; hurry is closed at the second.
func untilInterrupted(parent context.Context) (ctx context.Context, hurry <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancel(parent)
	again := make(chan struct{})
	signals := make(chan os.Signal, 2)
	// why: else the end of whoever reads standard output, where the access log goes, would be the gateway's end too
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer cancel()
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		if _, ok := <-signals; ok {
			close(again)
		}
	}()
	return ctx, again, func() {
		signal.Stop(signals)
		cancel()
		close(signals)
	}
}
