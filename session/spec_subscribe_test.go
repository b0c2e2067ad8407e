package session

import "testing"

// Statements about subscriptions, filters and shared subscriptions.

func Test_v5_MQTT_3_3_1_9(t *testing.T) { // retain handling 0: always
	check(t, `
		~open a
		a subscribe 1 t:1,rap subid=5
		> a suback 1 0x01
		> gained a t live=true
		> a replay t qos=1 rap=true id=5
		a subscribe 2 t:0
		> a suback 2 0x00
		> a replay t qos=0 rap=false id=0`)
}

func Test_v5_MQTT_3_3_1_10(t *testing.T) { // 1: only for a filter that is new
	check(t, `
		~open a
		a subscribe 1 t:1,rh=1
		> a suback 1 0x01
		> gained a t live=true
		> a replay t qos=1 rap=false id=0
		a subscribe 2 t:1,rh=1
		> a suback 2 0x01`)
}

func Test_v5_MQTT_3_3_1_11(t *testing.T) { // 2: never
	check(t, "~open a\na subscribe 1 t:1,rh=2\n> a suback 1 0x01\n> gained a t live=true")
}

func Test_v5_MQTT_3_3_1_12(t *testing.T) { // without Retain As Published the flag is 0
	check(t, "~open a\n~a subscribe 1 t:1\nmessage t m qos=0 retain\n> a publish t m qos=0")
}

func Test_v5_MQTT_3_3_1_13(t *testing.T) { // with it, as it came
	check(t, `
		~open a
		~a subscribe 1 t:1,rap
		message t m qos=1 retain
		> a publish 1 t m qos=1 retain
		message t m qos=0
		> a publish t m qos=0`)
}

func Test_v5_MQTT_3_3_4_2(t *testing.T)   { overlapping(t) }
func Test_v5_MQTT_3_3_4_3(t *testing.T)   { overlapping(t) }
func Test_v5_MQTT_3_3_4_4(t *testing.T)   { overlapping(t) }
func Test_v311_MQTT_3_3_5_1(t *testing.T) { overlapping(t) }

// overlapping: one copy with the highest quality and every identifier; one of them unsubscribed, the rest.
func overlapping(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		~a subscribe 1 t/x:1 subid=7
		~a subscribe 2 t/+:2 subid=8
		~a subscribe 3 t/#:0
		~a subscribe 4 #:0 subid=9
		message t/x m qos=2
		> a publish 1 t/x m qos=2 ids=[7 9 8]
		~a unsubscribe 5 t/+
		message t/x m qos=2
		> a publish 2 t/x m qos=1 ids=[7 9]
		~a unsubscribe 6 t/x #
		message t/x m qos=2
		> a publish t/x m qos=0`)
}

func Test_v5_MQTT_3_8_3_3(t *testing.T) { // No Local
	check(t, `
		~open a
		~open b
		~a subscribe 1 t:1,nl
		~b subscribe 1 t:1
		message t m qos=0 from=a
		> b publish t m qos=0
		message t m qos=0 from=b
		> a publish t m qos=0
		> b publish t m qos=0`)
}

func Test_v5_MQTT_3_8_3_4(t *testing.T) { // not with a shared subscription
	check(t, "~open a\na subscribe 1 $share/g/t:1,nl\n> a close 0x82")
}

func Test_v5_MQTT_3_8_4_1(t *testing.T)   { subackPerFilter(t) }
func Test_v5_MQTT_3_8_4_2(t *testing.T)   { subackPerFilter(t) }
func Test_v5_MQTT_3_8_4_5(t *testing.T)   { subackPerFilter(t) }
func Test_v5_MQTT_3_8_4_6(t *testing.T)   { subackPerFilter(t) }
func Test_v5_MQTT_3_8_4_7(t *testing.T)   { subackPerFilter(t) }
func Test_v5_MQTT_3_9_3_1(t *testing.T)   { subackPerFilter(t) }
func Test_v311_MQTT_3_8_4_1(t *testing.T) { subackPerFilter(t) }
func Test_v311_MQTT_3_8_4_2(t *testing.T) { subackPerFilter(t) }
func Test_v311_MQTT_3_8_4_4(t *testing.T) { subackPerFilter(t) }
func Test_v311_MQTT_3_8_4_5(t *testing.T) { subackPerFilter(t) }
func Test_v311_MQTT_3_9_3_1(t *testing.T) { subackPerFilter(t) }

func subackPerFilter(t *testing.T) {
	t.Helper()
	check(t, `
		limits subs=3
		~open a
		a subscribe 99 t/1:2,rh=2 t/2:refuse t/3:1,rh=2 $share//x:1 t/4:0,rh=2 t/5:0,rh=2
		> a suback 99 0x02 0x87 0x01 0x8F 0x00 0x97
		> gained a t/1 live=true
		> gained a t/3 live=true
		> gained a t/4 live=true`)
}

func Test_v5_MQTT_3_8_4_3(t *testing.T)   { subscriptionIsReplaced(t) }
func Test_v5_MQTT_3_8_4_4(t *testing.T)   { subscriptionIsReplaced(t) }
func Test_v311_MQTT_3_8_4_3(t *testing.T) { subscriptionIsReplaced(t) }

func subscriptionIsReplaced(t *testing.T) {
	t.Helper()
	check(t, `
		limits inflight=1
		~open a
		~a subscribe 1 t:1 subid=4
		~message t one qos=2
		~message t two qos=2
		a subscribe 2 t:2 subid=5
		> a suback 2 0x02
		> a replay t qos=2 rap=false id=5
		a puback 1
		> a publish 2 t two qos=1 ids=[4]
		~a puback 2
		message t three qos=2
		> a publish 3 t three qos=2 ids=[5]`)
}

func Test_v5_MQTT_3_8_4_8(t *testing.T)   { lowerQoS(t) }
func Test_v311_MQTT_3_8_4_6(t *testing.T) { lowerQoS(t) }

func lowerQoS(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		~a subscribe 1 t:1
		message t m qos=2
		> a publish 1 t m qos=1
		message t m qos=1
		> a publish 2 t m qos=1
		message t m qos=0
		> a publish t m qos=0`)
}

func Test_v5_MQTT_3_10_4_1(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_10_4_2(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_10_4_3(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_10_4_4(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_10_4_5(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_10_4_6(t *testing.T)   { unsubscribe(t) }
func Test_v5_MQTT_3_11_3_1(t *testing.T)   { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_1(t *testing.T) { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_2(t *testing.T) { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_3(t *testing.T) { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_4(t *testing.T) { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_5(t *testing.T) { unsubscribe(t) }
func Test_v311_MQTT_3_10_4_6(t *testing.T) { unsubscribe(t) }

func unsubscribe(t *testing.T) {
	t.Helper()
	check(t, `
		~open a expiry=60
		~a subscribe 1 t/+:2 T/+:0 $share/g/s/+:1
		~message t/x one qos=2
		a unsubscribe 9 u t/+ $share/h/s/+ $share/g/s/+ t/+
		> a unsuback 9 0x11 0x00 0x11 0x00 0x11
		> lost a t/+ live=true
		> lost a $share/g/s/+ live=true
		message t/x two qos=2
		# Delivery that began is completed.
		~open a expiry=60
		a resume
		> a publish 1 t/x one qos=2 dup
		a pubrec 1
		> a pubrel 1`)
}

func Test_v5_MQTT_4_5_0_1(t *testing.T)   { everySubscriber(t) }
func Test_v311_MQTT_4_5_0_1(t *testing.T) { everySubscriber(t) }

func everySubscriber(t *testing.T) {
	t.Helper()
	check(t, `
		~open a expiry=60
		~open b expiry=60
		~open c
		~a subscribe 1 t:1
		~b subscribe 1 t:1
		~c subscribe 1 t/#:1
		~a lost
		message t m qos=1
		> b publish 1 t m qos=1
		> c publish 1 t m qos=1
		show a
		> detached owner=0 version=5 expiry=60 subs=1 inflight=0 queued=1 pending=false unaccepted=0`)
}

func Test_v5_MQTT_4_7_1_1(t *testing.T)   { filtersMatch(t) }
func Test_v5_MQTT_4_7_1_2(t *testing.T)   { filtersMatch(t) }
func Test_v5_MQTT_4_7_2_1(t *testing.T)   { filtersMatch(t) }
func Test_v5_MQTT_4_7_3_4(t *testing.T)   { filtersMatch(t) }
func Test_v311_MQTT_4_7_1_2(t *testing.T) { filtersMatch(t) }
func Test_v311_MQTT_4_7_1_3(t *testing.T) { filtersMatch(t) }
func Test_v311_MQTT_4_7_2_1(t *testing.T) { filtersMatch(t) }
func Test_v311_MQTT_4_7_3_4(t *testing.T) { filtersMatch(t) }

// filtersMatch has the examples of MQTT 5, 4.7.1 and 4.7.2, and levels that are empty.
func filtersMatch(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		filter, topic string
		match         bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true}, {"#", "a", true}, {"#", "/", true}, {"#", "/a", true},
		{"sport/tennis/+", "sport/tennis/player1", true}, {"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"+/tennis/#", "sport/tennis", true}, {"+/tennis/#", "sport/tennis/x/y", true}, {"+/tennis/#", "tennis", false},
		{"#", "$SYS/x", false}, {"+/monitor/Clients", "$SYS/monitor/Clients", false}, {"+/#", "$SYS", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/#", "$SYS", true}, {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/+", "a/$x", true}, {"a/#", "a/$x", true}, {"$SYS/x", "$SYS/x", true},
		{"ACCOUNTS", "Accounts", false}, {"/a", "a", false}, {"a/", "a", false}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true},
		{"+/+/+", "//", true}, {"//#", "/", true}, {"//#", "//", true}, {"/#", "a", false}, {"+", "", true}, {"a/b/#", "a", false},
	} {
		if naiveMatch(c.filter, c.topic) != c.match {
			t.Errorf("naive: %q on %q: want %v", c.filter, c.topic, c.match)
		}
		if matches([]string{c.filter}, c.topic) != 1 == c.match {
			t.Errorf("%q on %q: want %v", c.filter, c.topic, c.match)
		}
	}
}

// matches is how many of filters, each of an own session, match.
func matches(filters []string, topic string) int {
	table := NewTable(&Limits{})
	var out Out
	for i, f := range filters {
		s, _ := table.Open(1, &Connect{ClientID: []byte{byte(i)}, Version: 5}, 1, &out)
		s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte(f)}}}, &out)
	}
	var m Matches
	table.Match([]byte(topic), nil, &m)
	return len(m.List)
}

func Test_v5_MQTT_4_8_2_1(t *testing.T) { badShareNames(t) }
func Test_v5_MQTT_4_8_2_2(t *testing.T) { badShareNames(t) }

func badShareNames(t *testing.T) {
	t.Helper()
	check(t, `
		~open a
		a subscribe 1 $share//t:1 $share/g/:1 $share/g:1 $share/+/t:1 $share/a#/t:1 $share/:1
		> a suback 1 0x8F 0x8F 0x8F 0x8F 0x8F 0x8F
		a subscribe 2 $shared/g/t:1,rh=2 $share/g//:1
		> a suback 2 0x01 0x01
		> gained a $shared/g/t live=true
		> gained a $share/g// live=true
		message / m qos=1
		> a publish 1 / m qos=1`)
}

func Test_v5_MQTT_4_8_2_3(t *testing.T) { // the granted quality holds for shared subscriptions too
	check(t, `
		~open a
		~a subscribe 1 $share/g/t:0 subid=3
		~open b
		~b subscribe 1 $share/g/t:1 subid=4
		message t m qos=2
		> b publish 1 t m qos=1 ids=[4]
		message t m qos=2
		> a publish t m qos=0 ids=[3]`)
}

func Test_v5_MQTT_4_8_2_4(t *testing.T) { oneMemberOnly(t) }
func Test_v5_MQTT_4_8_2_5(t *testing.T) { oneMemberOnly(t) }
func Test_v5_MQTT_4_8_2_6(t *testing.T) { oneMemberOnly(t) }

// oneMemberOnly: what one member was given goes to it again after a reconnect, and to no other when it refuses it or ends.
func oneMemberOnly(t *testing.T) {
	t.Helper()
	check(t, `
		~open a expiry=60
		~a subscribe 1 $share/g/t:2
		message t one qos=2
		> a publish 1 t one qos=2
		message t two qos=1
		> a publish 2 t two qos=1
		~open b expiry=60
		~b subscribe 1 $share/g/t:2
		a puback 2 reason=0x80
		~a lost
		redeliver 10
		~open a expiry=60
		a resume
		> a publish 1 t one qos=2 dup
		~a lost
		at 61
		tick
		> lost a $share/g/t live=false
		> drop session_gone 1
		redeliver 10`)
}
