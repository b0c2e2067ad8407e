package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// processUsage reads what a process has used. CPU time comes from the process' own clock (clock_getcpuclockid(3)): the time
// in user and system mode of all its threads, ended ones included, in nanoseconds. /proc/PID/stat has the same sum in steps
// of 10 ms, and schedstat leaves out threads that have ended. Resident pages come from statm, which adds up the counters of
// all processors where stat gives an estimate (since Linux 6.16).
func processUsage(pid int) (u usage, err error) {
	var t unix.Timespec
	if err := unix.ClockGettime(processClock(pid), &t); err != nil {
		return usage{}, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	u.CPU = time.Duration(t.Nano())
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return usage{}, err
	}
	u.RSS, err = parseStatm(statm)
	return u, err
}

// processClock is the clock of a process' CPU time: its complement, and 2 for all threads as the scheduler counts them.
func processClock(pid int) int32 {
	const cpuclockSched = 2
	return ^int32(pid)<<3 | cpuclockSched
}

// parseStatm takes the resident bytes (field 2, in pages) out of a statm line.
func parseStatm(statm []byte) (rss int64, err error) {
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm line of %d fields", len(fields))
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// selfUsage is this process'.
func selfUsage() usage {
	u, _ := processUsage(os.Getpid()) // without it the figure is missing, not the run
	return u
}

// watched is a server process whose cost is measured.
type watched struct {
	pid     int
	command string
	idle    usage // before the first connection
	ready   usage // when all were connected
	begun   usage // when the traffic began
	calm    usage // when a storm began
	ended   usage // when it was over
	settled usage // when everything had arrived
	gone    bool
}

// watch looks at a process for the first time.
func watch(pid int) (*watched, error) {
	w := &watched{pid: pid}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return nil, fmt.Errorf("--pid %d: %w", pid, err)
	}
	w.command = string(bytes.TrimSpace(name))
	return w, w.sample(&w.idle)
}

// sample takes a reading into one of the fields.
func (w *watched) sample(into *usage) error {
	u, err := processUsage(w.pid)
	if err != nil {
		w.gone = true
		return fmt.Errorf("--pid %d: %w", w.pid, err)
	}
	*into = u
	return nil
}
