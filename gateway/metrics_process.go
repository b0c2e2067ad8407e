package gateway

import "runtime"

// process emits what the whole process has: goroutines and heap, from which a leak is seen.
func (e emitter) process() {
	e.gauge("gateway_goroutines", float64(runtime.NumGoroutine()))
	e.gauge("gateway_heap_bytes", float64(heapBytes()))
}
