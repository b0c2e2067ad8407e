package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestBoundsFollowHome: a connection keeps the bounds of its listener when it moves to its home shard, whichever loop
// accepted it.
func TestBoundsFollowHome(t *testing.T) {
	t.Parallel()
	r := bounded(t, "max_qos=1&receive_max=7")
	for i := range 40 {
		id := fmt.Sprint("d", i)
		if _, ack := r.connectOn(r.open(mqtt.V5, r.any), id); ack.Props.ReceiveMax != 7 || !ack.Props.Has(mqtt.PropMaxQoS) {
			t.Fatalf("%s: Receive Maximum %d", id, ack.Props.ReceiveMax)
		}
		if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id); ack.Props.ReceiveMax != 256 || ack.Props.Has(mqtt.PropMaxQoS) {
			t.Fatalf("%s on the other listener: Receive Maximum %d", id, ack.Props.ReceiveMax)
		}
	}
	if sum := r.sum(); sum.movedOut == 0 {
		t.Error("no connection moved")
	}
}

// TestBoundsExpiry: the cap of a listener is told in CONNACK, and holds for 3.1.1, for DISCONNECT and after a move to another
// listener.
func TestBoundsExpiry(t *testing.T) {
	t.Parallel()
	r := bounded(t, "expiry_max=1s")
	gone := func(what string) {
		t.Helper()
		r.eventually(what, func() bool { return r.sum().sessions == 0 })
	}
	c, ack := r.connectOn(r.open(mqtt.V5, r.any), "c", persistent)
	if ack.Props.SessionExpirySec != 1 {
		t.Errorf("Session Expiry %d in CONNACK", ack.Props.SessionExpirySec)
	}
	c.cut()
	gone("a session of MQTT 5 ends")
	c, _ = r.connectOn(r.open(mqtt.V311, r.any), "c", persistent)
	c.cut()
	gone("a session of MQTT 3.1.1 ends")
	c, _ = r.connectOn(r.open(mqtt.V5, r.any), "c", persistent)
	c.write([]byte{byte(mqtt.TypeDisconnect) << 4, 7, 0, 5, byte(mqtt.PropSessionExpiry), 0, 0, 0x0E, 0x10})
	c.end()
	gone("DISCONNECT does not prolong it")
	// The other listener keeps it for an hour; who comes back here, for a second.
	c, ack = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	if ack.Props.Has(mqtt.PropSessionExpiry) {
		t.Errorf("the other listener lowers it to %d", ack.Props.SessionExpirySec)
	}
	c.cut()
	c, ack = r.connectOn(r.open(mqtt.V5, r.any), "c", persistent)
	if !ack.SessionPresent {
		t.Error("the session is not there")
	}
	c.cut()
	gone("it ends as the last listener has it")
}

// TestBoundsPlain: plain WebSocket devices are held to the bounds that mean something to them.
func TestBoundsPlain(t *testing.T) {
	t.Parallel()
	r := bounded(t, "retain_available=false&wildcard_available=false&shared_available=false&packet_bytes_max=200")
	r.connect(mqtt.V5, "p").publish(1, "kept", "x", retained)
	j := r.json("j")
	j.says(`{"id":1,"op":"publish","topic":"a","text":"x","retain":true}`)
	j.fails(1, "retain_unavailable", false)
	j.says(`{"id":2,"op":"subscribe","filter":"a/#"}`)
	j.fails(2, "bad_filter", false)
	j.says(`{"id":3,"op":"subscribe","filter":"$share/g/a"}`)
	j.fails(3, "bad_filter", false)
	j.says(`{"id":4,"op":"subscribe","filter":"kept"}`)
	j.hears(`{"id":4,"ok":true}`)
	j.says(`{"id":5,"op":"ping"}`)
	j.hears(`{"id":5,"ok":true}`) // and not the retained message
	j.says(`{"id":6,"op":"publish","topic":"a","text":"` + strings.Repeat("x", 200) + `"}`)
	if code := closeCodeWS(t, j.c); code != websocket.StatusMessageTooBig {
		t.Errorf("close code %v", code)
	}
}

// TestLargestPacketDecides: a loop has one limit for what it keeps unread; it does not hold back the listener that takes most.
func TestLargestPacketDecides(t *testing.T) {
	t.Parallel()
	r := bounded(t, "packet_bytes_max=2000000", func(c *Config) { c.Limits.PacketBytesMax = 1000 })
	big := strings.Repeat("x", 1_000_000)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, _ := r.connectOn(r.tight(transport, mqtt.V5), "c")
		c.subscribe(0, "a")
		c.publish(1, "b", big)
	})
	c := r.connect(mqtt.V5, "c")
	c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("a"), Payload: []byte(big[:2000])}))
	c.endsWith(mqtt.PacketTooLarge, 0)
}

const otherServers = "other.example:1883 third.example"

// TestServerReferenceFull: with mqtt.server_reference an MQTT 5 device that there is no room for is sent there (0x9C); one of
// another version, or that takes no packet of that size, is told as before.
func TestServerReferenceFull(t *testing.T) {
	t.Parallel()
	r := start(t, roomFor(1), func(c *Config) { c.MQTT.ServerReference = otherServers })
	r.connect(mqtt.V5, "here").ping()
	ack := r.open(mqtt.V5, r.mqtt).refusesConnect(mqtt.UseAnotherServer)
	if string(ack.Props.ServerReference) != otherServers {
		t.Errorf("Server Reference %q", ack.Props.ServerReference)
	}
	r.open(mqtt.V311, r.mqtt).refusesConnect(mqtt.ServerUnavailable)
	ack = r.open(mqtt.V5, r.mqtt).refusesConnect(mqtt.QuotaExceeded, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 20 })
	if ack.Props.Has(mqtt.PropServerReference) {
		t.Error("a CONNACK larger than the device takes")
	}
	r.closesBy(reasonFull, 0, 3)
}

// TestServerReferenceSessions: the same when a loop keeps no more sessions; only the listener with a reference names it.
func TestServerReferenceSessions(t *testing.T) {
	t.Parallel()
	r := bounded(t, "server_reference=other.example", func(c *Config) { c.Session.Max, c.Loops = 1, 1 })
	r.connect(mqtt.V5, "here").ping()
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		ack := r.tight(transport, mqtt.V5).refusesConnect(mqtt.UseAnotherServer)
		if string(ack.Props.ServerReference) != "other.example" {
			t.Errorf("Server Reference %q", ack.Props.ServerReference)
		}
		r.tight(transport, mqtt.V311).refusesConnect(mqtt.ServerUnavailable)
	})
	r.open(mqtt.V5, r.mqtt).refusesConnect(mqtt.QuotaExceeded)
}

// TestServerReferenceDrain: a gateway that stops sends the MQTT 5 devices of listeners with a reference there (0x9C); for the others
// nothing changes.
func TestServerReferenceDrain(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0", "mqtt://127.0.0.1:0?server_reference="}
		c.MQTT.ServerReference = otherServers
	})
	tcp := r.connect(mqtt.V5, "tcp")
	framed, _ := r.connectOn(r.openWS(mqtt.V5, "/mqtt", "mqtt"), "framed")
	without, _ := r.connectOn(r.open(mqtt.V5, r.any), "without")
	old := r.connect(mqtt.V311, "old")
	small, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "small", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 30 })
	wrong := r.connect(mqtt.V5, "wrong")
	wrong.write(wrong.connectPacket("again"))
	wrong.endsWith(mqtt.ProtocolError, 0) // another server would not help
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for _, c := range []*client{tcp, framed} {
		g := c.expect(mqtt.TypeDisconnect)
		if g.Reason != mqtt.UseAnotherServer || string(g.Props.ServerReference) != otherServers {
			t.Errorf("DISCONNECT %v, Server Reference %q", g.Reason, g.Props.ServerReference)
		}
		c.end()
	}
	without.endsWith(mqtt.ServerShuttingDown, 0)
	old.endsWith(mqtt.Success, 0)
	small.endsWith(mqtt.ServerShuttingDown, 0)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if framed.closed != ws.GoingAway {
		t.Errorf("close code %v", framed.closed)
	}
}

// TestBoundsRetainHere: one listener may have retained messages while the others have none.
func TestBoundsRetainHere(t *testing.T) {
	t.Parallel()
	r := bounded(t, "retain_available=true", func(c *Config) { c.MQTT.RetainAvailable = false })
	c, _ := r.connectOn(r.open(mqtt.V5, r.any), "c")
	c.publish(1, "kept", "x", retained)
	c.subscribe(0, "kept")
	c.gets("kept", "x")
	other := r.connect(mqtt.V5, "other")
	other.subscribe(0, "kept")
	other.ping()
}

// TestBoundsOfTable: the table of a shard stands in no listener's way, whatever the others have.
func TestBoundsOfTable(t *testing.T) {
	cfg := Default()
	limits := sessionLimits(&cfg, []Bounds{
		{ReceiveMax: 10, ExpiryMax: time.Second}, {ReceiveMax: 5000, ExpiryMax: time.Hour}, {ReceiveMax: 20, ExpiryMax: time.Minute},
	}, nil)
	if limits.ExpiryMaxSec != 3600 || limits.ReceiveMaxV3 != 5000 {
		t.Errorf("expiry %d, Receive Maximum of 3.x %d", limits.ExpiryMaxSec, limits.ReceiveMaxV3)
	}
}

// TestConnectLargerThanPackets: limits.connect_bytes_max is what CONNECT may have, also where later packets may have much less.
func TestConnectLargerThanPackets(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.ConnectBytesMax, c.Limits.PacketBytesMax = 1<<20, 4096 })
	for _, way := range transports {
		_, ack := r.connectOn(r.via(way, mqtt.V5), "c", func(o *mqtt.ConnectOut) {
			for range 15 {
				o.UserProps = mqtt.AppendUserProperty(o.UserProps, []byte("x"), bytes.Repeat([]byte("v"), 65_000))
			}
		})
		if ack.Props.MaxPacketBytes != 4096 {
			t.Errorf("%s: Maximum Packet Size %d", way, ack.Props.MaxPacketBytes)
		}
	}
}

// TestReceiveMaxOfAnother: what a session's device sent through a listener that takes more, and has not released, is no part of
// the quota of a listener that takes less.
func TestReceiveMaxOfAnother(t *testing.T) {
	t.Parallel()
	r := bounded(t, "receive_max=1")
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	const left = 3
	for id := uint16(1); id <= left; id++ {
		c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("a"), QoS: 2, PacketID: id}))
		c.acknowledged(mqtt.TypePubrec, id)
	}
	c.cut()
	c, _ = r.connectOn(r.open(mqtt.V5, r.any), "c", persistent)
	c.id = left
	c.publish(1, "a", "x")
	c.publish(2, "a", "x")
	for id := uint16(1); id <= left; id++ {
		c.write(mqtt.AppendPubrel(nil, c.v, id, mqtt.Success))
		c.acknowledged(mqtt.TypePubcomp, id)
	}
	for id := uint16(left); id < left+2; id++ {
		c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("a"), QoS: 2, PacketID: id}))
	}
	c.endsWith(mqtt.ReceiveMaximumExceeded, 0)
}
