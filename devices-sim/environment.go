package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// environment is where a run took place.
type environment struct {
	Kernel    string   `json:"kernel"`
	Processor string   `json:"processor"`
	Cores     int      `json:"cores"`
	Memory    int64    `json:"memory_bytes"`
	Go        string   `json:"go"`
	Version   string   `json:"devices_sim"`
	Command   []string `json:"command"`
	Begun     string   `json:"begun"` // RFC 3339
}

func thisEnvironment(command []string, begunAt int64) environment {
	e := environment{
		Cores: runtime.NumCPU(), Go: runtime.Version(), Version: "unknown version", Command: command,
		Processor: procField("/proc/cpuinfo", "model name"), Begun: time.Unix(0, begunAt).UTC().Format(time.RFC3339),
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		e.Kernel = string(bytes.TrimSpace(release))
	}
	kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	e.Memory = kilobytes << 10
	if info, ok := debug.ReadBuildInfo(); ok {
		e.Version = info.Main.Version
	}
	return e
}

// procField is a field of a file of names and values in /proc, or "".
func procField(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// blotted is a command line as a shell would read it, without its passwords: those of --password, and those in URLs.
func blotted(args []string) []string {
	var out []string
	hide := false
	for _, arg := range args {
		switch {
		case hide:
			arg, hide = "…", false
		case arg == "--password":
			hide = true
		case strings.HasPrefix(arg, "--password="):
			arg = "--password=…"
		}
		if scheme, rest, ok := strings.Cut(arg, "://"); ok {
			if at := strings.LastIndex(rest, "@"); at >= 0 {
				arg = scheme + "://…" + rest[at:]
			}
		}
		if strings.ContainsAny(arg, " '\"<>$*") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		out = append(out, arg)
	}
	return out
}
