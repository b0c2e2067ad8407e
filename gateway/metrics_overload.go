package gateway

import "time"

// overload emits what the guard sees.
func (e emitter) overload(x *guard) {
	for i := range overloads {
		n := int32(0)
		if x != nil {
			n = x.stage[i].Load()
		}
		e.gauge("gateway_overload_stage", float64(n), overloads[i].label)
	}
	if x == nil {
		return
	}
	e.gauge("gateway_overload_memory_bytes", float64(x.value[0].Load()))
	e.gauge("gateway_overload_memory_max_bytes", float64(x.max[0].Load()))
	e.gauge("gateway_overload_lag_seconds", time.Duration(x.value[1].Load()).Seconds())
}
