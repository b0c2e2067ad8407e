package gateway

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// Bounds is what the devices of one listener are told and held to. Each has a setting for the whole gateway, whose value a
// listener has that does not give its own. Not changed once the gateway is open, so safe from any goroutine.
type Bounds struct {
	KeepAliveMax     time.Duration `yaml:"keep_alive_max" doc:"mqtt.keep_alive_max of this listener"`
	ReceiveMax       int           `yaml:"receive_max" doc:"mqtt.receive_max of this listener"`
	TopicAliasMax    int           `yaml:"topic_alias_max" doc:"mqtt.topic_alias_max of this listener"`
	TopicAliasOutMax int           `yaml:"topic_alias_out_max" doc:"mqtt.topic_alias_out_max of this listener"`
	PacketBytesMax   int           `yaml:"packet_bytes_max" doc:"limits.packet_bytes_max of this listener"`
	ExpiryMax        time.Duration `yaml:"expiry_max" doc:"session.expiry_max of this listener"`
	MaxQoS           int           `yaml:"max_qos" doc:"mqtt.max_qos of this listener"`
	TopicLevelsMax   int           `yaml:"topic_levels_max" doc:"mqtt.topic_levels_max of this listener"`
	TopicBytesMax    int           `yaml:"topic_bytes_max" doc:"mqtt.topic_bytes_max of this listener"`
	FiltersMax       int           `yaml:"filters_max" doc:"mqtt.filters_max of this listener"`
	InflightMax      int           `yaml:"inflight_max" doc:"mqtt.inflight_max of this listener"`
	SubscriptionsMax int           `yaml:"subscriptions_max" doc:"limits.subscriptions_max of this listener: of a session whose device is connected there, or was last"`
	QueueCountMax    int           `yaml:"queue_count_max" doc:"session.queue_count_max of this listener: of a session whose device is connected there, or was last"`
	QueueBytesMax    int           `yaml:"queue_bytes_max" doc:"session.queue_bytes_max of this listener: of a session whose device is connected there, or was last"`

	RetainAvailable          bool   `yaml:"retain_available" doc:"mqtt.retain_available of this listener"`
	WildcardAvailable        bool   `yaml:"wildcard_available" doc:"mqtt.wildcard_available of this listener"`
	MultiLevelAvailable      bool   `yaml:"multi_level_available" doc:"mqtt.multi_level_available of this listener"`
	WildcardDepthMin         int    `yaml:"wildcard_depth_min" doc:"mqtt.wildcard_depth_min of this listener"`
	SharedAvailable          bool   `yaml:"shared_available" doc:"mqtt.shared_available of this listener"`
	SubscriptionIDsAvailable bool   `yaml:"subscription_ids_available" doc:"mqtt.subscription_ids_available of this listener"`
	ServerReference          string `yaml:"server_reference" doc:"mqtt.server_reference of this listener"`
	Proxy                    string `yaml:"proxy" doc:"proxy.header of this listener"`

	Tenant string `yaml:"tenant" doc:"name of the tenant whose devices come through this listener; empty for those that it tells otherwise"`

	Auth string `yaml:"auth" doc:"auth.chain of this listener"`

	ACLDefault string `yaml:"acl_default" doc:"acl.default of this listener"`

	ConnectionsMax int           `yaml:"connections_max" doc:"connections through this listener; 0 for as many as the gateway takes"`
	ConnectRate    int           `yaml:"connect_rate" doc:"limits.connect_rate of this listener"`
	ConnectBurst   int           `yaml:"connect_burst" doc:"limits.connect_burst of this listener"`
	PacketRate     int           `yaml:"packet_rate" doc:"limits.packet_rate of this listener"`
	ByteRate       int           `yaml:"byte_rate" doc:"limits.byte_rate of this listener"`
	DeliverRate    int           `yaml:"deliver_rate" doc:"limits.deliver_rate of this listener"`
	RateBurst      time.Duration `yaml:"rate_burst" doc:"limits.rate_burst of this listener"`
	RatePolicy     string        `yaml:"rate_policy" doc:"limits.rate_policy of this listener"`
	ConnectionTime time.Duration `yaml:"connection_time" doc:"limits.connection_time of this listener"`

	TLSCert     string `yaml:"tls_cert" doc:"PEM file of the certificate of this listener; empty for tls.certificates"`
	TLSKey      string `yaml:"tls_key" doc:"PEM file of its key"`
	ClientCerts string `yaml:"client_certs" doc:"tls.client_certs of this listener"`
	ClientCA    string `yaml:"client_ca" doc:"tls.client_ca of this listener"`
}

// provesDevices tells whether nobody comes through the listener without a certificate.
func (b *Bounds) provesDevices(l Listener) bool {
	return l.secure() && b.ClientCerts == clientCertsRequired
}

// openBounds works out the bounds of every listener.
func (g *Gateway) openBounds() error {
	for i, text := range g.cfg.Listeners {
		l, err := ParseListener(text)
		if err != nil {
			return err
		}
		b := g.cfg.listenerBounds(&validator{}, fmt.Sprintf("listeners[%d]", i), l) // Validate has judged them
		g.bounds, g.retains = append(g.bounds, b), g.retains || b.RetainAvailable
		g.gates = append(g.gates, newGate(&b))
	}
	return nil
}

// boundsOf are the bounds of the listener through which a connection came. They stay its own on the way to its home shard.
func (s *shard) boundsOf(c *epoll.Conn) *Bounds { return &s.gw.bounds[c.Listener()] }

// largest is the greatest value of one bound over all listeners, for what a loop has only one of.
func largest[T cmp.Ordered](all []Bounds, of func(b *Bounds) T) (most T) {
	for i := range all {
		most = max(most, of(&all[i]))
	}
	return most
}

// wsLimits are the bounds of a listener for frames, by what they carry.
func wsLimits(b *Bounds, connectBytesMax int) (limits [wireCount]ws.Limits) {
	for i := range limits {
		limits[i] = ws.Limits{MessageBytesMax: b.PacketBytesMax, FragmentsMax: fragmentsMax}
	}
	limits[wireUnknown].MessageBytesMax = connectBytesMax // of whom we do not know yet
	// One WebSocket message may carry several packets [MQTT-6.0.0-2], and CONNECT comes before anything is told.
	limits[wireFrameMQTT].MessageBytesMax = max(4*b.PacketBytesMax, connectBytesMax)
	return limits
}

// expirySec is how long a session outlives its connection that is to do so for asked seconds.
func (b *Bounds) expirySec(asked uint32) uint32 { return min(asked, uint32(b.ExpiryMax.Seconds())) }

// tell puts into CONNACK what an MQTT 5 client has to keep to.
func (b *Bounds) tell(out *mqtt.ConnackOut) {
	out.ReceiveMax = uint16(b.ReceiveMax)
	out.TopicAliasMax = uint16(b.TopicAliasMax)
	out.MaxPacketBytes = uint32(b.PacketBytesMax)
	out.MaxQoS = byte(b.MaxQoS) // [MQTT-3.2.2-9]
	out.RetainUnavailable = !b.RetainAvailable
	out.WildcardUnavailable = !b.WildcardAvailable
	out.SharedUnavailable = !b.SharedAvailable
	out.SubIDUnavailable = !b.SubscriptionIDsAvailable
}

// refuseWill holds the will of a CONNECT against the bounds.
func (b *Bounds) refuseWill(q *mqtt.Connect) refusal {
	switch {
	case !q.HasWill:
	case int(q.WillQoS) > b.MaxQoS: // [MQTT-3.2.2-12]
		return refusedWillQoS
	case q.WillRetain && !b.RetainAvailable: // [MQTT-3.2.2-13]
		return refusedWillRetain
	}
	return refusedNot
}

// refusePublish holds a PUBLISH against the bounds; what it refuses ends the connection. An MQTT 5 client was told in CONNACK
// [MQTT-3.2.2-11] [MQTT-3.2.2-14]; one of 3.x could not be, nor can it be told now.
func (b *Bounds) refusePublish(p *mqtt.Packet) mqtt.Reason {
	switch {
	case int(p.QoS) > b.MaxQoS:
		return mqtt.QoSNotSupported
	case p.Retain && !b.RetainAvailable:
		return mqtt.RetainNotSupported
	}
	return mqtt.Success
}

// refuseFilter is why a filter is not taken. The standard also lets a server end the connection over it; refusing the one filter
// in SUBACK does less harm, and 3.x clients understand it, too.
func (b *Bounds) refuseFilter(filter []byte, withID bool) refusal {
	switch {
	case withID && !b.SubscriptionIDsAvailable:
		return refusedSubID
	case !b.SharedAvailable && bytes.HasPrefix(filter, []byte("$share/")):
		return refusedShared
	case !b.WildcardAvailable && bytes.ContainsAny(filter, "+#"):
		return refusedWildcard
	case !b.MultiLevelAvailable && bytes.HasSuffix(filter, []byte("#")):
		return refusedMultiLevel
	case b.WildcardDepthMin > 0 && wildcardDepth(filter) < b.WildcardDepthMin:
		return refusedWildcardDepth
	}
	return refusedNot
}

// wildcardDepth is how many levels of a filter come before its first wildcard; those of the prefix of a shared subscription are none.
func wildcardDepth(filter []byte) int {
	if group, shared := bytes.CutPrefix(filter, []byte("$share/")); shared {
		_, filter, _ = bytes.Cut(group, []byte("/"))
	}
	at := bytes.IndexAny(filter, "+#")
	if at < 0 {
		return math.MaxInt
	}
	return bytes.Count(filter[:at], []byte("/"))
}

// boundFilters holds the filters of a subscription, in s.filters, against the bounds. A QoS above the maximum is lowered, not
// refused [MQTT-3.2.2-10]; where there are no retained messages, none are sent.
func (s *shard) boundFilters(b *Bounds, withID bool) {
	for i := range s.filters {
		f := &s.filters[i]
		f.QoS = min(f.QoS, uint8(b.MaxQoS))
		if !b.RetainAvailable {
			f.RetainHandling = neverRetained
		}
		if f.Refuse != 0 {
			continue
		}
		refused := b.refuseFilter(f.Topic, withID)
		if f.Refuse = uint8(refused.code()); i < len(s.refused) {
			s.refused[i] = refused
		}
	}
}

// neverRetained is the Retain Handling that wants no retained messages (MQTT 5 §3.8.3.1).
const neverRetained = 2
