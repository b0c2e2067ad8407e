package gateway

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// lastValues is Config.Session.LastValue: of topics that match one of these filters only the newest message waits for a device.
// A message is held against them once, not for each device; when there are none it costs nothing.
type lastValues []string

// lastValuesMax is how many filters there may be, as each message is held against all of them.
const lastValuesMax = 64

// has tells whether topic matches one of the filters.
func (l lastValues) has(topic []byte) bool {
	for _, filter := range l {
		if matches(filter, borrowed(topic)) {
			return true
		}
	}
	return false
}

// borrowed is b as a string, for what does not keep it.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// validateLastValue checks the filters.
func (c *Config) validateLastValue(v *validator) {
	if n := len(c.Session.LastValue); n > lastValuesMax {
		v.add("session.last_value", fmt.Sprintf("%d filters, at most %d are possible, because each message is held against all of them", n, lastValuesMax),
			"fewer filters with wildcards, such as devices/+/state")
	}
	for i, filter := range c.Session.LastValue {
		if strings.HasPrefix(filter, "$share/") || !mqtt.ValidFilter([]byte(filter)) {
			v.add(fmt.Sprintf("session.last_value[%d]", i), fmt.Sprintf("%q is not a topic filter", filter), "a filter such as devices/+/state or telemetry/#")
		}
	}
}
