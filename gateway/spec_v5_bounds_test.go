package gateway

import (
	"bytes"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// The tests here are named after what they prove of the MQTT 5 standard. Each has two listeners of different bounds in one
// gateway, and goes over TCP and WebSocket.

// bounded starts a gateway whose plain MQTT listener (r.mqtt) has the usual bounds, while another of MQTT (r.any) and the one
// of WebSocket have those of the query.
func bounded(t *testing.T, query string, mods ...func(c *Config)) *rig {
	t.Helper()
	return start(t, append([]func(c *Config){func(c *Config) {
		c.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0?" + query, "mqtt://127.0.0.1:0?" + query}
	}}, mods...)...)
}

// tight connects without CONNECT to a listener that has bounds of its own.
func (r *rig) tight(transport string, v mqtt.Version) *client {
	r.t.Helper()
	if transport == "ws" {
		return r.openWS(v, "/mqtt", "mqtt")
	}
	return r.open(v, r.any)
}

// overBoth runs a test over both transports.
func overBoth(t *testing.T, r *rig, f func(t *testing.T, r *rig, transport string)) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { f(t, r.in(t), transport) })
	}
}

// refusesConnect sends CONNECT and expects the reason in CONNACK, and the end.
func (c *client) refusesConnect(want mqtt.Reason, mods ...func(o *mqtt.ConnectOut)) *got {
	c.t.Helper()
	c.write(c.connectPacket("refused", mods...))
	ack := c.expect(mqtt.TypeConnack)
	if c.v == mqtt.V5 && ack.Reason != want || c.v != mqtt.V5 && ack.ReturnCode != mqtt.ReturnCode311(want) {
		c.t.Errorf("CONNACK %v, return code %d, want %v", ack.Reason, ack.ReturnCode, want)
	}
	c.end()
	return ack
}

func willOf(qos byte, retain bool) func(o *mqtt.ConnectOut) {
	return func(o *mqtt.ConnectOut) {
		o.HasWill, o.WillQoS, o.WillRetain, o.WillTopic, o.WillPayload = true, qos, retain, []byte("w"), []byte("x")
	}
}

// A server that does not take every QoS says which it takes.
func Test_v5_MQTT_3_2_2_9(t *testing.T) {
	t.Parallel()
	r := bounded(t, "max_qos=1")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		if _, ack := r.connectOn(r.tight(transport, mqtt.V5), "c"); !ack.Props.Has(mqtt.PropMaxQoS) || ack.Props.MaxQoS != 1 {
			t.Errorf("Maximum QoS %d", ack.Props.MaxQoS)
		}
	})
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c"); ack.Props.Has(mqtt.PropMaxQoS) {
		t.Error("Maximum QoS from the listener that takes all")
	}
}

// Such a server takes SUBSCRIBE with any QoS, and grants what it can; messages come with that at most.
func Test_v5_MQTT_3_2_2_10(t *testing.T) {
	t.Parallel()
	r := bounded(t, "max_qos=1")
	p := r.connect(mqtt.V5, "p")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			c, _ := r.connectOn(r.tight(transport, v), "c")
			for qos, want := range []mqtt.Reason{0, 1, 1} {
				if got := c.subscribe(byte(qos), "a"); got[0] != want {
					t.Errorf("%v: SUBACK %#x for QoS %d", v, byte(got[0]), qos)
				}
			}
			p.publish(2, "a", "x")
			if g := c.gets("a", "x"); g.QoS != 1 {
				t.Errorf("%v: QoS %d", v, g.QoS)
			}
			c.disconnect()
		}
	})
	c := r.connect(mqtt.V5, "c")
	if got := c.subscribe(2, "a"); got[0] != mqtt.GrantedQoS2 {
		t.Errorf("the other listener grants %v", got[0])
	}
}

// A client must not publish above Maximum QoS: DISCONNECT 0x9B (§4.13). One of 3.x, which was not told, is closed, too.
func Test_v5_MQTT_3_2_2_11(t *testing.T) {
	t.Parallel()
	for query, qos := range map[string]byte{"max_qos=1": 2, "max_qos=0": 1} {
		t.Run(query, func(t *testing.T) {
			r := bounded(t, query)
			overBoth(t, r, func(t *testing.T, r *rig, transport string) {
				for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
					before := r.closedBy(reasonQoS)
					c, _ := r.connectOn(r.tight(transport, v), "c")
					c.publish(qos-1, "a", "x")
					c.write(mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("a"), QoS: qos, PacketID: 9}))
					want := mqtt.QoSNotSupported
					if v != mqtt.V5 {
						want = mqtt.Success // it has no such packet
					}
					c.endsWith(want, ws.PolicyViolation)
					r.closesBy(reasonQoS, before, 1)
				}
			})
			r.connect(mqtt.V5, "c").publish(2, "a", "x")
		})
	}
}

// A will above it refuses the connection, with 0x9B in CONNACK.
func Test_v5_MQTT_3_2_2_12(t *testing.T) {
	t.Parallel()
	r := bounded(t, "max_qos=1")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			r.tight(transport, v).refusesConnect(mqtt.QoSNotSupported, willOf(2, false))
			c, _ := r.connectOn(r.tight(transport, v), "c", willOf(1, false))
			c.disconnect()
		}
	})
	r.connect(mqtt.V5, "c", willOf(2, false)).ping()
}

// A will with retain is refused with 0x9A where nothing is retained.
func Test_v5_MQTT_3_2_2_13(t *testing.T) {
	t.Parallel()
	r := bounded(t, "retain_available=false")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		r.tight(transport, mqtt.V5).refusesConnect(mqtt.RetainNotSupported, willOf(0, true))
		r.tight(transport, mqtt.V311).refusesConnect(mqtt.RetainNotSupported, willOf(0, true))
	})
	r.connect(mqtt.V5, "c", willOf(0, true)).ping()
}

// A client told Retain Available 0 must not publish with retain: DISCONNECT 0x9A. It gets no retained messages either.
func Test_v5_MQTT_3_2_2_14(t *testing.T) {
	t.Parallel()
	r := bounded(t, "retain_available=false")
	p, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "p")
	if ack.Props.Has(mqtt.PropRetainAvailable) {
		t.Error("the other listener says that retain is unavailable")
	}
	p.publish(1, "kept", "x", retained)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			before := r.closedBy(reasonRetain)
			c, ack := r.connectOn(r.tight(transport, v), "c")
			if v == mqtt.V5 && (!ack.Props.Has(mqtt.PropRetainAvailable) || ack.Props.RetainAvailable != 0) {
				t.Error("CONNACK does not say that retain is unavailable")
			}
			c.subscribe(0, "kept")
			c.ping()
			c.write(mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("a"), Retain: true}))
			want := mqtt.RetainNotSupported
			if v != mqtt.V5 {
				want = mqtt.Success
			}
			c.endsWith(want, ws.PolicyViolation)
			r.closesBy(reasonRetain, before, 1)
		}
	})
	p.subscribe(1, "kept")
	p.gets("kept", "x")
}

// A packet above Maximum Packet Size (§3.2.2.3.6) ends the connection with 0x95, from its fixed header.
func Test_v5_MQTT_3_2_2_15(t *testing.T) {
	t.Parallel()
	r := bounded(t, "packet_bytes_max=200")
	big := mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a"), Payload: bytes.Repeat([]byte{'x'}, 300)})
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, ack := r.connectOn(r.tight(transport, mqtt.V5), "c")
		if ack.Props.MaxPacketBytes != 200 {
			t.Errorf("Maximum Packet Size %d", ack.Props.MaxPacketBytes)
		}
		c.write(big[:3])
		c.endsWith(mqtt.PacketTooLarge, ws.TooBig)
	})
	c := r.connect(mqtt.V5, "c")
	c.write(big)
	c.ping()
}

// A topic alias above Topic Alias Maximum is an error, 0x94.
func Test_v5_MQTT_3_2_2_17(t *testing.T) {
	t.Parallel()
	r := bounded(t, "topic_alias_max=2")
	alias := func(n byte) []byte {
		return mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a"), Props: []byte{byte(mqtt.PropTopicAlias), 0, n}})
	}
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, ack := r.connectOn(r.tight(transport, mqtt.V5), "c")
		if ack.Props.TopicAliasMax != 2 {
			t.Errorf("Topic Alias Maximum %d", ack.Props.TopicAliasMax)
		}
		c.write(alias(2))
		c.ping()
		c.write(alias(3))
		c.endsWith(mqtt.TopicAliasInvalid, ws.ProtocolError)
	})
	c := r.connect(mqtt.V5, "c")
	c.write(alias(3))
	c.ping()
}

// Without Topic Alias Maximum in CONNACK no alias may come.
func Test_v5_MQTT_3_2_2_18(t *testing.T) {
	t.Parallel()
	r := bounded(t, "topic_alias_max=0")
	c, ack := r.connectOn(r.open(mqtt.V5, r.any), "c")
	if ack.Props.Has(mqtt.PropTopicAliasMax) {
		t.Error("CONNACK has Topic Alias Maximum")
	}
	c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a"), Props: []byte{byte(mqtt.PropTopicAlias), 0, 1}}))
	c.endsWith(mqtt.TopicAliasInvalid, 0)
}

// The server's keep-alive is the one that counts.
func Test_v5_MQTT_3_2_2_21(t *testing.T) {
	t.Parallel()
	r := bounded(t, "keep_alive_max=1s")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, ack := r.connectOn(r.tight(transport, mqtt.V5), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = 60 })
		if ack.Props.ServerKeepAliveSec != 1 {
			t.Errorf("Server Keep Alive %d", ack.Props.ServerKeepAliveSec)
		}
		c.endsWith(mqtt.KeepAliveTimeout, ws.GoingAway)
	})
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = 60 }); ack.Props.Has(mqtt.PropServerKeepAlive) {
		t.Error("the other listener has it, too")
	}
}

// More QoS 1 and 2 messages than Receive Maximum of CONNACK: DISCONNECT 0x93.
func Test_v5_MQTT_3_3_4_7(t *testing.T) {
	t.Parallel()
	r := bounded(t, "receive_max=2")
	three := func(c *client) {
		for id := range uint16(3) {
			c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a"), QoS: 2, PacketID: id + 1}))
		}
	}
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, ack := r.connectOn(r.tight(transport, mqtt.V5), "c")
		if ack.Props.ReceiveMax != 2 {
			t.Errorf("Receive Maximum %d", ack.Props.ReceiveMax)
		}
		three(c)
		c.endsWith(mqtt.ReceiveMaximumExceeded, ws.ProtocolError)
	})
	c := r.connect(mqtt.V5, "c")
	three(c)
	for range 3 {
		c.expect(mqtt.TypePubrec)
	}
}

// Response Information comes to who asks for it, and to nobody else.
func Test_v5_MQTT_3_1_2_28(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.ResponseInformation = "replies/{client-id}/" })
	asks := func(o *mqtt.ConnectOut) { o.RequestResponseInfo = true }
	for _, transport := range transports {
		_, ack := r.connectOn(r.via(transport, mqtt.V5), "pump", asks)
		if string(ack.Props.ResponseInfo) != "replies/pump/" {
			t.Errorf("Response Information %q", ack.Props.ResponseInfo)
		}
		_, ack = r.connectOn(r.via(transport, mqtt.V5), "pump")
		if ack.Props.Has(mqtt.PropResponseInfo) {
			t.Error("told without being asked")
		}
	}
	_, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "", asks)
	if want := "replies/" + string(ack.Props.AssignedClientID) + "/"; string(ack.Props.ResponseInfo) != want {
		t.Errorf("Response Information %q, want %q", ack.Props.ResponseInfo, want)
	}
	// A device that takes no such packet gets CONNACK without it [MQTT-3.1.2-24].
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "pump", asks, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 25 })
	if ack.Props.Has(mqtt.PropResponseInfo) {
		t.Error("CONNACK is larger than the device takes")
	}
	c.ping()
}

// TestV5FiltersUnavailable: what a listener does not offer is refused filter by filter (MQTT 5 §3.9.3), and said in CONNACK
// (§3.2.2.3.11 to 13); 3.x clients get 0x80.
func TestV5FiltersUnavailable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		query string
		prop  mqtt.PropertyID
		take  string
		not   string
		id    uint32
		want  mqtt.Reason
	}{
		{"wildcard_available=false", mqtt.PropWildcardAvailable, "a/b", "a/#", 0, mqtt.WildcardSubscriptionsNotSupported},
		{"wildcard_available=false", mqtt.PropWildcardAvailable, "$share/g/a", "$share/g/+", 0, mqtt.WildcardSubscriptionsNotSupported},
		{"shared_available=false", mqtt.PropSharedAvailable, "a/#", "$share/g/a", 0, mqtt.SharedSubscriptionsNotSupported},
		{"subscription_ids_available=false", mqtt.PropSubIDAvailable, "", "a", 7, mqtt.SubscriptionIdentifiersNotSupported},
	} {
		t.Run(tc.not+" "+tc.query, func(t *testing.T) {
			r := bounded(t, tc.query)
			overBoth(t, r, func(t *testing.T, r *rig, transport string) {
				c, ack := r.connectOn(r.tight(transport, mqtt.V5), "c")
				if !ack.Props.Has(tc.prop) {
					t.Error("CONNACK does not say it")
				}
				if got := c.subscribeTo(tc.id, mqtt.Filter{Topic: []byte(tc.not), QoS: 1}); got[0] != tc.want {
					t.Errorf("SUBACK %v, want %v", got[0], tc.want)
				}
				if tc.take != "" {
					if got := c.subscribe(1, tc.not, tc.take); got[0] != tc.want || got[1] != mqtt.GrantedQoS1 {
						t.Errorf("SUBACK %v", got)
					}
				} else if got := c.subscribe(1, tc.not); got[0] != mqtt.GrantedQoS1 {
					t.Errorf("without an identifier: %v", got)
				}
				if tc.id == 0 {
					old, _ := r.connectOn(r.tight(transport, mqtt.V311), "old")
					if got := old.subscribe(1, tc.not, tc.take); got[0] != mqtt.UnspecifiedError || got[1] != mqtt.GrantedQoS1 {
						t.Errorf("3.1.1: SUBACK %v", got)
					}
				}
			})
			c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
			if got := c.subscribeTo(tc.id, mqtt.Filter{Topic: []byte(tc.not), QoS: 1}); got[0] != mqtt.GrantedQoS1 || ack.Props.Has(tc.prop) {
				t.Errorf("the other listener: SUBACK %v", got)
			}
		})
	}
}
