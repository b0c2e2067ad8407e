// Package record is the record layer of TLS under the keys of a finished handshake: bytes in, bytes out.
//
// crypto/tls keeps 4 to 15 kB for each connection, and gives nothing of it back while the connection is idle. Its handshake is
// used, and then only the secrets are kept: a State is 216 bytes without pointers and holds both directions. It speaks
// TLS 1.3 with its three usual suites, and TLS 1.2 with ECDHE and an AEAD (Suites12); it never negotiates.
//
//	peer -> Whole -> State.Open -> plaintext, in the record's own bytes
//	plaintext -> State.Seal -> records appended to a batch -> peer
//
// # Ciphers
//
// What a key schedule is expanded to (1.3 kB a direction with AES) lives in Ciphers, a cache that a loop keeps for the connections
// that talk at the moment. A connection that is not in it costs the expansion again, 0.45 µs with AES and next to nothing with CHACHA20
// (BenchmarkOpen: 64 bytes take 0.15 µs hot and 0.6 µs cold), and nothing else: its keys stay in
// its State. No key is ever looked up by number alone, so a slot that is used again never finds the keys of somebody
// who has left.
//
// # What is refused
//
// What a peer may not send after a handshake is refused by an *Error, which names the alert to send before closing: a
// record too long, a tag that does not fit, a renegotiation, a ChangeCipherSpec, handshake messages other than KeyUpdate
// (and tickets, which a client skips), and more than 16 records on end that carry no data. One that was refused leaves the State
// unusable for reading.
//
// # Limits of keys
//
// Under TLS 1.3 the writing key is replaced after 2^24 records, within the 2^24.5 of RFC 8446, 5.5; what a peer may
// write under one key is the peer's to watch. TLS 1.2 can't replace keys: there Open ends the connection with
// close_notify after 2^32 records in either direction, which is 50 days of a thousand records a second. No
// confidentiality is at stake there (nonces count to 2^64), but no key lasts for ever.
package record
