package gateway

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ListenerTexts is Config.Listeners: each element is SCHEME://ADDR, and its own bounds as the query of that URL.
type ListenerTexts []string

// Row is the form that an element has as a mapping in the YAML file: its first key is the text, the others are its query.
func (ListenerTexts) Row() any { return ListenerRow{} }

// ListenerRow is an element of Config.Listeners that is written as a mapping. What it does not give is the gateway's setting.
type ListenerRow struct {
	Listen string `yaml:"listen" doc:"mqtt://ADDR, ws://ADDR or any://ADDR; with TLS mqtts://ADDR, wss://ADDR or tls://ADDR"`
	Bounds
}

// bounds are those of a listener that has none of its own.
func (c *Config) bounds() Bounds {
	m := &c.MQTT
	return Bounds{
		KeepAliveMax: m.KeepAliveMax, ReceiveMax: m.ReceiveMax, TopicAliasMax: m.TopicAliasMax, TopicAliasOutMax: m.TopicAliasOutMax,
		PacketBytesMax: c.Limits.PacketBytesMax, ExpiryMax: c.Session.ExpiryMax, MaxQoS: m.MaxQoS, RetainAvailable: m.RetainAvailable,
		WildcardAvailable: m.WildcardAvailable, MultiLevelAvailable: m.MultiLevelAvailable, WildcardDepthMin: m.WildcardDepthMin,
		SharedAvailable: m.SharedAvailable, SubscriptionIDsAvailable: m.SubscriptionIDsAvailable,
		TopicLevelsMax: m.TopicLevelsMax, TopicBytesMax: m.TopicBytesMax, FiltersMax: m.FiltersMax, InflightMax: m.InflightMax,
		SubscriptionsMax: c.Limits.SubscriptionsMax, QueueCountMax: c.Session.QueueCountMax, QueueBytesMax: c.Session.QueueBytesMax,
		ServerReference: m.ServerReference, Proxy: c.Proxy.Header, Auth: c.Auth.Chain, ACLDefault: c.ACL.Default,
		ConnectRate: c.Limits.ConnectRate, ConnectBurst: c.Limits.ConnectBurst,
		PacketRate: c.Limits.PacketRate, ByteRate: c.Limits.ByteRate, DeliverRate: c.Limits.DeliverRate, RateBurst: c.Limits.RateBurst, RatePolicy: c.Limits.RatePolicy,
		ConnectionTime: c.Limits.ConnectionTime,
		ClientCerts:    c.TLS.ClientCerts, ClientCA: c.TLS.ClientCA,
	}
}

// boundPath is the gateway's setting for a bound.
func boundPath(name string) string {
	switch name {
	case "expiry_max", "queue_count_max", "queue_bytes_max":
		return "session." + name
	case "proxy":
		return "proxy.header"
	case "packet_bytes_max", "subscriptions_max", "connections_max", "connect_rate", "connect_burst", "packet_rate", "byte_rate", "deliver_rate", "rate_burst", "rate_policy", "connection_time":
		return "limits." + name
	case "tenant":
		return "tenants"
	case "auth":
		return "auth.chain"
	case "client_certs", "client_ca":
		return "tls." + name
	case "tls_cert", "tls_key":
		return "tls.certificates"
	case "acl_default":
		return "acl.default"
	}
	return "mqtt." + name
}

// listenerBounds are the bounds of a listener: its own, and the gateway's where it has none. path is the listener's; only its
// own are judged here.
func (c *Config) listenerBounds(v *validator, path string, l Listener) Bounds {
	b := c.bounds()
	own, err := url.ParseQuery(l.Query)
	if err != nil {
		v.add(path, fmt.Sprintf("%q is not a list of bounds: %v", l.Query, err), "NAME=VALUE&NAME=VALUE, such as max_qos=1")
		return b
	}
	good := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		field, known := b.field(name)
		if !known {
			v.add(path, fmt.Sprintf("%q is no bound of a listener", name), "one of "+strings.Join(boundNames(), ", "))
			continue
		}
		message := "stands here twice"
		if len(own[name]) == 1 {
			message = setField(field, own[name][0])
		}
		if message != "" {
			v.add(path+"."+name, message, "")
			continue
		}
		good[name] = true
	}
	b.validate(v, func(name string) string {
		if !good[name] {
			return ""
		}
		return path + "." + name
	})
	return b
}

// field is the field of b that has a name in YAML.
func (b *Bounds) field(name string) (field reflect.Value, known bool) {
	all := reflect.ValueOf(b).Elem()
	for f := range all.Type().Fields() {
		if f.Tag.Get("yaml") == name {
			return all.FieldByIndex(f.Index), true
		}
	}
	return field, false
}

func boundNames() (names []string) {
	for f := range reflect.TypeFor[Bounds]().Fields() {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// setField fills a field of Bounds from text; the message names what was wanted.
func setField(field reflect.Value, text string) (message string) {
	var value any
	var err error
	wants := ""
	switch field.Interface().(type) {
	case time.Duration:
		value, err = time.ParseDuration(text)
		wants = "a time such as 30s, 5m or 24h"
	case int:
		value, err = strconv.Atoi(text)
		wants = "a whole number"
	case bool:
		value, err = strconv.ParseBool(text)
		wants = "true or false"
	default:
		value = text
	}
	if err != nil {
		return fmt.Sprintf("wants %s, not %q", wants, text)
	}
	field.Set(reflect.ValueOf(value))
	return ""
}

// serverReferenceBytesMax keeps CONNACK and DISCONNECT with a Server Reference small.
const serverReferenceBytesMax = 1024

// validate judges the bounds that path has a path for.
func (b *Bounds) validate(v *validator, path func(name string) string) {
	for _, n := range []struct {
		name           string
		got, low, high int
	}{
		{"receive_max", b.ReceiveMax, 1, 65535}, {"topic_alias_max", b.TopicAliasMax, 0, 65535},
		{"topic_alias_out_max", b.TopicAliasOutMax, 0, 255}, {"packet_bytes_max", b.PacketBytesMax, 128, 256 << 20},
		{"max_qos", b.MaxQoS, 0, 2}, {"wildcard_depth_min", b.WildcardDepthMin, 0, 128},
		{"topic_levels_max", b.TopicLevelsMax, 1, 128}, {"topic_bytes_max", b.TopicBytesMax, 1, 65535}, {"filters_max", b.FiltersMax, 1, 10_000},
		{"inflight_max", b.InflightMax, 1, 65535}, {"subscriptions_max", b.SubscriptionsMax, 1, 65535},
		{"queue_count_max", b.QueueCountMax, 0, 1_000_000}, {"queue_bytes_max", b.QueueBytesMax, 1, 1 << 30},
		{"connections_max", b.ConnectionsMax, 0, 1 << 30},
		{"connect_rate", b.ConnectRate, 0, 1_000_000}, {"connect_burst", b.ConnectBurst, 1, 1_000_000},
		{"packet_rate", b.PacketRate, 0, 1_000_000}, {"byte_rate", b.ByteRate, 0, ratePerSecMax}, {"deliver_rate", b.DeliverRate, 0, 1_000_000},
	} {
		if at := path(n.name); at != "" {
			v.between(at, n.got, n.low, n.high)
		}
	}
	if at := path("rate_burst"); at != "" {
		v.lasts(at, b.RateBurst, time.Millisecond)
	}
	if at := path("acl_default"); at != "" {
		v.oneOf(at, b.ACLDefault, aclAllow, aclDeny)
	}
	if at := path("rate_policy"); at != "" {
		v.oneOf(at, b.RatePolicy, ratePause, rateDisconnect)
	}
	if at := path("connection_time"); at != "" {
		v.seconds(at, b.ConnectionTime, 0)
	}
	if at := path("expiry_max"); at != "" {
		v.seconds(at, b.ExpiryMax, time.Second)
	}
	if at := path("keep_alive_max"); at != "" {
		v.seconds(at, b.KeepAliveMax, 0)
		if b.KeepAliveMax > 65535*time.Second {
			v.add(at, "MQTT can express 18h12m15s at most", "0 for no bound")
		}
	}
	if at := path("proxy"); at != "" {
		b.validateProxy(v, at)
	}
	if at := path("client_certs"); at != "" {
		v.oneOf(at, b.ClientCerts, clientCertsNone, clientCertsOptional, clientCertsRequired)
	}
	if at := path("server_reference"); at != "" && !plainText(b.ServerReference, serverReferenceBytesMax) {
		v.add(at, fmt.Sprintf("not a text of at most %d bytes without control characters", serverReferenceBytesMax),
			"addresses separated by spaces, such as other.example:1883")
	}
}

// plainText tells that s may be shown to a device as an MQTT string.
func plainText(s string, bytesMax int) bool {
	return len(s) <= bytesMax && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
