package main

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startIdle starts a process that gets the processor when nobody else wants it (SCHED_IDLE): it stands for other machines, which would not
// take ours. A process has the policy of the thread that starts it, and a thread without privileges cannot leave this one, so it is one
// that ends with its goroutine. Where the kernel refuses, the process is like any other, and its work is measured, too.
func startIdle(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		started <- cmd.Start()
	}()
	return <-started
}
