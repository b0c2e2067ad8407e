package gateway

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

// memoryMax is the watermark for a setting; 0: none. Go's own limit is that of the control group, less a tenth, when cmd/gateway has set it.
func memoryMax(setting int) int64 {
	switch {
	case setting < 0:
		return 0
	case setting > 0:
		return int64(setting)
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return limit / 10 * 9
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram * uint64(info.Unit) / 5 * 4)
}

// collectTime is how often the collector is asked to tell garbage from what is in use, where they are too much together. It looks by itself only when the heap
// has doubled.
const collectTime = 3 * time.Second

// What is asked of the runtime.
const (
	memoryTotal = iota
	memoryReleased
	memoryFree
	memoryObjects
	memoryLive
	memoryNames
)

// memoryUse measures the memory of the process that is in use: what the collector would leave, buffers and the embedded NATS included. Owned by
// one goroutine.
type memoryUse struct {
	samples   []metrics.Sample
	collected time.Time
}

// bytes is how much there is; most is what is too much.
func (u *memoryUse) bytes(now time.Time, most int64) int64 {
	if u.samples == nil {
		u.samples = make([]metrics.Sample, memoryNames)
		for i, name := range [memoryNames]string{
			"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/heap/free:bytes",
			"/memory/classes/heap/objects:bytes", "/gc/heap/live:bytes",
		} {
			u.samples[i].Name = name
		}
	}
	used, garbage := u.read()
	if used+garbage >= most && now.Sub(u.collected) >= collectTime {
		u.collected = now
		runtime.GC()
		used, _ = u.read()
	}
	return used
}

// read is what was in use when the collector looked last, and what has come since or is no more in use.
func (u *memoryUse) read() (used, garbage int64) {
	metrics.Read(u.samples)
	of := func(i int) int64 { return int64(u.samples[i].Value.Uint64()) }
	live := min(of(memoryLive), of(memoryObjects))
	around := of(memoryTotal) - of(memoryReleased) - of(memoryFree) - of(memoryObjects) // stacks, and what the runtime needs itself
	return around + live, of(memoryObjects) - live
}
