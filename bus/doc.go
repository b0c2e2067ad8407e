// Package bus is NATS: subjects, publish, subscribe, request, and the embedded server.
//
// It knows no devices and no sockets. Its user hands it batches of messages with MQTT topics, names interests by number,
// and gets back what arrives for them. The contract:
//
//   - Subjects. A topic and its subject are a bijection (subject.go), byte for byte the mapping of NATS's own MQTT where that
//     has one. A raw wildcard, space or control character of a device never reaches NATS.
//   - Headers. Every uplink message has exactly one always-on header, TG (header.go), which a device cannot forge. MQTT 5
//     fields travel as TG-Format, TG-Type, TG-Response, TG-Correlation, TG-Expiry and TG-User, only when present.
//   - Uplink. One Publisher a shard takes batches without ever blocking, keeps their order and says Done once the NATS server
//     has processed them. When the connection breaks, what was not confirmed is published again in order: QoS 1 and 2 at
//     least once, QoS 0 at most once.
//   - Downlink. Receive is called by one goroutine with runs of messages; while it blocks, a bounded queue fills, then
//     the newest messages are dropped and counted. The interest of one filter yields a message once.
//   - Echo. What this Bus publishes does not come back to its plain interests; queue interests do get it, because the group may
//     have chosen us.
//   - Presence. Who is connected is kept in JetStream under compare-and-set, each gateway under a lease (presence.go, lease.go).
//     Backends ask by NATS's conventions for services (service.go).
//   - Poison. A message that NATS cannot take (payload, headers or subject too long, a reserved subject) is dropped and
//     counted, and the pipeline goes on; Fits tells beforehand, so that a device can be refused with a reason.
//   - Past and records. Follow hands out what streams store, in order, nothing lost or twice, whatever happens to NATS; ReplayLog reads their past;
//     the records of sessions are written under compare-and-set. No consumer, goroutine or timer belongs to a device.
//
// With Options.Durable JetStream keeps what must not be lost (streams.go has the names). One Storer a shard sees messages into it, in order, and tells each
// when it is there and not before; a Bus without JetStream says why (Ready), and goes on trying.
//
// Nothing here logs. The number of goroutines depends on the number of publishers, Storers and followed streams only: two for each publisher, one for
// each of the others, and some thirty for the Bus and its service, whatever the number of subscriptions, requests and sessions.
package bus
