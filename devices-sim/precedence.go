package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// What runs beside a gateway on its machine, though it would be elsewhere, must not be what the gateway's devices wait for. So devices that are timed
// go first, and those that are only there to make work go last.

// startLast starts a process that runs only where nobody else wants to (SCHED_IDLE), with all its threads.
func startLast(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// goFirst has all threads of this process, those to come included, run before whatever is not of real time (SCHED_FIFO). That takes CAP_SYS_NICE.
func goFirst() error {
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
			first := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
			if err := unix.SchedSetAttr(tid, &first, 0); err != nil {
				return err
			}
		}
	}
	return nil
}
