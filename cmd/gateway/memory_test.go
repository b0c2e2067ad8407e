package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	type files = map[string]string
	for name, c := range map[string]struct {
		files files
		want  int64
	}{
		"no control groups": {files{}, 0},
		"no limit":          {files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		"container": {files{
			"proc/self/cgroup": "0::/kubepods/pod1\n", "sys/fs/cgroup/memory.max": "1000000\n",
		}, 1000000},
		"the least of those above": {files{
			"proc/self/cgroup":                     "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max":         "max\n",
			"sys/fs/cgroup/a/memory.max":           "3000000\n",
			"sys/fs/cgroup/memory.max":             "5000000\n",
			"sys/fs/cgroup/a/b/c/memory.max":       "1\n",
			"sys/fs/cgroup/memory/memory.limit.no": "1\n",
		}, 3000000},
		"version 1": {files{
			"proc/self/cgroup": "4:cpu,memory:/d\n3:pids:/x\n",
			"sys/fs/cgroup/memory/d/memory.limit_in_bytes":    "7000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      "9223372036854771712\n",
			"sys/fs/cgroup/pids/x/memory.limit_in_bytes":      "1\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":    "1\n",
			"sys/fs/cgroup/memory/d/e/memory.limit_in_bytes":  "1\n",
			"sys/fs/cgroup/memory/d/memory.soft_limit_in_tes": "1\n",
		}, 7000000},
		"version 1 without a limit": {files{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		"nonsense": {files{"proc/self/cgroup": "::\n0::\nx", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := fstest.MapFS{}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := groupLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := fstest.MapFS{
		"proc/self/cgroup":         {Data: []byte("0::/\n")},
		"sys/fs/cgroup/memory.max": {Data: []byte("8000000000\n")},
	}
	t.Setenv("GOMEMLIMIT", "4GiB")
	if got := limitMemory(root); got != 0 || debug.SetMemoryLimit(-1) != before {
		t.Errorf("the operator's limit was replaced by %d", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	if got := limitMemory(root); got != 7_200_000_000 || debug.SetMemoryLimit(-1) != got {
		t.Errorf("%d, and Go has %d", got, debug.SetMemoryLimit(-1))
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if got := limitMemory(fstest.MapFS{}); got != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("%d without a control group", got)
	}
}
