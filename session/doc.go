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
//
// # Durable sessions
//
// A durable session (Connect.Durable) is kept in a record outside of the table, and what it is owed is in streams: messages with a
// place there (Message.Stream, Seq) come from the tail of the stream, which feeds all sessions, or from a replay, which is for this one
// (Event.Replay, Session.Match). One number a stream, the cursor, says what the session took; so nothing is kept for a session that is
// away, and the record stays small.
//
//		          queue full, or away
//		current ----------------------> behind
//		   ^                              |
//		   '--- CaughtUp: a replay got ---'
//		        to the tail
//
//	  - A message at or below the cursor is ignored. One that is sent, queued, or dropped for its expiry moves the cursor. One
//	    that finds the queue full stays in the stream, whatever the policy: the session is behind (Out.Behind), or the replay pauses (Out.Full).
//	  - Behind, only replays count. They begin at Cursor, go on when Hungry says so, and SeenUpTo says how far they read. A replay and the
//	    tail may overlap.
//	  - QoS 0 is sent when the tail brings it or not at all, behind or not, and a replay passes it over. With Limits.QueueQoS0 it is
//	    treated like the others, and may come twice when a gateway dies.
//	  - Messages of no stream (Seq 0), and all of shared groups, go as in other sessions, also while the session is behind; so they may
//	    overtake. A full queue drops them only.
//	  - A filter that came later than a message in the stream does not bring it in a replay (Filter.Since).
//
// What must not be forgotten is saved first: Out.Save, AppendRecord, and Saved when the record is stored; one save at a time. A QoS 2
// message of a stream is sent, and PUBREL follows its PUBREC, only when a record says so. Otherwise a gateway that goes on with the
// session could not tell a message that the device holds from one that it never saw. Such messages hold their place in the window
// meanwhile, keep their order among themselves, and QoS 1 may overtake them. Whoever changes filters answers the device after SavedBy.
//
// The record says of each stream up to where everything was sent, and which of that is unacknowledged: QoS 1 by place, QoS 2 by packet id
// and place, or by packet id when only PUBREL is due. Everything above, such as what waits in the queue, is read again. Each list is
// bounded by the window. So after Restore QoS 2 comes exactly once, and QoS 1 again if its PUBACK came after the record. A QoS 2 message
// that was sent needs its bytes before it can be sent again (EachRefill, Refill).
//
// From the device: a QoS 1 message that is known is not routed again when it comes with DUP on a later connection (resent.go). The
// PUBREL of a QoS 2 message that the log has is answered when a marker is in the log, too (Out.Releases, Released), so that the log alone
// tells which packet ids are taken; a record is clean, and tells it as well, when the session is away and nothing is under way.
//
// Further promises of the caller:
//
//   - Messages of a stream come to a session in the order of their places, from the tail and from a replay; a replay is complete.
//   - A new session is told with SeenUpTo where it begins in each stream, and a session that is live and current, before each snapshot,
//     where the tail is.
//   - A record is stored under compare-and-set: when somebody else wrote it, the session goes on there, and is forgotten here (Forget).
//   - The record of a session in Out.Records is dropped when the session is gone, unless its client id opened anew; else written.
package session
