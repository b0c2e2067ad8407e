// Package session holds what a device is owed: a pure state machine that turns events into effects.
//
// The door is Step(nowSec, *Event, *Out). An Event is something that happened: the device published, acknowledged,
// subscribed; a message is due to it; its connection ended. An Out holds the effects: packets to send, messages to
// route, filters gained or lost. There is no clock, no socket, no goroutine and no encoding here, so a test can live
// a year in a millisecond.
//
//	           Open                    Lost, expiry > 0
//	(nothing) ------> live ------------------------------> detached
//	                  |  ^                                  |    |
//	      Open: taken |  |               Open, no clean start    | expiry passed,
//	      over, stays |__|<---------------------------------'    | Open with clean start
//	                  |                                          |
//	                  | Lost, expiry 0; Open with clean start    |
//	                  '------------------> gone <----------------'
//
// States change in becomeLive, becomeDetached and becomeGone, nowhere else. A gone session is no longer in its table;
// late events find it and have no effect.
//
// What the caller promises:
//
//   - A Table and everything reachable from it belongs to one goroutine (one shard).
//   - nowSec never goes back, and starts at 1.
//   - An Out is applied, in the order of its slices, then Reset; what it refers to is borrowed until then. The Message
//     of a Publish or Deliver event may itself be in Out, so it stays untouched until Out is applied.
//   - Each message in Out.Publishes with QoS > 0 is answered by one Accepted event.
//   - A Subscription's Interest may be set once its gain was reported; nothing else in it is written by the caller.
//
// What the package promises: a message is kept in one copy per table, however many sessions wait for it; a session
// that waits for nothing costs its struct, its client id and its subscriptions; memory is bounded by Limits; each
// message that is dropped is counted by reason.
//
// What a session has as a member of a shared group becomes the table's when the member goes (orphan.go): the caller takes it with
// TakeOrphans and gives it to the group again.
//
// Order [MQTT-4.6.0]: messages of one topic and QoS leave in the order in which Deliver brought them; PUBACK and PUBREC
// in the order of the PUBLISH packets; PUBREL in the order of the PUBREC packets; after a reconnect the unacknowledged
// PUBLISH and PUBREL packets come first, in their first order, then the queue.
//
// Quality 2 inbound is method B of the standard (figure 4.3): a message is routed at once, its packet id is remembered
// until PUBREL.
package session
