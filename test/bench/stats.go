package main

import (
	"math"
	"slices"
)

// interval is a median, and what holds the true median with at least 95 % confidence.
type interval struct {
	median, low, high float64
	confidence        float64
}

// intervalOf uses order statistics, which suppose nothing about how samples are distributed: the true median lies outside
// the k-th smallest and k-th largest sample with the probability that a fair coin shows fewer than k heads, or tails,
// in n throws. With fewer than six samples no interval reaches 95 %: it is all of them.
func intervalOf(samples []float64) interval {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	out := interval{median: median(s), low: s[0], high: s[n-1], confidence: 1 - 2*tail(n, 0)}
	for k := 1; k < n/2; k++ {
		c := 1 - 2*tail(n, k)
		if c < 0.95 {
			break
		}
		out.low, out.high, out.confidence = s[k], s[n-1-k], c
	}
	return out
}

// tail is the probability of at most k heads in n throws.
func tail(n, k int) float64 {
	var sum, ways float64 = 0, 1
	for i := 0; i <= k; i++ {
		sum += ways
		ways = ways * float64(n-i) / float64(i+1)
	}
	return sum / math.Pow(2, float64(n))
}

// median of sorted samples.
func median(s []float64) float64 {
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}
