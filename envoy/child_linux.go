package envoy

import "syscall"

// attributes: the child dies with the thread that forked it, and an interrupt from the terminal reaches only us,
// who drain it first.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// guard is not needed: the kernel does it.
func guard(int) (release func()) { return func() {} }
