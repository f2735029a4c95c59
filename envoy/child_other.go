//go:build !linux

package envoy

import "syscall"

// attributes: an interrupt from the terminal reaches only us, who drain the child first.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// guard kills the child when this process is gone.
func guard(pid int) (release func()) { return watchdog(pid) }
