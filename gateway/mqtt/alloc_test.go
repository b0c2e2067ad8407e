package mqtt

import (
	"testing"
	"unsafe"
)

// hot has what flows in the steady state, each both ways.
func hot() map[string]func(buf []byte, p *Packet) []byte {
	topic, payload := []byte("devices/pump-17/telemetry"), make([]byte, 64)
	publish := func(v Version, qos byte, props []byte) func([]byte, *Packet) []byte {
		out := PublishOut{Topic: topic, Payload: payload, QoS: qos, PacketID: 7, Props: props, HasExpiry: len(props) > 0, ExpirySec: 60}
		return func(buf []byte, _ *Packet) []byte { return AppendPublish(buf, v, &out) }
	}
	refused := []Reason{NotAuthorized}
	block := AppendUserProperty(AppendContentType(nil, []byte("application/json")), []byte("trace"), []byte("0123456789abcdef"))
	block = AppendCorrelationData(AppendResponseTopic(block, []byte("answers/17")), []byte("12345678"))
	return map[string]func([]byte, *Packet) []byte{
		"publish 3.1.1 qos 0":       publish(V311, 0, nil),
		"publish 3.1.1 qos 1":       publish(V311, 1, nil),
		"publish 5 qos 1":           publish(V5, 1, nil),
		"publish 5 with properties": publish(V5, 1, block),
		"puback 3.1.1":              func(b []byte, _ *Packet) []byte { return AppendPuback(b, V311, 7, Success) },
		"puback 5":                  func(b []byte, _ *Packet) []byte { return AppendPuback(b, V5, 7, NoMatchingSubscribers) },
		"pubrec 5":                  func(b []byte, _ *Packet) []byte { return AppendPubrec(b, V5, 7, Success) },
		"pubrel 5":                  func(b []byte, _ *Packet) []byte { return AppendPubrel(b, V5, 7, Success) },
		"pubcomp 5":                 func(b []byte, _ *Packet) []byte { return AppendPubcomp(b, V5, 7, Success) },
		"puback 5 with words":       func(b []byte, _ *Packet) []byte { return AppendAck(b, TypePuback, V5, 7, NotAuthorized, topic) },
		"suback 5 with words":       func(b []byte, _ *Packet) []byte { return AppendSuback(b, V5, 7, refused, topic) },
		"unsuback 5 with words":     func(b []byte, _ *Packet) []byte { return AppendUnsuback(b, V5, 7, refused, topic) },
		"disconnect 5 with words":   func(b []byte, _ *Packet) []byte { return AppendDisconnect(b, V5, NotAuthorized, topic) },
		"pingreq":                   func(b []byte, _ *Packet) []byte { return AppendPingreq(b) },
		"pingresp":                  func(b []byte, _ *Packet) []byte { return AppendPingresp(b) },
	}
}

// version reads the version off a name of hot.
func version(name string) Version {
	for i := range name {
		if name[i] == '5' {
			return V5
		}
	}
	return V311
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	var p Packet
	for name, write := range hot() {
		buf := make([]byte, 0, 512)
		n := testing.AllocsPerRun(100, func() {
			packet, n, r := Next(write(buf, &p), 1<<20)
			if n == 0 || r != Success || Decode(packet, version(name), &p) != Success {
				t.Fatalf("%s: %d bytes, %s", name, n, r)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The rare packets use only the reused arrays.
func TestSamplesDoNotAllocate(t *testing.T) {
	var p Packet
	for i := range samples {
		s := &samples[i]
		if n := testing.AllocsPerRun(20, func() { Decode(s.packet, s.v, &p) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

// One Packet a loop would bear any size; its copies in tests and in the simulator's devices would not.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Packet{}); n > 1100 {
		t.Errorf("Packet is %d bytes", n)
	}
	if n := unsafe.Sizeof(Properties{}); n > 376 {
		t.Errorf("Properties is %d bytes", n)
	}
	if n := unsafe.Sizeof(Filter{}); n > 32 {
		t.Errorf("Filter is %d bytes", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, write := range hot() {
		b.Run(name, func(b *testing.B) {
			var p Packet
			packet, v := write(nil, &p), version(name)
			b.ReportAllocs()
			for b.Loop() {
				if r := Decode(packet, v, &p); r != Success {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	packet := AppendPublish(nil, V311, &PublishOut{Topic: []byte("devices/pump-17/telemetry"), Payload: make([]byte, 64)})
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _ := Next(packet, 1<<20); n == 0 {
			b.Fatal("no packet")
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, write := range hot() {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				buf = write(buf[:0], nil)
			}
		})
	}
}

func BenchmarkAppendForward(b *testing.B) {
	p := decoded(b, frame(0x3D, text("a/b"), u16(10), allProps.publish, "hello"), V5)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Props.AppendForward(buf[:0])
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	for name, packet := range map[string][]byte{
		"3.1.1": frame(0x10, text("MQTT"), 4, 0xC2, u16(60), text("pump-17"), text("user"), text("password")),
		"5":     frame(0x10, text("MQTT"), 5, 0xF6, u16(60), allProps.connect, text("c1"), allProps.will, text("w/t"), text(""), text("u"), text("p")),
	} {
		b.Run(name, func(b *testing.B) {
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				if r := Decode(packet, 0, &p); r != Success {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkDecodeSubscribe(b *testing.B) {
	packet := AppendSubscribe(nil, V311, 1, []Filter{{Topic: []byte("devices/pump-17/cmd/#"), QoS: 1}}, 0)
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		if r := Decode(packet, V311, &p); r != Success {
			b.Fatal(r)
		}
	}
}
