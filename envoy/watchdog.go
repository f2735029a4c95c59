package envoy

import (
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// watchdog is a shell that waits for the end of a pipe which only this process holds open, and then kills pid. It is
// for systems whose kernel does not end a child with its parent.
func watchdog(pid int) (release func()) {
	cmd, pipe := watchdogCommand(pid)
	if pipe == nil || cmd.Start() != nil {
		return func() {} // why: without it everything works but the end by SIGKILL
	}
	return func() {
		_ = cmd.Process.Kill() // why: before the pipe is closed, or it would kill whoever has the pid by then
		_ = cmd.Wait()
		_ = pipe.Close()
	}
}

func watchdogCommand(pid int) (*exec.Cmd, io.Closer) {
	cmd := exec.Command("/bin/sh", "-c", `read -r _; kill -9 "$0"`, strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return cmd, nil
	}
	return cmd, pipe
}
