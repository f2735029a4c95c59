package envoy

import (
	"os/exec"
	"syscall"
	"testing"
)

// TestWatchdog: released it leaves the child alone. What it does when we are gone is what its shell does at the
// end of its input, which is tried with a shell of our own.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	release := watchdog(child.Process.Pid)
	release()
	if err := child.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("the child is gone: %v", err)
	}
	guard, end := watchdogCommand(child.Process.Pid)
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close() // what the end of this process does
	if err := child.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	if err := guard.Wait(); err != nil {
		t.Error(err)
	}
}
