package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// What runs beside a gateway on its machine, though it would be elsewhere, must not be what the gateway's devices wait for. So who sends them messages
// that are timed goes first, and who is only there to make work goes last.

// startLast starts a process that runs only where nobody else wants to (SCHED_IDLE), with all its threads. It has the policy of the thread that starts it,
// and a thread without privileges cannot leave this one, so it is one that ends with its goroutine. Where the kernel refuses, the process
// is like any other, and its work is measured, too.
func startLast(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		started <- cmd.Start()
	}()
	return <-started
}

// goFirst has the calling thread run before whatever is not of real time (SCHED_FIFO). That takes CAP_SYS_NICE.
func goFirst() error {
	first := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	return os.NewSyscallError("sched_setattr", unix.SchedSetAttr(0, &first, 0))
}

// stepBack has all threads of this process, those to come included, take the processor from nobody when they wake (SCHED_BATCH).
func stepBack() error {
	const dir = "/proc/self/task"
	// Who was started meanwhile was started by a thread of before.
	for range 2 {
		threads, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0); err != nil && err != unix.ESRCH {
				return os.NewSyscallError("sched_setattr", err)
			}
		}
	}
	return nil
}
