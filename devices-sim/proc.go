package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 on every Linux since 2.6.
const clockTick = 10 * time.Millisecond

// processUsage reads what a process has used from /proc.
func processUsage(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	return parseStat(stat)
}

// parseStat takes user and system time (fields 14 and 15) and resident pages (24) out of a stat line. The name in field 2
// may hold anything, so fields are counted from its last bracket.
func parseStat(stat []byte) (usage, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("stat line of %d fields", len(fields))
	}
	var u usage
	for _, at := range []int{11, 12} {
		ticks, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return usage{}, err
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	pages, err := strconv.ParseInt(string(fields[21]), 10, 64)
	u.RSS = pages * int64(os.Getpagesize())
	return u, err
}

// selfUsage is this process', its CPU time to the microsecond.
func selfUsage() usage {
	u, _ := processUsage(os.Getpid()) // without /proc the figure is missing, not the run
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return u
}

// watched is a server process whose cost is measured.
type watched struct {
	pid     int
	command string
	idle    usage // before the first connection
	ready   usage // when all were connected
	begun   usage // when the traffic began
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
