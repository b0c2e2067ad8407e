package session

import "testing"

// Statements about connecting, sessions and wills. Each test is named after the statement it shows; conversations
// are in the language of rig_test.go.

func Test_v5_MQTT_3_1_2_4(t *testing.T) { // clean start discards the session
	check(t, `
		~open a expiry=60
		~a subscribe 1 t:1 $share/g/u:1
		~message t one qos=1
		~a lost
		open a clean expiry=60
		> session new
		> lost a $share/g/u live=false
		> lost a t live=false
		> drop session_gone 1
		a resume
		message t two qos=1`)
}

func Test_v5_MQTT_3_1_2_5(t *testing.T) { // otherwise it is resumed
	check(t, `
		~open a expiry=60
		~a subscribe 1 t:1
		~a lost
		~message t one qos=1
		open a expiry=60
		> session present
		a resume
		> a publish 1 t one qos=1
		message t two qos=1
		> a publish 2 t two qos=1`)
}

func Test_v5_MQTT_3_1_2_6(t *testing.T) { // or made
	check(t, `
		open a expiry=60
		> session new`)
}

func Test_v5_MQTT_3_1_2_7(t *testing.T) { // the will is stored with the session
	check(t, `
		~open a expiry=60 will=w willqos=2 willretain
		a lost
		> route w gone qos=2 retain from=a`)
}

func Test_v5_MQTT_3_1_2_8(t *testing.T) { // published after the connection and the delay, or with the session's end
	check(t, `
		~open a expiry=60 will=w delay=10
		a lost
		at 11
		tick
		> route w gone qos=0 from=a
		~open b expiry=5 will=w delay=10
		b lost
		at 16
		tick
		> route w gone qos=0 from=b
		~open c expiry=60 will=w delay=10
		c lost
		~open c clean expiry=60
		~open d expiry=60 will=w delay=10
		open d clean
		> session new
		> evict 5
		> route w gone qos=0 from=d`)
}

func Test_v5_MQTT_3_1_2_10(t *testing.T) { // removed once published, and by DISCONNECT 0x00
	check(t, `
		~open a expiry=60 will=w
		a lost
		> route w gone qos=0 from=a
		~open a expiry=60
		a lost
		at 70
		tick
		~open b expiry=60 will=w
		b lost normal
		at 140
		tick`)
}

func Test_v5_MQTT_3_1_2_14(t *testing.T) { // will retain 0
	check(t, "~open a will=w\na lost\n> route w gone qos=0 from=a")
}

func Test_v5_MQTT_3_1_2_15(t *testing.T) { // will retain 1
	check(t, "~open a will=w willretain\na lost\n> route w gone qos=0 retain from=a")
}

func Test_v5_MQTT_3_1_2_23(t *testing.T) { // state is kept while the expiry interval runs
	check(t, `
		~open a expiry=60
		~a subscribe 1 t:2
		~a publish 7 x y qos=2
		~message t one qos=2
		~a lost
		at 60
		tick
		show a
		> detached owner=0 version=5 expiry=60 subs=1 inflight=1 queued=0 pending=false unaccepted=1`)
}

func Test_v5_MQTT_3_1_2_25(t *testing.T) { // a packet too large counts as sent and done
	check(t, `
		~open a expiry=60 receive=1
		~a subscribe 1 t:2
		~message t large qos=1
		~message t larger qos=2
		a toolarge 1
		> a publish 2 t larger qos=2
		> a drop too_large 1
		a toolarge 2
		> a drop too_large 1
		show a
		> live owner=1 version=5 expiry=60 subs=1 inflight=0 queued=0 pending=false unaccepted=0`)
}

func Test_v5_MQTT_3_1_3_9(t *testing.T) { // a connection before the delay is over cancels the will
	check(t, `
		~open a expiry=60 will=w delay=10
		~a lost
		at 10
		tick
		open a expiry=60
		> session present
		at 30
		tick
		# A tick that came too late does not cancel it.
		~open b expiry=60 will=w delay=10
		~b lost
		at 40
		open b expiry=60
		> session present
		> route w gone qos=0 from=b`)
}

func Test_v5_MQTT_3_1_4_3(t *testing.T) { // the older connection is closed; its will without delay is published
	check(t, `
		~open a expiry=60 will=w
		open a expiry=60
		> session present
		> evict 1
		> route w gone qos=0 from=a`)
}

func Test_v5_MQTT_3_2_2_2(t *testing.T) { // clean start: Session Present 0
	check(t, "~open a expiry=60\n~a lost\nopen a clean\n> session new")
}

func Test_v5_MQTT_3_2_2_3(t *testing.T) { // Session Present tells whether there is one
	check(t, "open a expiry=60\n> session new\n~a lost\nopen a\n> session present")
}

func Test_v5_MQTT_3_14_4_3(t *testing.T) { // DISCONNECT 0x00 deletes the will
	check(t, "~open a expiry=60 will=w\na lost normal\nat 100\ntick")
}

func TestDisconnectChangesExpiry(t *testing.T) { // §3.14.2.2.2: DISCONNECT may change the expiry, but not from 0
	check(t, `
		~open a expiry=60
		~a lost expiry=10
		at 11
		tick
		show a
		> no session
		~open b
		~b lost expiry=10
		show b
		> no session
		~open c expiry=60
		~c lost expiry=never
		show c
		> detached owner=0 version=5 expiry=1209600 subs=0 inflight=0 queued=0 pending=false unaccepted=0`)
}

func Test_v5_MQTT_4_1_0_1(t *testing.T) { // state is not discarded while connected
	check(t, `
		~open a expiry=1
		~a subscribe 1 t:1
		at 100000
		tick
		message t one qos=1
		> a publish 1 t one qos=1`)
}

func Test_v5_MQTT_4_1_0_2(t *testing.T) { // and is when connection and expiry are over
	check(t, `
		~open a expiry=60
		~a subscribe 1 t:1
		~a lost
		at 60
		tick
		at 61
		tick
		> lost a t live=false
		~open b
		~b subscribe 1 t:1
		b lost
		> lost b t live=true
		# Over also when no tick has seen it.
		~open c expiry=60
		~c subscribe 1 t:1
		~c lost
		at 121
		open c expiry=60
		> session new
		> lost c t live=false`)
}

func Test_v311_MQTT_3_1_2_4(t *testing.T) { // clean session 0
	check(t, `
		open a v=4 expiry=never
		> session new
		~a subscribe 1 t:1
		~a lost
		open a v=4 expiry=never
		> session present
		a resume
		message t one qos=1
		> a publish 1 t one qos=1`)
}

func Test_v311_MQTT_3_1_2_5(t *testing.T) { // further QoS 1 and 2 messages are stored while away
	check(t, `
		~open a v=4 expiry=never
		~a subscribe 1 t:2
		~a lost
		message t zero qos=0
		> a drop offline 1
		message t one qos=1
		message t two qos=2
		~open a v=4 expiry=never
		a resume
		> a publish 1 t one qos=1
		> a publish 2 t two qos=2`)
}

func Test_v311_MQTT_3_1_2_6(t *testing.T) { // clean session 1
	check(t, `
		~open a v=4 expiry=never
		~a subscribe 1 t:1
		~a lost
		open a v=4 clean
		> session new
		> lost a t live=false
		~a subscribe 1 u:1
		a lost
		> lost a u live=true
		show a
		> no session`)
}

func Test_v311_MQTT_3_1_2_8(t *testing.T) { // the will is published when the connection ends, takeover included
	check(t, `
		~open a v=4 will=w
		a lost
		> route w gone qos=0 from=a
		~open b v=4 expiry=never will=w
		open b v=4 expiry=never
		> session present
		> evict 2
		> route w gone qos=0 from=b`)
}

func Test_v311_MQTT_3_1_2_10(t *testing.T) { // and deleted by DISCONNECT
	check(t, "~open a v=4 expiry=never will=w\na lost normal\n~open a v=4\na lost")
}

func Test_v311_MQTT_3_1_4_2(t *testing.T) { // the older connection is closed
	check(t, "~open a v=4 owner=5 expiry=never\nopen a v=4 expiry=never\n> session present\n> evict 5")
}

func Test_v311_MQTT_3_2_2_1(t *testing.T) { // clean session 1: Session Present 0
	check(t, "~open a v=4 expiry=never\n~a lost\nopen a v=4 clean\n> session new")
}

func Test_v311_MQTT_3_2_2_2(t *testing.T) { // clean session 0: whether there is one
	check(t, "~open a v=4 expiry=never\n~a lost\nopen a v=4 expiry=never\n> session present")
}

func Test_v311_MQTT_3_2_2_3(t *testing.T) { // and 0 when there is none
	check(t, "open a v=4 expiry=never\n> session new")
}

func TestExpiryCap(t *testing.T) {
	check(t, `
		limits expirymax=100
		~open a v=4 expiry=never
		~open b expiry=99
		~open c expiry=101
		show a
		> live owner=1 version=4 expiry=100 subs=0 inflight=0 queued=0 pending=false unaccepted=0
		show b
		> live owner=2 version=5 expiry=99 subs=0 inflight=0 queued=0 pending=false unaccepted=0
		show c
		> live owner=3 version=5 expiry=100 subs=0 inflight=0 queued=0 pending=false unaccepted=0
		~a lost
		at 101
		tick
		show a
		> no session
		limits expirymax=never
		~open d expiry=never
		~d lost
		at 4294967000
		tick
		show d
		> detached owner=0 version=5 expiry=-1 subs=0 inflight=0 queued=0 pending=false unaccepted=0`)
}

func TestSessionsMax(t *testing.T) {
	check(t, `
		limits sessions=2
		~open a expiry=60
		~open b expiry=60
		open c expiry=60
		> refused
		~b lost
		open b clean expiry=60
		> session new`)
}

func TestLateEventsOfAGoneSession(t *testing.T) {
	check(t, `
		~open a
		~a publish 1 t x qos=1
		~a lost
		a accepted 1
		a deliver t x qos=1
		> a drop session_gone 1
		a lost`)
}

func Test_v311_MQTT_3_1_2_6_Takeover(t *testing.T) { cleanSessionIsNotTakenOver(t, "v=4") }
func TestTakeoverWithoutExpiry(t *testing.T)       { cleanSessionIsNotTakenOver(t, "v=5") } // MQTT 5 [MQTT-4.1.0-2]

// cleanSessionIsNotTakenOver: a session that lasts as long as its connection ends when another connection closes that one.
func cleanSessionIsNotTakenOver(t *testing.T, v string) {
	t.Helper()
	check(t, `
		~open a `+v+` clean owner=5 will=w
		~a subscribe 1 t:1
		~message t one qos=1
		open a `+v+` expiry=60
		> session new
		> evict 5
		> route w gone qos=0 from=a
		> lost a t live=true
		> drop session_gone 1
		a resume`)
}
