package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Server Reference (MQTT 5 §4.13): where a device may go that there is no room for, or that has to leave as the gateway stops or has too much to do.

// sendsElsewhere tells whether a device that is closed for r may do better at another gateway.
func sendsElsewhere(r reason) bool { return r == reasonShutdown || r == reasonMemory || r == reasonLag }

// redirect has the CONNACK that refuses a device, in s.connack, name another server.
func (s *shard) redirect(c *epoll.Conn, d *device) {
	if ref := s.boundsOf(c).ServerReference; d.version == mqtt.V5 && fitsReference(ref, d.packetMax) {
		s.connack.Reason, s.connack.ServerReference = mqtt.UseAnotherServer, []byte(ref)
	}
}

// fitsReference tells that there is a reference, and that a packet with it is not too large for the device [MQTT-3.1.2-24].
func fitsReference(ref string, packetMax uint32) bool {
	const around = 10 // bytes of CONNACK or DISCONNECT beside it, at most
	return ref != "" && (packetMax == 0 || len(ref)+around <= int(packetMax))
}
