package session

import "testing"

// Statements about messages to the device: packet ids, expiry, order, what is sent again, flow control.

const subscribed = "~open a expiry=60\n~a subscribe 1 t:2\n"

func Test_v5_MQTT_2_2_1_4(t *testing.T) { // packet ids are not 0 and not in use
	check(t, subscribed+`
		message t one qos=1
		> a publish 1 t one qos=1
		message t two qos=2
		> a publish 2 t two qos=2
		message t zero qos=0
		> a publish t zero qos=0`)
	idsInUseAreSkipped(t)
}

func Test_v311_MQTT_2_3_1_2(t *testing.T) { idsInUseAreSkipped(t) }
func Test_v311_MQTT_2_3_1_4(t *testing.T) { idsInUseAreSkipped(t) }
func Test_v5_MQTT_4_3_2_1(t *testing.T)   { idsInUseAreSkipped(t) }
func Test_v5_MQTT_4_3_3_1(t *testing.T)   { idsInUseAreSkipped(t) }

// idsInUseAreSkipped goes three times around the ids while the device never answers some of them.
func idsInUseAreSkipped(t *testing.T) {
	t.Helper()
	r := newRig(Limits{InflightMax: 8})
	s, _ := r.table.Open(1, &Connect{ClientID: []byte("a"), Version: 5}, 1, &r.out)
	stuck := map[uint16]bool{}
	for i := range 3 * 65535 {
		s.Step(1, &Event{Kind: Deliver, QoS: 1, Msg: &Message{Topic: []byte("t"), QoS: 1}}, &r.out)
		id := r.out.Sends[0].PacketID
		if id == 0 || stuck[id] {
			t.Fatalf("message %d has packet id %d, which is in use", i, id)
		}
		r.out.Reset()
		if i == 10 || i == 11 || i == 65540 || i == 65544 || i == 100000 {
			stuck[id] = true
			continue
		}
		s.Step(1, &Event{Kind: Puback, PacketID: id}, &r.out)
		r.out.Reset()
	}
	if err := invariants(r.table); err != nil || s.Inflight() != len(stuck) {
		t.Fatalf("%d in flight, want %d: %v", s.Inflight(), len(stuck), err)
	}
}

func Test_v5_MQTT_3_3_1_2(t *testing.T) { // DUP is 0 for QoS 0
	check(t, "limits keepqos0\n"+subscribed+`
		~a lost
		~message t zero qos=0
		~open a expiry=60
		a resume
		> a publish t zero qos=0`)
}

func Test_v5_MQTT_3_3_1_3(t *testing.T) { // DUP out does not depend on DUP in
	check(t, subscribed+`
		~a publish 9 t one qos=1 dup
		message t one qos=1 dup
		> a publish 1 t one qos=1`)
}

func Test_v5_MQTT_3_3_2_5(t *testing.T) { // expired before delivery began: deleted
	check(t, subscribed+`
		message t late qos=1 until=1
		> a drop expired 1
		~a lost
		message t one qos=1 until=10
		message t two qos=1 until=11
		at 10
		~open a expiry=60
		a resume
		> a publish 1 t two qos=1 expiry=1
		> a drop expired 1`)
}

func Test_v5_MQTT_3_3_2_6(t *testing.T) { // what is left of the expiry is told
	check(t, subscribed+`
		at 5
		message t one qos=1 until=15
		> a publish 1 t one qos=1 expiry=10
		message t zero qos=0 until=6
		> a publish t zero qos=0 expiry=1
		at 13
		~open a expiry=60
		a resume
		> a publish 1 t one qos=1 dup expiry=2`)
}

func Test_v5_MQTT_3_3_4_9(t *testing.T) { windowHolds(t) } // never more than the device's Receive Maximum
func Test_v5_MQTT_4_9_0_1(t *testing.T) { windowHolds(t) }
func Test_v5_MQTT_4_9_0_2(t *testing.T) { windowHolds(t) }

func windowHolds(t *testing.T) {
	t.Helper()
	check(t, `
		limits inflight=3
		~open a expiry=60 receive=2
		~a subscribe 1 t:2
		message t one qos=2
		> a publish 1 t one qos=2
		message t two qos=1
		> a publish 2 t two qos=1
		message t three qos=1
		# QoS 0 needs no quota.
		message t zero qos=0
		> a publish t zero qos=0
		# PUBREC does not give the quota back, PUBCOMP does.
		a pubrec 1
		> a pubrel 1
		a pubcomp 1
		> a publish 3 t three qos=1
		# A narrower window after a reconnect holds also for what is sent again.
		~message t four qos=1
		open a expiry=60 receive=1
		> session present
		> evict 1
		a resume
		> a publish 2 t two qos=1 dup
		a puback 2
		> a publish 3 t three qos=1 dup
		a puback 3
		> a publish 4 t four qos=1
		# Ours holds when the device's is wider.
		~open a expiry=60
		~a resume
		~a puback 4
		message t a qos=1
		> a publish 5 t a qos=1
		message t b qos=1
		> a publish 6 t b qos=1
		message t c qos=1
		> a publish 7 t c qos=1
		message t d qos=1`)
}

func Test_v5_MQTT_3_3_4_10(t *testing.T) { otherPacketsGoOn(t) }
func Test_v5_MQTT_4_9_0_3(t *testing.T)  { otherPacketsGoOn(t) } // a quota of 0 holds up nothing but PUBLISH

func otherPacketsGoOn(t *testing.T) {
	t.Helper()
	check(t, `
		~open a receive=1
		~a subscribe 1 t:2
		~message t one qos=1
		a subscribe 2 u:0,rh=2
		> a suback 2 0x00
		> gained a u live=true
		~a publish 1 t x qos=1
		a accepted 1
		> a puback 1
		a unsubscribe 3 u
		> a unsuback 3 0x00
		> lost a u live=true`)
}

func Test_v5_MQTT_4_3_1_1(t *testing.T)   { qos0IsSentOnce(t) }
func Test_v311_MQTT_4_3_1_1(t *testing.T) { qos0IsSentOnce(t) }

func qos0IsSentOnce(t *testing.T) {
	t.Helper()
	check(t, subscribed+"message t zero qos=0\n> a publish t zero qos=0\n~open a expiry=60\na resume")
}

// A new message goes out with DUP 0.

func Test_v5_MQTT_4_3_2_2(t *testing.T) {
	check(t, subscribed+"message t m qos=1\n> a publish 1 t m qos=1")
}
func Test_v5_MQTT_4_3_3_2(t *testing.T) {
	check(t, subscribed+"message t m qos=2\n> a publish 1 t m qos=2")
}

func Test_v5_MQTT_3_3_1_1(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_3_2_3(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_3_3_3(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_3_3_5(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_3_3_6(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_4_0_1(t *testing.T)   { resendKeepsOrder(t) }
func Test_v5_MQTT_4_6_0_1(t *testing.T)   { resendKeepsOrder(t) }
func Test_v311_MQTT_3_3_1_1(t *testing.T) { resendKeepsOrder(t) }
func Test_v311_MQTT_4_3_2_1(t *testing.T) { resendKeepsOrder(t) }
func Test_v311_MQTT_4_3_3_1(t *testing.T) { resendKeepsOrder(t) }
func Test_v311_MQTT_4_4_0_1(t *testing.T) { resendKeepsOrder(t) }
func Test_v311_MQTT_4_6_0_1(t *testing.T) { resendKeepsOrder(t) }

// resendKeepsOrder: after a reconnect PUBLISH and PUBREL go out again with their ids in their first order; what was
// acknowledged, and a PUBLISH that PUBREC has answered, do not.
func resendKeepsOrder(t *testing.T) {
	t.Helper()
	check(t, subscribed+`
		~message t one qos=1
		~message t two qos=2
		~message t three qos=2
		~message t four qos=1
		~message t five qos=1
		~a puback 4
		~a pubrec 2
		~open a expiry=60
		a resume
		> a publish 1 t one qos=1 dup
		> a pubrel 2
		> a publish 3 t three qos=2 dup
		> a publish 5 t five qos=1 dup
		# Only then: not by itself later.
		at 10000
		tick
		a drained
		a pubcomp 2
		~a puback 1
		~a puback 5
		~open a expiry=60
		a resume
		> a publish 3 t three qos=2 dup`)
}

func Test_v5_MQTT_4_3_3_4(t *testing.T) { // PUBREC is answered with PUBREL, unless it refuses
	check(t, subscribed+`
		~message t one qos=2
		~message t two qos=2
		a pubrec 1
		> a pubrel 1
		a pubrec 1
		> a pubrel 1
		a pubrec 2 reason=0x80
		a pubrec 2
		> a pubrel 2 reason=0x92
		a pubrec 99
		> a pubrel 99 reason=0x92`)
}

func Test_v5_MQTT_4_3_3_7(t *testing.T) { // expiry does not end what was sent
	check(t, subscribed+`
		~message t one qos=2 until=5
		at 9
		~open a expiry=60
		a resume
		> a publish 1 t one qos=2 dup expiry=0`)
}

func Test_v5_MQTT_4_3_3_13(t *testing.T) { // the sequence goes on though the message expired
	check(t, subscribed+"~message t one qos=2 until=5\nat 9\na pubrec 1\n> a pubrel 1\na pubcomp 1")
}

func Test_v5_MQTT_4_4_0_2(t *testing.T) { // refused messages are not sent again
	check(t, subscribed+`
		~message t one qos=1
		~message t two qos=2
		a puback 1 reason=0x80
		a pubrec 2 reason=0x97
		~open a expiry=60
		a resume`)
}

func Test_v5_MQTT_4_6_0_4(t *testing.T)   { pubrelsInOrder(t) }
func Test_v311_MQTT_4_6_0_4(t *testing.T) { pubrelsInOrder(t) }

func pubrelsInOrder(t *testing.T) {
	t.Helper()
	check(t, subscribed+`
		~message t one qos=2
		~message t two qos=2
		a pubrec 2
		> a pubrel 2
		a pubrec 1
		> a pubrel 1`)
}

func Test_v5_MQTT_4_6_0_5(t *testing.T)   { messagesInOrder(t) }
func Test_v5_MQTT_4_6_0_6(t *testing.T)   { messagesInOrder(t) }
func Test_v311_MQTT_4_6_0_5(t *testing.T) { messagesInOrder(t) }
func Test_v311_MQTT_4_6_0_6(t *testing.T) { messagesInOrder(t) }

// messagesInOrder: a congested connection, a full window and an absence do not let later messages pass earlier ones.
func messagesInOrder(t *testing.T) {
	t.Helper()
	check(t, "limits inflight=2\n"+subscribed+`
		message t 1 qos=1 congested
		message t 2 qos=1
		> a publish 1 t 1 qos=1
		> a publish 2 t 2 qos=1
		message t 3 qos=1
		message t 4 qos=1
		~a lost
		~message t 5 qos=1
		~open a expiry=60
		message t 6 qos=1
		a resume congested
		a drained
		> a publish 1 t 1 qos=1 dup
		> a publish 2 t 2 qos=1 dup
		message t 7 qos=1
		a puback 1
		> a publish 3 t 3 qos=1
		a puback 2
		> a publish 4 t 4 qos=1
		a puback 3
		> a publish 5 t 5 qos=1
		a puback 4
		> a publish 6 t 6 qos=1
		a puback 5
		> a publish 7 t 7 qos=1`)
}

func TestCongestedDropsQoS0(t *testing.T) {
	check(t, subscribed+"message t zero qos=0 congested\n> a drop congested 1")
}

func TestWrongAcks(t *testing.T) { // an answer of the other quality is a protocol error, an unknown one is ignored
	check(t, subscribed+`
		~message t one qos=1
		~message t two qos=2
		a puback 2
		> a close 0x82
		a pubrec 1
		> a close 0x82
		a pubcomp 2
		> a close 0x82
		a puback 99
		a pubcomp 99
		~a publish 9 t x qos=2
		a pubrel 9
		> a close 0x82`)
}

func TestLargeMessageDoesNotEmptyTheQueue(t *testing.T) {
	check(t, "limits bytes=10\n"+subscribed+`
		~a lost
		message t one qos=1
		message t much-too-large qos=1
		> a drop queue_bytes 1
		message t seven77 qos=1
		> a drop queue_bytes 1
		show a
		> detached owner=0 version=5 expiry=60 subs=1 inflight=0 queued=1 pending=false unaccepted=0
		limits queue=-1
		~open a expiry=60
		~a lost
		a deliver t x qos=1
		> a drop queue_full 1`)
}
