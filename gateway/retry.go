package gateway

import (
	"math/rand/v2"
	"strconv"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// How long a device is to wait before it connects again: each another time, so that they do not all come back at once.
const (
	retryMSMin = 2_000
	retryMSMax = 10_000
)

func retryMS() int { return retryMSMin + rand.IntN(retryMSMax-retryMSMin) }

// retryProperty is the User Property of a CONNACK that says so to an MQTT 5 device; MQTT has no word for it.
const retryProperty = "retry-after-ms"

// appendRetry appends it.
func appendRetry(dst []byte) []byte {
	return mqtt.AppendUserProperty(dst, []byte(retryProperty), strconv.AppendInt(nil, int64(retryMS()), 10))
}

// passes tells whether a refusal is for now, so that trying again later may help.
func passes(r mqtt.Reason) bool {
	switch r {
	case mqtt.QuotaExceeded, mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.ConnectionRateExceeded:
		return true
	}
	return false
}
