package gateway

import (
	"strings"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// tellResponseInformation puts Response Information into the CONNACK of a device that asked for it [MQTT-3.1.2-28]. It is no
// promise of the protocol, so that one that is too long for the device or for an MQTT string is left out.
func (s *shard) tellResponseInformation(d *device, p *mqtt.Packet, out *mqtt.ConnackOut) {
	pattern := s.cfg.MQTT.ResponseInformation
	if pattern == "" || p.Props.RequestResponseInfo != 1 {
		return
	}
	out.ResponseInfo = []byte(strings.ReplaceAll(pattern, clientIDPlace, d.clientID()))
	if n := len(out.ResponseInfo); n > 0xFFFF || d.packetMax != 0 && len(mqtt.AppendConnack(s.scratch2[:0], d.version, out)) > int(d.packetMax) {
		out.ResponseInfo = nil
	}
}
