// Package mqtt turns MQTT 3.1, 3.1.1 and 5.0 packets into values and values into packets, over byte slices.
//
// There is no reader, no writer, no clock and no state: [Next] finds the first whole packet in the bytes at hand,
// [Decode] reads it into a [Packet] that is reused from packet to packet, and the Append functions write packets
// behind the bytes they are given. PUBLISH, its acknowledgements, PINGREQ and PINGRESP neither decode nor encode
// with an allocation. Both directions are understood, so that a server and a client can stand on the same code;
// which side may send what is asked with [ClientFault] and [ServerFault].
//
// # Who owns the bytes
//
// Every slice in a [Packet] points into the input of [Decode] and lives as long as that input; to keep one is to
// copy it. The Append functions copy what they are given.
//
// # How wrong input is named
//
// Whatever a peer sends is answered with a [Reason], never with a panic:
//
//   - [MalformedPacket] (0x81): the bytes cannot be read as this packet: a field past the end, bytes left over, ill-formed
//     UTF-8, reserved bits, a property that this packet cannot have, QoS 3 in PUBLISH or in a will.
//   - [ProtocolError] (0x82): the bytes can be read but say what the protocol forbids: packet identifier 0, a property twice,
//     a property value out of its range, no filter at all, no local on a shared subscription.
//   - More exact codes where the standard has one: 0x84, 0x85, 0x8F, 0x90, 0x94, 0x95.
//
// MQTT 3.x has no such codes; there the reason is for the log and the counters, and the connection just ends.
//
// The functions hold no state and are safe from any goroutine; a Packet is owned by one.
package mqtt
