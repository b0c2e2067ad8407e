package session

import "testing"

// Statements about messages from the device, and how they are acknowledged.

func Test_v5_MQTT_2_2_1_5(t *testing.T) { // acknowledgements carry the id of the PUBLISH
	check(t, `
		~open a
		~a publish 77 t x qos=1
		a accepted 77
		> a puback 77
		~a publish 78 t x qos=2
		a accepted 78
		> a pubrec 78
		a pubrel 78
		> a pubcomp 78`)
}

func Test_v5_MQTT_3_3_4_1(t *testing.T) { // QoS 0 nothing, QoS 1 PUBACK, QoS 2 PUBREC
	check(t, `
		~open a
		a publish 0 t zero qos=0
		> route t zero qos=0
		a publish 1 t one qos=1
		> route t one qos=1
		a accepted 1 reason=0x10
		> a puback 1 reason=0x10
		a publish 1 t two qos=2
		> route t two qos=2
		a accepted 1
		> a pubrec 1`)
}

func Test_v5_MQTT_3_3_4_7(t *testing.T) { // more than our Receive Maximum closes with 0x93
	check(t, `
		limits receive=2
		~open a expiry=60
		~a publish 1 t x qos=1
		~a publish 2 t x qos=2
		~a accepted 2
		a publish 2 t x qos=2 dup
		> a pubrec 2
		a publish 0 t x qos=0
		> route t x qos=0
		a publish 3 t x qos=1
		> a close 0x93
		a accepted 1
		> a puback 1
		a publish 3 t x qos=1
		> route t x qos=1
		# The quota begins anew with a connection, though QoS 2 messages are carried over.
		~open a expiry=60
		a publish 4 t x qos=1
		> route t x qos=1
		a publish 5 t x qos=1
		> route t x qos=1
		a publish 6 t x qos=1
		> a close 0x93`)
}

func TestReceiveMaxV3(t *testing.T) { // 3.x devices were told of no Receive Maximum
	check(t, `
		limits receive=1 receive3=2
		~open a v=4
		~a publish 1 t x qos=1
		~a publish 2 t x qos=1
		show a
		> live owner=1 version=4 expiry=0 subs=0 inflight=0 queued=0 pending=false unaccepted=2
		a publish 3 t x qos=1
		> a close 0x93`)
}

func Test_v5_MQTT_4_3_2_4(t *testing.T) { // PUBACK when the message was taken over, not before
	check(t, "~open a\na publish 5 t m qos=1\n> route t m qos=1\na accepted 5\n> a puback 5")
}

func Test_v5_MQTT_4_3_2_5(t *testing.T)   { qos1IDIsNewAfterPuback(t) }
func Test_v311_MQTT_4_3_2_2(t *testing.T) { qos1IDIsNewAfterPuback(t) }

func qos1IDIsNewAfterPuback(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		~a publish 5 t one qos=1
		~a accepted 5
		a publish 5 t two qos=1 dup
		> route t two qos=1
		a accepted 5
		> a puback 5`)
}

func Test_v5_MQTT_4_3_3_8(t *testing.T) { // PUBREC when the message was taken over
	check(t, "~open a\na publish 5 t m qos=2\n> route t m qos=2\na accepted 5\n> a pubrec 5")
}

func Test_v5_MQTT_4_3_3_9(t *testing.T) { // after a PUBREC that refuses, the id is new
	check(t, `
		~open a
		~a publish 5 t one qos=2
		a accepted 5 reason=0x97
		> a pubrec 5 reason=0x97
		a pubrel 5
		> a pubcomp 5 reason=0x92
		a publish 5 t two qos=2
		> route t two qos=2`)
}

func Test_v5_MQTT_4_3_3_10(t *testing.T)  { qos2IsRoutedOnce(t, "") }
func Test_v311_MQTT_4_3_3_2(t *testing.T) { qos2IsRoutedOnce(t, "v=4") }

func qos2IsRoutedOnce(t *testing.T, v string) {
	t.Helper()
	check(t, `
		~open a expiry=60 `+v+`
		a publish 5 t one qos=2
		> route t one qos=2
		a publish 5 t one qos=2
		a accepted 5
		> a pubrec 5
		a publish 5 t one qos=2 dup
		> a pubrec 5
		~a lost
		~open a expiry=60 `+v+`
		a resume
		a publish 5 t one qos=2 dup
		> a pubrec 5
		a pubrel 5
		> a pubcomp 5
		a publish 5 t two qos=2
		> route t two qos=2`)
}

func TestAcceptedWhileAway(t *testing.T) {
	check(t, `
		~open a expiry=60
		~a publish 5 t one qos=2
		~a publish 6 t two qos=2
		~a publish 7 t three qos=1 token=1
		~a lost
		a accepted 5
		a accepted 6 reason=0x80
		~open a expiry=60
		a publish 5 t one qos=2 dup
		> a pubrec 5
		a publish 6 t two qos=2 dup
		> route t two qos=2
		# A late answer is told from the one that is due by its token.
		a publish 7 t three qos=1 token=2 dup
		> route t three qos=1
		a accepted 7 token=1
		a accepted 7 token=2
		> a puback 7`)
}

func Test_v5_MQTT_4_3_3_11(t *testing.T) { // PUBREL is answered with PUBCOMP
	check(t, `
		~open a
		~a publish 5 t m qos=2
		~a accepted 5
		a pubrel 5
		> a pubcomp 5
		a pubrel 5
		> a pubcomp 5 reason=0x92`)
}

func Test_v5_MQTT_4_3_3_12(t *testing.T) { // and then the id is new
	check(t, `
		~open a
		~a publish 5 t m qos=2
		~a accepted 5
		~a pubrel 5
		a publish 5 t n qos=2
		> route t n qos=2`)
}

func Test_v5_MQTT_4_6_0_2(t *testing.T)   { pubacksInOrder(t) }
func Test_v311_MQTT_4_6_0_2(t *testing.T) { pubacksInOrder(t) }

func pubacksInOrder(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		~a publish 3 t x qos=1
		~a publish 1 t y qos=1
		~a publish 2 t z qos=1
		a accepted 2
		a accepted 1
		a accepted 3
		> a puback 3
		> a puback 1
		> a puback 2`)
}

func Test_v5_MQTT_4_6_0_3(t *testing.T)   { pubrecsInOrder(t) }
func Test_v311_MQTT_4_6_0_3(t *testing.T) { pubrecsInOrder(t) }

func pubrecsInOrder(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		~a publish 3 t x qos=2
		~a publish 1 t y qos=2
		~a publish 9 t y qos=1
		~a publish 2 t z qos=2
		a accepted 2
		a accepted 1
		a accepted 9
		> a puback 9
		a accepted 3
		> a pubrec 3
		> a pubrec 1
		> a pubrec 2`)
}
