package config

import (
	"strconv"
	"strings"
)

// Percent is how many of the healthy gateways a push must reach, of a hundred.
func (p Pushes) Percent() int {
	percent, ok := Percent(p.Require)
	if !ok { // Load has refused it
		return 100
	}
	return percent
}

// Percent reads "all" or "percent:N".
func Percent(require string) (percent int, ok bool) {
	if require == "all" {
		return 100, true
	}
	text, ok := strings.CutPrefix(require, "percent:")
	percent, err := strconv.Atoi(text)
	return percent, ok && err == nil && percent >= 1 && percent <= 100
}

func (l *loader) checkPushes(c *Config) {
	if _, ok := Percent(c.Pushes.Require); !ok {
		l.problem(c.origin("pushes.require"), "pushes.require", "%q is neither all nor percent:N with N from 1 to 100", c.Pushes.Require)
	}
	if c.Pushes.Wait <= 0 {
		l.problem(c.origin("pushes.wait"), "pushes.wait", "%s is no time to wait; write 30s", c.Pushes.Wait)
	}
}
