//go:build !linux

package socket

import (
	"fmt"
	"os/exec"
	"strings"
)

// owner asks lsof who listens on a TCP port: lines "p<pid>" and "c<command>".
func owner(port string) string {
	out, err := exec.Command("lsof", "-nP", "-iTCP:"+port, "-sTCP:LISTEN", "-Fpc").Output()
	if err != nil {
		return ""
	}
	var pid string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if p, ok := strings.CutPrefix(line, "p"); ok {
			pid = p
		}
		if name, ok := strings.CutPrefix(line, "c"); ok {
			return fmt.Sprintf("%s (pid %s)", name, pid)
		}
	}
	return ""
}
