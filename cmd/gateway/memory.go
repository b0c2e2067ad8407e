package main

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryShare is the part of the control group's memory that Go may have, in percent; the rest is for what the collector
// does not see: page cache of streams, stacks of threads.
const memoryShare = 90

// limitMemory has the collector work harder before the kernel kills the process: it tells Go the limit of the control
// group, as containers have one. A GOMEMLIMIT of the operator stays. It returns the limit in bytes; 0: none was set.
func limitMemory(root fs.FS) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	limit := groupLimit(root)
	if limit == 0 {
		return 0
	}
	limit = limit / 100 * memoryShare
	debug.SetMemoryLimit(limit)
	return limit
}

// groupLimit is the least memory limit of the process's control group and those above it, in bytes; 0: there is none.
// root is the file system; both versions of control groups are looked at (cgroups(7)).
func groupLimit(root fs.FS) int64 {
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(membership)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "":
		case strings.Contains(","+fields[1]+",", ",memory,"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path is that outside of it, and only the top is there.
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			least = min(least, readLimit(root, path.Join(mount, dir, file)))
			if dir == "/" {
				break
			}
		}
	}
	if least >= noLimit {
		return 0
	}
	return least
}

// noLimit is what version 1 says, a little less than 1<<63, when there is no limit; nobody has so much.
const noLimit = 1 << 60

func readLimit(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if errors.Is(err, strconv.ErrSyntax) || n <= 0 { // "max"
		return math.MaxInt64
	}
	return n
}
