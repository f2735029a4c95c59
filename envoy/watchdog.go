package envoy

import (
	"os/exec"
	"strconv"
	"syscall"
)

// watchdog is a shell that waits for the end of a pipe which only this process holds open, and then kills pid. It is
// for systems whose kernel does not end a child with its parent.
func watchdog(pid int) (release func()) {
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null; kill -9 "$0" 2>/dev/null`, strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return func() {} // why: without it everything works but the end by SIGKILL
	}
	return func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = pipe.Close()
	}
}
