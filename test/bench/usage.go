package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What the kernel says about a process and the processes it started. Linux only, like the numbers of design §8.

// family is a process and all below it.
func family(pid int) []int {
	out := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, family(child)...)
			}
		}
	}
	return out
}

// resident is a process's memory in MB.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kB / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// worked is the time a process's threads have run, to the nanosecond (the usual clock ticks are a hundred a second).
func worked(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	var sum time.Duration
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// clock is what the machine's processors have done, in ticks: for anybody, and for us, our processes and those they waited for.
type clock struct{ all, busy, ours float64 }

func readClock() clock {
	var c clock
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n") // "cpu user nice system idle iowait irq softirq steal …"
	for i, word := range strings.Fields(line)[1:9] {
		ticks, _ := strconv.ParseFloat(word, 64)
		c.all += ticks
		if i != 3 && i != 4 {
			c.busy += ticks
		}
	}
	for _, pid := range family(os.Getpid()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended: whoever waited for it has its ticks
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		for _, word := range strings.Fields(rest)[11:15] { // utime stime cutime cstime
			ticks, _ := strconv.ParseFloat(word, 64)
			c.ours += ticks
		}
	}
	return c
}

// othersSince is which part of the machine others took, 0 to 1.
func (c clock) othersSince(before clock) float64 {
	if c.all == before.all {
		return 0
	}
	return max(0, (c.busy-before.busy)-(c.ours-before.ours)) / (c.all - before.all)
}

// metered notes the CPU that a process takes for each request while a rate is measured.
func metered(l *lab, what string, pid int, r rate) rate {
	return func(ctx context.Context, length time.Duration) (float64, error) {
		before, err := worked(pid)
		if err != nil {
			return 0, err
		}
		perSecond, err := r(ctx, length)
		if err != nil {
			return 0, err
		}
		after, err := worked(pid)
		l.note(what, (after-before).Seconds()*1e6/(perSecond*length.Seconds()), "µs")
		return perSecond, err
	}
}
